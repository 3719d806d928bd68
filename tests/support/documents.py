"""What the documents say: blocks of code, and commands of a shell."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
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


def run(code, name):
    exec(compile(code, name, "exec"), {"__name__": "__main__"})
