"""What the documents say: blocks of code, and commands of a shell."""

import ast
import re
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
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
