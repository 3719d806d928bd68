"""What the documents say: blocks of code, and commands of a shell."""

import ast
import re
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
SESSIONS = {
    node.name
    for node in ast.parse(ROOT.joinpath("noxfile.py").read_text()).body
    if isinstance(node, ast.FunctionDef)
    and any(ast.unparse(x).startswith("nox.session") for x in node.decorator_list)
}
TUTORIALS = ROOT / "docs" / "tutorials"
PAGES = (README, *sorted(ROOT.joinpath("docs").rglob("*.md")))
_FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A fenced block: its language, if any, what follows that, its lines and where it begins."""

    page: Path
    language: str
    rest: str
    code: str
    start: int

    def __str__(self):
        line = self.page.read_text()[: self.start].count("\n") + 1
        return f"{self.page.relative_to(ROOT)}:{line}"


def blocks(*pages, language=None):
    found = [
        Block(p, *m.groups(), m.start()) for p in pages for m in _FENCE.finditer(p.read_text())
    ]
    return [block for block in found if language in (None, block.language)]


def scripts(*pages):
    """Return the blocks of Python that are no doctests."""
    return [block for block in blocks(*pages, language="python") if ">>>" not in block.code]


def output(block):
    """Return the text that directly follows a script: what it prints; None if there is none."""
    text = block.page.read_text()
    following = _FENCE.match(text[_FENCE.match(text, block.start).end() :].lstrip())
    return following[3] if following and following[1] == "text" else None


def cells(*pages):
    """Return the cells that are executed when the pages are built, without their options."""
    options = re.compile(r"\A---\n.*?^---\n", flags=re.DOTALL | re.MULTILINE)
    return [
        block._replace(code=options.sub("", block.code))
        for block in blocks(*pages)
        if block.rest == "{code-cell} python"
    ]


def definitions(*of):
    """Return what blocks import and define, without running the rest of them."""
    kinds = ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef
    names = {}
    for block in of:
        body = [node for node in ast.parse(block.code).body if isinstance(node, kinds)]
        exec(compile(ast.Module(body, []), str(block), "exec"), names)
    return SimpleNamespace(**names)


def run(code, name):
    exec(compile(code, name, "exec"), {"__name__": "__main__"})
