"""Tables and figures that more than one command ends with."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd

from benchmarks.experiments import estimators
from benchmarks.experiments.runs import Row
from benchmarks.output import figures
from benchmarks.output.tables import Table

_COLOURS = dict(zip(estimators.NAMES, mpl.color_sequences["tab10"], strict=False))
_LABELS = {
    "bound": "validation bound / nats",
    "variance": "log10 trace of the\ngradient's covariance",
    "mse": "log10 mean squared\nerror of the gradient",
    "accuracy": "validation accuracy",
    "loss": "training loss",
}
_LOGARITHMIC = ("variance", "mse")


def order(names: Iterable[str]) -> list[str]:
    """Return names of estimators in the order of the paper's tables."""
    return sorted(set(names), key=lambda name: (*estimators.NAMES, name).index(name))


def mean_and_error(values: Sequence[float], digits: int = 2, scale: float = 1.0) -> str:
    """Format the mean with its standard error, where there is more than one value."""
    x = np.asarray(values, dtype=float) * scale
    if len(x) == 1:
        return f"{x[0]:.{digits}f}"
    return f"{x.mean():.{digits}f} ± {x.std(ddof=1) / np.sqrt(len(x)):.{digits}f}"


class Column(NamedTuple):
    """A column of a table: its heading, and how the numbers are written."""

    heading: str
    digits: int = 2
    scale: float = 1.0


def runs_table(rows: Sequence[Row], title: str, columns: Mapping[str, Column]) -> Table:
    """Show for each estimator the mean ± standard error over its seeds."""
    frame = pd.DataFrame(rows)
    seeds = frame["seed"].nunique()
    noise = (
        f"Mean ± standard error over {seeds} seeds"
        if seeds > 1
        else "One seed: what another would give is not known; --seeds 3 shows it"
    )
    table = Table(
        title,
        ("estimator", *(column.heading for column in columns.values())),
        caption=f"{noise}. The weights are those of the best evaluation in validation.",
    )
    for name in order(frame["estimator"]):
        runs = frame[frame["estimator"] == name]
        table.add(
            name,
            *(mean_and_error(runs[key], c.digits, c.scale) for key, c in columns.items()),
        )
    return table


def course(rows: Sequence[Row], value: str) -> pd.DataFrame:
    """Return a value along training, ``(step, estimator)``, averaged over the seeds."""
    points = pd.DataFrame(
        {"estimator": row["estimator"], "step": point["step"], value: point.get(value, np.nan)}
        for row in rows
        for point in row["curve"]
    )
    mean = points.pivot_table(value, "step", "estimator").replace(0.0, np.nan)
    if value in _LOGARITHMIC:
        mean = np.log10(mean)
    return mean[order(mean.columns)]


def draw_lines(ax: Any, frame: pd.DataFrame, **options: Any) -> None:
    """Draw one line for each estimator, in the colour that it has everywhere."""
    for name in frame.columns:
        ax.plot(frame.index, frame[name], color=_COLOURS.get(name), label=name, **options)
    ax.locator_params(axis="x", nbins=5)


def draw_training(rows: Sequence[Row], path: Path, values: Sequence[str]) -> None:
    """Draw values along training; those that no run has are left out."""
    frames = {value: course(rows, value) for value in values}
    frames = {value: frame for value, frame in frames.items() if frame.notna().any(axis=None)}
    figure, axes = figures.pairs_of_panels(len(frames))
    for ax, (value, frame) in zip(axes, frames.items(), strict=True):
        draw_lines(ax, frame)
        ax.set(xlabel="training steps", ylabel=_LABELS[value])
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    """Write a figure, with one legend for its panels."""
    lines: dict[str, Any] = {}
    for ax in figure.axes:
        lines |= {line.get_label(): line for line in ax.get_lines()}
    ordered = order(lines)
    figure.legend([lines[name] for name in ordered], ordered, loc="outside lower center", ncols=4)
    figures.save(figure, path)
