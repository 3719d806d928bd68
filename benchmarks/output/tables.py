"""Tables in Markdown: a terminal shows them, and a page takes them as they are."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len


@dataclass
class Table:
    """A table with a title; its text is Markdown, in lines as long as they need be.

    Parameters
    ----------
    title : str
        What is shown, in a line.
    columns : sequence of str
        The headings.
    labels : int
        How many columns, from the left, hold text; the others hold numbers, set on the right.
    caption : str
        What stands below.
    """

    title: str
    columns: Sequence[str]
    labels: int = 1
    caption: str = ""
    rows: list[Sequence[str]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """Append a row; cells that are missing on the right stay empty."""
        self.rows.append((*cells, *[""] * (len(self.columns) - len(cells))))

    def __str__(self) -> str:
        widths = [
            max(3, *map(cell_len, column)) for column in zip(self.columns, *self.rows, strict=True)
        ]
        rules = [
            "-" * width if number < self.labels else "-" * (width - 1) + ":"
            for number, width in enumerate(widths)
        ]
        lines = [self._line(cells, widths) for cells in (self.columns, rules, *self.rows)]
        parts = [f"**{self.title}**", "\n".join(lines), self.caption]
        return "\n\n".join(part for part in parts if part) + "\n"

    def _line(self, cells: Sequence[str], widths: Sequence[int]) -> str:
        filled = []
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            space = " " * (width - cell_len(cell))
            filled.append(cell + space if number < self.labels else space + cell)
        return f"| {' | '.join(filled)} |"
