"""Tables in Markdown: a terminal shows them, and a page takes them as they are."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tabulate import tabulate


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
        sides = ["left"] * self.labels + ["right"] * (len(self.columns) - self.labels)
        table = tabulate(
            self.rows, self.columns, tablefmt="pipe", colalign=sides, disable_numparse=True
        )
        parts = [f"**{self.title}**", table, self.caption]
        return "\n\n".join(part for part in parts if part) + "\n"
