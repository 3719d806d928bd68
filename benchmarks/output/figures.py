"""Figures: panels of one size, written as PNG."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def panels(
    rows: int, columns: int, size: tuple[float, float], **options: Any
) -> tuple[Figure, Any]:
    """Return a figure of a size in inches, and its axes ``(rows, columns)``."""
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def save(figure: Figure, path: Path) -> None:
    """Write a figure, and make the folder that it goes to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
