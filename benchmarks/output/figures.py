"""Figures as wide as a page of text, written as PNG: what they say can be read on a telephone."""

from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

WIDTH = 7.5  # inches
mpl.rcParams.update({"font.size": 12, "axes.titlesize": "medium", "legend.fontsize": "small"})


def panels(rows: int, columns: int, height: float, **options: Any) -> tuple[Figure, Any]:
    """Return a figure of a height in inches, and its axes ``(rows, columns)``."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def pairs_of_panels(count: int) -> tuple[Figure, Any]:
    """Return a figure and so many axes, two in a row."""
    rows = (count + 1) // 2
    figure, axes = panels(rows, 2, 3.3 * rows)
    for ax in axes.flat[count:]:
        ax.remove()
    return figure, axes.flat[:count]


def save(figure: Figure, path: Path) -> None:
    """Write a figure, and make the folder that it goes to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = BytesIO()
    figure.savefig(drawn, dpi=130)
    # With a palette the file has a third of the size.
    Image.open(drawn).convert("RGB").quantize(256).save(path, optimize=True)
