"""The figures of a sweep. An estimator has the same colour and marker in all of them."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from benchmarks.experiments import estimators
from benchmarks.output import figures
from benchmarks.sweeps.layouts import Layout
from benchmarks.sweeps.results import Result, Sweep, order, standard_error
from benchmarks.sweeps.tables import MOMENTS

Draw = Callable[[Sweep, Layout, Path], str]
_COLOURS = [to_rgb(colour) for colour in mpl.color_sequences["tab10"]]
_SECOND = zip(_COLOURS, itertools.cycle("s^Dv"), strict=False)
_LOOKS: list[dict[str, Any]] = [
    *({"color": colour, "marker": "o"} for colour in _COLOURS),
    *(
        {"color": tuple(0.65 * x for x in colour), "marker": marker, "linestyle": "--"}
        for colour, marker in _SECOND
    ),
]
_FARTHEST = 4  # times the median distance from the best
_SMALLEST = 1000  # the median variance is at most so many times what a figure has room for
_CUT = "An arrow stands for what is too far to be drawn, with its number."


def look(name: str) -> dict[str, Any]:
    """Return colour, marker and line of an estimator."""
    return _LOOKS[(*estimators.NAMES, name).index(name) % len(_LOOKS)]


def limit(scores: np.ndarray) -> float:
    """Return the highest score, lower being better, that a figure has room for."""
    low = scores.min()
    return float(min(scores.max(), low + _FARTHEST * np.median(scores - low)))


def dots(sweep: Sweep, layout: Layout, path: Path) -> str:
    """Draw the scores at test, lower is better; return what is drawn.

    Each column has a panel, if there is something to compare in any.
    """
    tested = {c: sum(len(x.scores) > 0 for x in sweep.column(c).values()) for c in sweep.columns}
    several = [column for column, count in tested.items() if count > 1]
    columns = several or [column for column, count in tested.items() if count]
    names, wide, cut = sweep.estimators, min(2, len(columns)), False
    rows = math.ceil(len(columns) / wide)
    figure, axes = figures.panels(rows, wide, (0.27 * len(names) + 0.9) * rows, sharey=True)
    for ax in axes.flat[len(columns) :]:
        ax.remove()
    for ax, column in zip(axes.flat, columns, strict=False):
        drawn = {name: x for name, x in sweep.column(column).items() if len(x.scores)}
        highest = limit(np.asarray([result.mean for result in drawn.values()]))
        for name, result in drawn.items():
            y = names.index(name)
            if result.mean <= highest:
                ax.errorbar(result.mean, y, xerr=result.noise, capsize=3, **look(name))
            else:
                cut, color = True, look(name)["color"]
                place = {"transform": ax.get_yaxis_transform(), "ha": "right", "va": "center"}
                ax.text(0.98, y, f"{result.mean:.0f} →", color=color, **place)
        ax.set(title=layout.heading(sweep.columns[column]), yticks=range(len(names)))
        ax.set_yticklabels(names)
        ax.grid(axis="x", alpha=0.3)
        ax.locator_params(axis="x", nbins=4)
    axes.flat[0].set_ylim(len(names) - 0.5, -0.5)
    figure.supxlabel(layout.score, fontsize="medium")
    figures.save(figure, path)
    return f"{layout.score}, means ± standard errors over the seeds." + (f" {_CUT}" if cut else "")


def course(sweep: Sweep, layout: Layout, path: Path) -> str:
    """Draw the gradient's variance and the validation score along training."""
    figure, axes = figures.panels(len(sweep.columns), 2, 3.2 * len(sweep.columns) + 0.9)
    for (left, right), (column, config) in zip(axes, sweep.columns.items(), strict=True):
        results = sweep.column(column)
        variances = _lines(left, results, "variance")
        left.set(yscale="log", title=layout.heading(config), ylabel="variance of the gradient")
        if len(variances) and variances.min() < np.median(variances) / _SMALLEST:
            left.set_ylim(bottom=np.median(variances) / _SMALLEST)
        scores = _lines(right, results, "score")
        if len(scores):
            room = 0.05 * (limit(scores) - scores.min())
            right.set_ylim(scores.min() - room, limit(scores) + room)
        right.set(title=layout.heading(config), ylabel="validation bound / nats")
    for ax in axes[-1]:
        ax.set_xlabel("evaluations of the loss")
    _save(figure, path)
    return (
        "Variance of the gradient (the trace of its covariance) and validation bound along "
        "training, lower is better, means over the seeds. The bounds are cut off above "
        f"{_FARTHEST} times the median distance from the lowest, variances below 1/{_SMALLEST} of "
        "their median."
    )


def errors(sweep: Sweep, layout: Layout, path: Path) -> str:
    """Draw bias², variance and mean squared error of the gradient along training."""
    columns = len(sweep.columns)
    figure, axes = figures.panels(len(MOMENTS), columns, 2.7 * len(MOMENTS) + 1.2, sharex=True)
    for row, (moment, label) in zip(axes, MOMENTS.items(), strict=True):
        for ax, (column, config) in zip(row, sweep.columns.items(), strict=True):
            _lines(ax, sweep.column(column), moment, over="norm2")
            ax.set(yscale="log", ylabel=f"{label} / squared norm")
            if columns > 1:
                ax.set_title(layout.heading(config))
    for ax in axes[-1]:
        ax.set_xlabel("evaluations of the loss")
    _save(figure, path)
    return (
        "Bias², variance and MSE of the gradient over the squared norm of the exact one along "
        "training, lower is better, means over the seeds; each estimator at its own network and "
        "temperature. A bias² within 3 standard errors of zero is not drawn."
    )


def temperatures(sweep: Sweep, layout: Layout, path: Path) -> str:
    """Draw the scores over the temperature, a panel for each group of columns."""
    groups = sweep.grouped(layout.apart)
    figure, axes = figures.pairs_of_panels(len(groups))
    position = sweep.keys.index("temperature")
    for ax, columns in zip(axes, groups.values(), strict=True):
        for name in sweep.estimators:
            found = [(c[position], sweep.results.get((name, c))) for c in columns]
            drawn = [(x, r.mean, r.noise) for x, r in found if r is not None and len(r.scores)]
            if drawn:
                x, mean, noise = np.asarray(drawn).T
                mean, noise = mean * layout.scale, noise * layout.scale
                ax.errorbar(x, mean, noise, label=name, capsize=3, **look(name))
        ax.set(xscale="log", xlabel="τ", ylabel=layout.score.split(",")[0].replace(" at", "\nat"))
        ax.set_title(layout.section(sweep.columns[columns[0]]), fontsize="small")
    _save(figure, path)
    return f"{layout.score}, means ± standard errors over the seeds that did not fail."


def _lines(ax: Any, results: dict[str, Result], name: str, over: str | None = None) -> np.ndarray:
    """Draw means over the seeds; return them all."""
    drawn = [np.zeros(0)]
    for estimator, result in results.items():
        evaluations, values = result.curve(name)
        if len(values):
            if over is not None:
                values = values / result.curve(over)[1]
            mean = values.mean(axis=0)
            if name == "bias2":
                noise = np.nan_to_num([standard_error(x) for x in values.T])
                mean = np.where(mean > 3 * noise, mean, np.nan)
            ax.plot(evaluations, mean, label=estimator, markersize=4, **look(estimator))
            drawn.append(mean)
    ax.grid(alpha=0.3)
    ax.locator_params(axis="x", nbins=4)
    return np.concatenate(drawn)


def _save(figure: Figure, path: Path) -> None:
    """Write a figure, with one legend for its panels."""
    handles: dict[str, Any] = {}
    for ax in figure.axes:
        handles |= {
            label: handle for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
        }
    names = order(handles)
    figure.legend([handles[name] for name in names], names, loc="outside lower center", ncols=4)
    figures.save(figure, path)
