"""Turn the rows of sweeps into the tables and figures of Paulus, Maddison & Krause (2021).

A table's entry is the mean ± standard error over the seeds, for the hyperparameters with the best
mean validation score; behind it, in brackets, is what the paper reports.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from benchmarks.experiments import listops, paper, plots, vae
from benchmarks.output import figures
from benchmarks.output.tables import Table
from benchmarks.sweeps.store import Store


@dataclass(frozen=True)
class Layout:
    """How the rows of an experiment make a table."""

    page: str
    lead: str
    title: str
    config: type
    apart: tuple[str, ...]  # the entries of the configuration that make a table of their own
    section: Callable[..., str]  # the heading of that table, from their values
    keys: tuple[str, ...]  # those that make a column
    heading: str
    lower_is_better: bool
    scale: float
    papers: dict[tuple[Any, ...], paper.Numbers]  # by the values of ``apart``


_DATA = {"idx": "MNIST", "openml": "MNIST from OpenML", "digits": "Embedded digits"}
LAYOUTS = {
    "listops": Layout(
        "Unsupervised parsing of ListOps",
        "A network that evaluates expressions and finds their syntax trees by itself, trained with "
        "each estimator: how often it is right, for expressions of up to L tokens.",
        "Accuracy at test in %, higher is better",
        listops.Config,
        ("clip",),
        lambda clip: (
            "Without clipping" if math.isinf(clip) else f"Gradient clipped to norm {clip:g}"
        ),
        ("longest", "temperature"),
        "L ≤ {:g}, τ = {:g}",
        lower_is_better=False,
        scale=100.0,
        papers={(math.inf,): paper.LISTOPS},
    ),
    "vae": Layout(
        "The categorical VAE",
        "A variational autoencoder with categorical latent variables, trained with each estimator "
        "in batches of B images: the bound on the negative log-likelihood that it reaches.",
        "Bound at test in nats, lower is better",
        vae.Config,
        ("data", "bits"),
        lambda data, bits: f"{_DATA[data]}, {bits} bits",
        ("arity", "batch"),
        "{:g}-ary, B = {:g}",
        lower_is_better=True,
        scale=1.0,
        papers={("idx", 120): paper.VAE, ("openml", 120): paper.VAE},
    ),
}
_NAMES = (
    "GS is Gumbel-softmax, ST straight-through, ST-GS straight-through Gumbel-softmax; GR is "
    "`GumbelRao` with its defaults, GR-MC10 the same with 10 independent samples, as in the paper."
)
_HOW = (
    "Each of the first commands trains the networks of one file: every combination of the values "
    "that it lists, on all cores, a row of `out/rows.sqlite` each. The last one makes the tables "
    "and figures of the rows."
)


def best(frame: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Keep for each estimator and column of the table the runs of the best hyperparameters.

    Parameters
    ----------
    frame : DataFrame
        The rows of one experiment.
    layout : Layout
        The table.

    Returns
    -------
    DataFrame
        Some of the rows. Where hyperparameters were run with different numbers of seeds, those
        with the most come first.
    """
    keys = ["estimator", *layout.apart, *layout.keys]
    hyper = [x.name for x in fields(layout.config) if x.name not in (*keys, "seed")]
    text = frame[hyper].map(json.dumps).agg(" ".join, axis=1)
    kept = []
    for _, runs in frame.groupby(keys, sort=False):
        of_choice = runs.groupby(text[runs.index])["valid"]
        scores = pd.DataFrame({"seeds": of_choice.size(), "score": of_choice.mean()})
        if not layout.lower_is_better:
            scores["score"] *= -1
        chosen = scores.sort_values(["seeds", "score"], ascending=[False, True]).index[0]
        kept.append(runs[text[runs.index] == chosen])
    return pd.concat(kept)


def score_table(frame: pd.DataFrame, layout: Layout, reported: paper.Numbers) -> Table:
    """Make table 1 or 2 of the best runs: an estimator a row, ours beside what is reported."""
    columns = sorted({tuple(key) for key in frame[list(layout.keys)].to_numpy().tolist()})
    counts = frame.groupby(["estimator", *layout.keys]).size()
    seeds = f"{counts.min()} to {counts.max()}" if counts.min() < counts.max() else counts.max()
    table = Table(
        layout.title,
        ("estimator", *(layout.heading.format(*column) for column in columns)),
        caption=f"Mean ± standard error over {seeds} seeds, with the weights of the best "
        "evaluation in validation" + ("; in brackets what the paper reports." if reported else "."),
    )
    for name in plots.order(frame["estimator"]):
        cells = []
        for column in columns:
            here = frame["estimator"] == name
            for key, value in zip(layout.keys, column, strict=True):
                here &= frame[key] == value
            ours = plots.mean_and_error(frame["test"][here], 1, layout.scale) if here.any() else "–"
            theirs = reported.get((name, column))
            cells.append(ours if theirs is None else f"{ours} ({theirs})")
        table.add(name, *cells)
    return table


def draw_moments(frame: pd.DataFrame, path: Path) -> str:
    """Draw figures 2a and 2b, variance along training and error over τ; say which are there."""
    groups = list(frame.groupby(["arity", "batch"]))
    measured = frame[frame["moments"].map(len) > 0]
    errors = pd.DataFrame(
        {"estimator": name, "temperature": m["temperature"], "mse": m["mse"]}
        for name, moments in zip(measured["estimator"], measured["moments"], strict=True)
        for m in moments
    ).dropna()
    figure, axes = figures.pairs_of_panels(len(groups) + (len(errors) > 0))
    for ax, ((arity, batch), runs) in zip(axes, groups, strict=False):
        plots.draw_lines(ax, plots.course(runs.to_dict("records"), "variance"))
        ax.set(title=f"{arity}-ary, B = {batch}", xlabel="training steps")
        ax.set_ylabel("log10 trace of the\ngradient's covariance")
    if len(errors):
        mean = np.log10(errors.pivot_table("mse", "temperature", "estimator"))
        plots.draw_lines(axes[-1], mean[plots.order(mean.columns)], marker="o")
        axes[-1].set(xscale="log", xlabel="τ", ylabel="log10 mean squared\nerror of the gradient")
    plots.save(figure, path)
    error = ", and its mean squared error over the temperature" if len(errors) else ""
    return f"Variance of the gradient along training{error}"


def draw_iterations(frame: pd.DataFrame, path: Path) -> str:
    """Draw figure 2c: training steps until the validation bound is below a threshold."""
    groups = list(frame.groupby(["arity", "batch"]))
    figure, axes = figures.pairs_of_panels(len(groups))
    for ax, ((arity, batch), runs) in zip(axes, groups, strict=True):
        bounds = plots.course(runs.to_dict("records"), "bound").cummin()
        steps = bounds.index.to_numpy()
        lowest = bounds.min().min()
        thresholds = lowest + np.linspace(0.25, 30, 120)
        reached = {
            name: [
                steps[np.argmax(bound <= t)] if (bound <= t).any() else np.nan for t in thresholds
            ]
            for name, bound in bounds.items()
        }
        plots.draw_lines(ax, pd.DataFrame(reached, index=thresholds))
        ax.set(
            title=f"{arity}-ary, B = {batch}", xlabel="threshold / nats", ylabel="training steps"
        )
        ax.invert_xaxis()
    plots.save(figure, path)
    return "Training steps to reach a validation bound"


def write(frame: pd.DataFrame, experiment: str, sweeps: list[str], out: Path) -> str:
    """Write the page and the figures of one experiment, made by sweeps; return the page."""
    layout = LAYOUTS[experiment]
    frame = best(frame, layout)
    run, command = "python -m benchmarks.sweeps.run", "python -m benchmarks.sweeps.report"
    commands = [f"{run} benchmarks/sweeps/{name} --data DIR" for name in sweeps]
    commands.append(f"{command} out/rows.sqlite")
    front = f'---\nmyst:\n  html_meta:\n    description: "{layout.lead}"\n---'
    parts = [front, f"# {layout.page}", f"{layout.lead} {_NAMES}"]
    groups = frame.groupby(list(layout.apart))
    for values, runs in sorted(groups, key=lambda group: -len(group[1])):  # the largest first
        parts.append("## " + layout.section(*values))
        parts.append(str(score_table(runs, layout, layout.papers.get(values, {}))).rstrip())
        if experiment == "vae":
            for draw in draw_moments, draw_iterations:
                name = "-".join([draw.__name__.removeprefix("draw_"), *map(str, values)]) + ".png"
                label = draw(runs, out / name)
                caption = f"*{label}, lower is better: means over the seeds, drawn by `{command}`.*"
                parts += [f"![{label}: a line for each estimator]({name})", caption]
    parts += ["## How to make this page", _HOW, "```sh\n" + "\n".join(commands) + "\n```"]
    page = "\n\n".join(parts) + "\n"
    out.joinpath(f"{experiment}.md").write_text(page)
    return page


def main(
    rows: Annotated[list[Path], typer.Argument(help="SQLite files of sweeps.")],
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("docs/results"),
) -> None:
    """Write the tables and figures of the rows that are there."""
    stores = [Store(path) for path in rows]
    out.mkdir(parents=True, exist_ok=True)
    for experiment in LAYOUTS:
        frames = [frame for store in stores if len(frame := store.frame(experiment))]
        if not frames:
            continue
        sweeps = [
            name
            for store in stores
            for name, specification in store.sweeps().items()
            if f'"{experiment}"' in specification
        ]
        typer.echo(write(pd.concat(frames, ignore_index=True), experiment, sweeps, out))
    failed = sum(int(store.frame()["error"].notna().sum()) for store in stores)
    typer.echo(f"results: {out}; cells that failed: {failed}")


if __name__ == "__main__":
    typer.run(main)
