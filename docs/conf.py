"""Configuration of Sphinx."""

import rbgs

project = "rbgs"
author = "The rbgs developers"
copyright = f"2026, {author}"  # noqa: A001
release = version = rbgs.__version__

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
numpydoc_show_class_members = False
numpydoc_validation_checks = {"GL08", "PR01", "PR02", "PR03", "RT03", "SS03"}
users_make_none = (r"\.Comparison$", r"\.Draw$", r"\.LazyDraw", r"\.Moments$", r"\.Tuning$")
numpydoc_validation_exclude = set(users_make_none)
autodoc_member_order = "bysource"
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "rbgs"
