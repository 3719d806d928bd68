"""What the documents show can be run. `test_readme` runs README and `train.md`."""

import ast
import re
import tomllib

import pytest
from documents import PAGES, ROOT, blocks, run, scripts

import rbgs

COMMAND = re.compile(r"(?:nox|python3?|pip) -?\w")
PROJECT = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text())["project"]
EXTRAS = set(PROJECT["optional-dependencies"])
NOXFILE = ast.parse(ROOT.joinpath("noxfile.py").read_text())
SESSIONS = {
    node.name
    for node in NOXFILE.body
    if isinstance(node, ast.FunctionDef)
    and any(ast.unparse(x) == "nox.session" for x in node.decorator_list)
}
SCRIPTED = [page for page in PAGES[1:] if page.name != "train.md"]


@pytest.mark.parametrize("block", scripts(*SCRIPTED), ids=str)
def test_a_script_runs_by_itself(block):
    for node in ast.walk(ast.parse(block.code)):
        for name in node.names if isinstance(node, ast.Import) else ():
            if not name.name.startswith("rbgs"):
                pytest.importorskip(name.name)
    run(block.code, str(block))


def test_sessions_are_run_as_doctests_and_say_that_they_are_one(request):
    assert "docs" in request.config.getini("testpaths")
    assert "*.md" in request.config.getoption("doctestglob")
    for page in PAGES:
        sessions = [x for x in blocks(page, language="python") if ">>>" in x.code]
        assert not sessions or page.parent == ROOT / "docs"
        assert len(sessions) < 2 or "one session" in page.read_text()


def test_python_is_marked_as_such():
    languages = {block.language for block in blocks(*PAGES)}
    assert languages == {"python", "sh", "text", ""}  # none: directives of Sphinx


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
    assert len(included) >= 4
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
        if "```text" in section or "![" in section:
            assert commands(section), section.splitlines()[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", page.read_text()):
        assert page.parent.joinpath(link).exists(), link


def test_every_public_name_is_in_the_reference():
    text = ROOT.joinpath("docs/reference/index.md").read_text()
    shown = set(re.findall(r"^   (\w+)$", text, flags=re.MULTILINE))
    assert set(rbgs.__all__) <= shown
