"""What the documents show can be run. `test_readme` runs README and `train.md`."""

import ast
import re
import sys
import tomllib
from contextlib import nullcontext

import pytest
from documents import PAGES, ROOT, SESSIONS, blocks, cells, output, run, scripts

import rbgs
from rbgs.arrays import engine, loops

RESULTS = sorted(ROOT.joinpath("docs/results").glob("*.md"))
COMMAND = re.compile(r"(?:nox|python3?|pip) -?\w")
PROJECT = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text())["project"]
EXTRAS = set(PROJECT["optional-dependencies"])
SCRIPTED = [page for page in PAGES[1:] if page.name != "train.md"]


@pytest.fixture
def as_in_a_new_process(monkeypatch):
    """Set back what a script changes, and find single precision in JAX whatever other tests set."""
    for module, setting in ((engine, "_compiled"), (loops, "_threads")):
        monkeypatch.setattr(module, setting, getattr(module, setting))
    jax = sys.modules.get("jax")
    with jax.enable_x64(False) if jax else nullcontext():
        yield


@pytest.mark.usefixtures("as_in_a_new_process")
@pytest.mark.parametrize("block", scripts(*SCRIPTED), ids=str)
def test_a_script_runs_by_itself_and_prints_what_the_page_shows(block, capsys):
    for node in ast.walk(ast.parse(block.code)):
        for name in node.names if isinstance(node, ast.Import) else ():
            if not name.name.startswith("rbgs"):
                pytest.importorskip(name.name)
    run(block.code, str(block))
    shown = output(block)
    assert shown is None or capsys.readouterr().out == shown


def test_every_script_of_a_how_to_guide_shows_what_it_prints():
    guides = scripts(*[page for page in SCRIPTED if page.parent.name == "how_to"])
    assert guides
    assert all(map(output, guides))


@pytest.mark.parametrize("cell", cells(*PAGES), ids=str)
def test_a_cell_is_plain_python_that_can_be_pasted_into_a_script(cell):
    ast.parse(cell.code)  # without the commands of notebooks


def test_sessions_are_run_as_doctests_and_say_that_they_are_one(request):
    assert "docs" in request.config.getini("testpaths")
    assert "*.md" in request.config.getoption("doctestglob")
    for page in PAGES:
        sessions = [x for x in blocks(page, language="python") if ">>>" in x.code]
        assert not sessions or page.parent == ROOT / "docs"
        assert len(sessions) < 2 or "one session" in page.read_text()


def test_python_is_marked_as_such():
    languages = {block.language for block in blocks(*PAGES)}
    assert languages <= {"python", "sh", "text", ""}  # none: directives of Sphinx


def commands(text):
    """Return the lines of shell blocks and the spans of code that are commands."""
    shell = re.findall(r"^```sh\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    return [x for x in "\n".join([*shell, *spans]).splitlines() if COMMAND.search(x)]


def unknown(command):
    """Yield what a command names that is not there."""
    for names in re.findall(r"nox -s ((?:\w+ )*\w+)", command):
        yield from set(names.split()) - SESSIONS
    for module in re.findall(r"-m (benchmarks[.\w]*)", command):
        if not ROOT.joinpath(*module.split(".")).with_suffix(".py").exists():
            yield module
    for path in re.findall(r"(?:benchmarks|docs|tests)/[\w./]+", command):
        if not ROOT.joinpath(path).exists():
            yield path
    for names in re.findall(r"\[([\w,]+)\]", command):
        yield from set(names.split(",")) - EXTRAS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_name_what_is_there(page):
    for command in commands(page.read_text()):
        assert not list(unknown(command)), command


def test_what_is_not_there_is_found():
    wrong = "nox -s tests nothing", "python -m benchmarks.vae", "pytest tests/x.py", '".[y]"'
    assert [list(unknown(x)) for x in wrong] == [
        ["nothing"],
        ["benchmarks.vae"],
        ["tests/x.py"],
        ["y"],
    ]


def test_included_files_have_a_caption_with_their_command():
    included = [x for x in blocks(*PAGES) if x.rest.startswith("{literalinclude}")]
    assert len(included) >= 2
    for block in included:
        assert block.page.parent.joinpath(block.rest.split()[1]).is_file(), block
        assert commands(block.code.partition(":caption:")[2]), block


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pictures_have_a_caption_and_their_section_the_command(page):
    text = page.read_text()
    for match in re.finditer(r"^!\[(.+)\]\((.+)\)\n\n(.*)", text, flags=re.MULTILINE):
        assert page.parent.joinpath(match[2]).is_file()
        assert match[3].startswith("*"), match[1]
    assert text.count("![") == len(re.findall(r"^!\[.+\]\(.+\)\n\n\*", text, flags=re.MULTILINE))
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        section = re.sub(r"^```\n\n```text$", "", section, flags=re.MULTILINE)  # of a script
        if "```text" in section or "![" in section:
            assert commands(section), section.splitlines()[0]


@pytest.mark.parametrize("page", RESULTS, ids=lambda page: page.name)
def test_results_say_what_they_show_and_by_which_command(page):
    text = page.read_text()
    assert re.match(r'---\nmyst:\n  html_meta:\n    description: "[^"\n]{60,}"\n---\n\n# ', text)
    assert not re.search("[┃│]", text)
    assert commands(text) or page.stem == "index"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", page.read_text()):
        assert page.parent.joinpath(link).exists(), link


def messages():
    """Yield the texts of the package, each with an ellipsis for what an f-string inserts."""
    for path in ROOT.joinpath("rbgs").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(x.value if isinstance(x, ast.Constant) else "…" for x in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_the_messages_that_the_questions_quote_are_those_of_the_package():
    text = ROOT.joinpath("docs/faq.md").read_text()
    quoted, known = re.findall(r"^> `(.+)`$", text, flags=re.MULTILINE), list(messages())
    assert len(quoted) == len(re.findall(r"^>", text, flags=re.MULTILINE)) > 10
    for message in quoted:
        assert any(message in x for x in known), message


def test_every_public_name_is_in_the_reference():
    text = ROOT.joinpath("docs/reference/index.md").read_text()
    shown = set(re.findall(r"^   (\w+)$", text, flags=re.MULTILINE))
    assert set(rbgs.__all__) <= shown
