"""Configuration of Sphinx."""

import os
import sys
from importlib.resources import files
from pathlib import Path

import rbgs

sys.path.append(str(Path(__file__).parent))

project = "rbgs"
author = "The rbgs developers"
copyright = f"2026, {author}"  # noqa: A001
release = version = rbgs.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "docstrings",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxext.opengraph",
]
# The pages of results include the tables.
exclude_patterns = ["_build", "_templates", "kernels", "results/tables"]
templates_path = ["_templates"]
# MathJax in one file, so that formulas need no network.
mathjax_path = "tex-svg.js"
html_static_path = ["_static", str(files("sphinx-mathjax-offline") / "static/mathjax/tex-svg.js")]
html_css_files = ["rbgs.css"]
html_theme = "furo"
html_title = "rbgs"
html_favicon = "_static/favicon.svg"
ogp_social_cards = {"enable": False}
ogp_enable_meta_description = True

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
os.environ["JUPYTER_PATH"] = str(Path(__file__).parent)  # whose kernel logs errors alone
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # arrays have no static type; numpydoc says what is taken
numpydoc_show_class_members = False
numpydoc_validation_checks = {
    "all",  # but for these:
    "ES01",  # an extended summary: one sentence may say it all
    "SA01",  # a section "See Also": the text links what it mentions
}
