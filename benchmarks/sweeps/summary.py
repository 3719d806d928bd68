"""All sweeps in one table and one figure: how each estimator ranks, and how far it is behind."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import matplotlib as mpl
import numpy as np
import pandas as pd

from benchmarks.output import figures
from benchmarks.output.tables import Table
from benchmarks.sweeps import tables
from benchmarks.sweeps.layouts import LAYOUTS, Layout
from benchmarks.sweeps.results import Result, Sweep, order


@dataclass(frozen=True)
class Place:
    """Where an estimator stands in a column.

    Attributes
    ----------
    rank : float
        From 1, the best; ties have the mean of theirs, and those that failed the last one.
    share : float
        The same from 0, the best, to 1, the last.
    regret : float
        The distance from the best over the median distance; NaN if it failed.
    top : bool
        Whether it is the best or not told from it.
    """

    rank: float
    share: float
    regret: float
    top: bool


Standing = dict[str, dict[str, list[Place]]]  # by estimator and sweep, a place for each column


def places(results: Mapping[str, Result], layout: Layout) -> dict[str, Place]:
    """Return where the estimators of a column stand, if several have a result or failed."""
    scores = pd.Series(
        {
            name: layout.sign * result.mean if result.whole else math.inf
            for name, result in results.items()
            if result.whole or result.failed
        },
        dtype=float,
    )
    ended = scores[np.isfinite(scores)]
    if ended.empty or len(scores) == 1:
        return {}
    ranks = scores.rank()
    ranks[~np.isfinite(scores)] = len(scores)
    shares = (ranks - 1) / max(1, len(scores) - 1)
    distances = ended - ended.min()
    regrets = distances / (distances.median() or 1.0)
    top = tables.best(results, layout)
    return {
        name: Place(ranks[name], shares[name], regrets.get(name, math.nan), name in top)
        for name in scores.index
    }


def standing(sweeps: Mapping[str, Sweep]) -> Standing:
    """Return all places, the best estimator first: by its mean share over the sweeps."""
    found: Standing = {}
    for name, sweep in sweeps.items():
        for column in sweep.columns:
            for estimator, place in places(sweep.column(column), LAYOUTS[name]).items():
                found.setdefault(estimator, {}).setdefault(name, []).append(place)
    names = sorted(order(found), key=lambda name: mean_share(found[name]))
    return {name: found[name] for name in names}


def mean_share(of_sweeps: Mapping[str, list[Place]]) -> float:
    """Return the mean share of an estimator; each sweep counts the same."""
    return fmean(fmean(place.share for place in of_sweep) for of_sweep in of_sweeps.values())


def summary_tables(found: Standing) -> list[Table]:
    """Return the ranks and the distances from the best."""
    fields = _fields(found)
    ranks = Table(
        "Mean rank in the columns of a task, 1 is the best",
        (
            "estimator",
            "all",
            "among the best",
            *(f"{LAYOUTS[x].task} ({fields[x]})" for x in fields),
        ),
        caption="The rank is that of the mean score; in brackets the number of estimators. *All* "
        "is the rank from 0, the best, to 1, the last, averaged over the columns of a task and "
        "then over the tasks that the estimator ran in. A rank knows nothing of noise; *among the "
        "best* does: in how many of its columns an estimator is bold, the best or within 2 "
        "standard errors of it. An estimator of which a seed or the whole search failed has the "
        "last rank; one that was not run has none.",
    )
    distances = Table(
        "Mean distance from the best score in the columns of a task",
        ("estimator", *(LAYOUTS[name].task for name in fields)),
        caption="In units of the median distance of a column, over the estimators of which no seed "
        "failed: 0 is the best, 1 the middle of the field. In brackets: in how many columns the "
        "search or a seed failed; the mean is over the others.",
    )
    for estimator, of_sweeps in found.items():
        every = [place for of_sweep in of_sweeps.values() for place in of_sweep]
        ranks.add(
            estimator,
            f"{mean_share(of_sweeps):.2f}",
            f"{sum(place.top for place in every)} of {len(every)}",
            *(_mean_rank(of_sweeps.get(name, [])) for name in fields),
        )
        distances.add(estimator, *(_mean_regret(of_sweeps.get(name, [])) for name in fields))
    return [ranks, distances]


def _fields(found: Standing) -> dict[str, int]:
    """Return for each sweep how many estimators it has."""
    counts = {name: sum(name in of_sweeps for of_sweeps in found.values()) for name in LAYOUTS}
    return {name: count for name, count in counts.items() if count}


def _mean_rank(of_sweep: list[Place]) -> str:
    return f"{fmean(place.rank for place in of_sweep):.1f}" if of_sweep else "–"


def _mean_regret(of_sweep: list[Place]) -> str:
    ended = [place.regret for place in of_sweep if not math.isnan(place.regret)]
    failed = len(of_sweep) - len(ended)
    text = f"{fmean(ended):.2f}" if ended else "–"
    return f"{text} ({failed} failed)" if failed else text


def draw(found: Standing, path: Path) -> str:
    """Draw a dot for each estimator and column; return what is drawn."""
    fields = _fields(found)
    figure, axes = figures.panels(1, 1, 0.4 * len(found) + 1.8)
    ax = axes[0, 0]
    for y, of_sweeps in enumerate(found.values()):
        if y % 2:
            ax.axhspan(y - 0.5, y + 0.5, color="black", alpha=0.05, linewidth=0)
        ax.plot(mean_share(of_sweeps), y, "|", color="black", markersize=18, markeredgewidth=2)
    for number, (name, colour) in enumerate(
        zip(fields, mpl.color_sequences["Dark2"], strict=False)
    ):
        height = 0.15 * (number - (len(fields) - 1) / 2)  # a line of its own for each task
        dots = [
            (place.share, y + height)
            for y, of_sweeps in enumerate(found.values())
            for place in of_sweeps.get(name, [])
        ]
        ax.plot(*zip(*dots, strict=True), "o", color=colour, alpha=0.7, label=LAYOUTS[name].task)
    ax.set(yticks=range(len(found)), ylim=(len(found) - 0.5, -0.5))
    ax.set_yticklabels(list(found))
    ax.set_xlabel("rank, from 0 (best) to 1 (last)")
    ax.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2)
    figures.save(figure, path)
    return (
        "The rank of every estimator in every column of every task, from 0, the best, to 1, the "
        "last: a dot each, coloured by task. The bar is the mean by which they are sorted."
    )
