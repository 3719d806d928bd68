"""The tables of a sweep: scores at test, what the search chose, moments of the gradient, cost."""

import math
from collections.abc import Callable, Mapping
from textwrap import shorten
from typing import Any

import numpy as np

from benchmarks.experiments import estimators
from benchmarks.output.tables import Table
from benchmarks.sweeps.layouts import Layout
from benchmarks.sweeps.results import Column, Result, Row, Sweep, order, standard_error

MOMENTS = {"bias2": "bias²", "variance": "variance", "mse": "MSE"}
_KNOBS = (
    "The knob is the gap of Gapped ST, the number of draws of Systematic GR, and the number of "
    "samples of RLOO and VIMCO."
)


def scores(sweep: Sweep, layout: Layout) -> list[Table]:
    """Return tables of the scores at test, an estimator a row."""
    tables = []
    for columns in sweep.grouped(layout.apart).values():
        configs = [sweep.columns[column] for column in columns]
        table = _table(layout.score, sweep, layout, columns)
        winners = [best(sweep.column(column), layout) for column in columns]
        reported = [layout.reported(config) for config in configs]
        theirs = {name for name, key in layout.reports if key in reported}
        here = {name for column in columns for name in sweep.column(column)}
        for name in order(here | theirs):
            cells = []
            for column, bold, key in zip(columns, winners, reported, strict=True):
                ours = score(sweep.results.get((name, column)), layout)
                paper = layout.reports.get((name, key))
                ours = f"**{ours}**" if name in bold else ours
                cells.append(ours if paper is None else f"{ours} ({paper})")
            table.add(name, *cells)
        tables.append(table)
    tables[-1].caption = _score_caption(sweep, layout)
    return tables


def _table(title: str, sweep: Sweep, layout: Layout, columns: list[Column]) -> Table:
    configs = [sweep.columns[column] for column in columns]
    section = layout.section(configs[0])
    headings = ("estimator", *map(layout.heading, configs))
    return Table(f"{title}: {section}" if section else title, headings)


def score(result: Result | None, layout: Layout) -> str:
    """Return the mean ± standard error, or that it failed; a dash for what was not run."""
    if result is None or not (result.tested or result.failed):
        return "–"
    if not len(result.scores):
        count = f"{len(result.tested)} seeds" if result.tested else "search"
        return f"failed ({count})"
    text = f"{result.mean * layout.scale:.{layout.digits}f}"
    if not math.isnan(result.noise):
        text += f" ± {result.noise * layout.scale:.{layout.digits}f}"
    if result.failed_seeds:
        text += f" ({result.failed_seeds} of {len(result.tested)} failed)"
    return text


def best(results: Mapping[str, Result], layout: Layout) -> set[str]:
    """Return the estimator with the best mean, and those within two standard errors of it.

    The errors are of the difference, and unknown ones count as none. An estimator of which a seed
    failed is not among them. Alone none is the best.
    """
    whole = {name: result for name, result in results.items() if result.whole}
    if not whole or sum(x.whole or x.failed for x in results.values()) == 1:
        return set()
    top = min(whole.values(), key=lambda result: layout.sign * result.mean)
    noises = {name: np.nan_to_num(math.hypot(x.noise, top.noise)) for name, x in whole.items()}
    return {name for name, x in whole.items() if abs(x.mean - top.mean) <= 2 * noises[name]}


def seeds(sweep: Sweep) -> str:
    """Return over how many seeds a mean is."""
    counts = {len(result.tested) for result in sweep.results.values() if result.tested} or {0}
    low, high = min(counts), max(counts)
    return f"{low} seeds" if low == high else f"{low} to {high} seeds"


def _score_caption(sweep: Sweep, layout: Layout) -> str:
    parts = [
        f"Mean ± standard error over {seeds(sweep)}, with the weights of the best evaluation in "
        "validation. Bold: the best mean of a column, and those within 2 standard errors of the "
        f"difference from it. {layout.note}"
    ]
    errors: dict[str, list[str]] = {}
    for name in sweep.estimators:
        for column in sweep.columns:
            result = sweep.results.get((name, column))
            if result is not None and result.failed:
                error = shorten(result.error.replace("`", "'"), 80, placeholder="…")
                errors.setdefault(error, []).append(name)
    if errors:
        listed = [f"{', '.join(dict.fromkeys(x))}, `{error}`" for error, x in errors.items()]
        parts.append(
            "Where some seeds failed the mean is over the others, and never bold; *search* says "
            f"that every run of the search failed. What failed: {'; '.join(listed)}."
        )
    if layout.reports:
        parts.append("In brackets: Paulus, Maddison & Krause (2021).")
    return " ".join(parts)


def chosen(sweep: Sweep, layout: Layout) -> list[Table]:
    """Return tables of the hyperparameters that the search chose."""
    results = sweep.results.values()
    has_knob = any(row.config["knob"] is not None for x in results for row in x.tested)
    tables = []
    for columns in sweep.grouped(layout.apart).values():
        table = _table("What the search chose", sweep, layout, columns)
        here = order(name for column in columns for name in sweep.column(column))
        for name in here:
            cells = [_choice(sweep, name, sweep.results.get((name, c))) for c in columns]
            table.add(name, *cells)
        tables.append(table)
    caption = "The learning rate with the best score in validation"
    if "temperature" in sweep.ranges:
        caption += ", and the temperature τ"
        if not all(estimators.has_temperature(name) for name in sweep.estimators):
            caption += " (τ – of an estimator that has none)"
    caption += f", behind them the knob. {_KNOBS}" if has_knob else "."
    if any(result.failed_trials for result in results):
        caption += " In brackets: how many runs of the search failed, of how many."
    tables[-1].caption = caption
    return tables


def _choice(sweep: Sweep, name: str, result: Result | None) -> str:
    if result is None:
        return "–"
    text = "–"
    if result.tested:
        config = result.tested[0].config
        text = f"{config['learning_rate']:.2g}"
        if "temperature" in sweep.ranges:
            uses = estimators.has_temperature(name)
            text += f", τ {config['temperature']:.2g}" if uses else ", τ –"
        if config["knob"] is not None:
            text += f", {config['knob']}"
    if result.failed_trials:
        text += f" ({result.failed_trials} of {len(result.searched)})"
    return text


def moments(sweep: Sweep, layout: Layout) -> list[Table]:
    """Return tables of the error of the gradient relative to its squared norm."""
    tables = []
    for column, config in sweep.columns.items():
        table = Table(
            f"Error of the gradient over its squared norm, {layout.heading(config)}",
            ("estimator", *MOMENTS.values()),
            caption="Means over training of each estimator's own network, at the temperature that "
            f"the search chose, ± standard errors over {seeds(sweep)}; the exact gradient is "
            "enumerated. The MSE is the sum of bias² and variance.",
        )
        for name, result in sweep.column(column).items():
            _, norm2 = result.curve("norm2")
            if not len(norm2):
                continue
            cells = []
            for moment in MOMENTS:
                of_seed = (result.curve(moment)[1] / norm2).mean(axis=1)
                cells.append(two_digits(float(of_seed.mean()), standard_error(of_seed)))
            table.add(name, *cells)
        if table.rows:
            tables.append(table)
    return tables


def two_digits(mean: float, noise: float) -> str:
    """Format a mean to two digits of its standard error; to three of its own without one."""
    if not noise > 0:
        return f"{mean:.3g}"
    digits = max(0, 1 - math.floor(math.log10(noise)))
    return f"{mean:.{digits}f} ± {noise:.{digits}f}"


def costs(rows: list[Row]) -> list[Table]:
    """Return tables of the time of a training step over one with ST-GS, an estimator a row."""
    found: dict[tuple[str, Any], dict[Column, Row]] = {}
    for row in rows:
        shape = tuple(row.config[key] for key in ("variables", "arity", "batch"))
        found.setdefault((row.config["estimator"], row.config["knob"]), {})[shape] = row
    shapes = sorted({shape for results in found.values() for shape in results})
    headings = [f"{variables} × {arity}, B = {batch}" for variables, arity, batch in shapes]
    ratios = Table(
        "Time of a training step over that with ST-GS",
        ("estimator", *headings),
        caption="± standard errors. A column is a shape, variables × categories, and a batch of B. "
        f"Behind a comma: the knob. {_KNOBS}",
    )
    shares = Table(
        "The same for each evaluation of the loss",
        ("estimator", *headings),
        caption="The ratios above, divided by how often an estimate evaluates the loss.",
    )
    times = Table("Time of a training step in milliseconds", ("estimator", *headings))
    for name in order(estimator for estimator, _ in found):
        for knob in sorted((k for estimator, k in found if estimator == name), key=str):
            here = [found[name, knob].get(shape) for shape in shapes]
            label = name if knob is None else f"{name}, {knob}"
            for table, show in ((ratios, _ratio), (shares, _share), (times, _time)):
                table.add(label, *(_measured(row, show) for row in here))
    return [ratios, shares, times]


def _measured(row: Row | None, show: Callable[[dict[str, Any]], str]) -> str:
    if row is None:
        return "–"
    return "failed" if row.error or not row.result else show(row.result)


def _ratio(result: dict[str, Any]) -> str:
    return f"{result['ratio']:.2f} ± {result['ratio_error']:.2f}"


def _share(result: dict[str, Any]) -> str:
    return f"{result['ratio'] / result['evaluations']:.2f}"


def _time(result: dict[str, Any]) -> str:
    return f"{result['milliseconds']:.2f}"
