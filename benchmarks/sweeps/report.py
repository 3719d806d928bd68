"""Turn the rows of sweeps into the tables and figures of Paulus, Maddison & Krause (2021).

A table's entry is the mean ± standard error over the seeds, for the hyperparameters with the best
mean validation score; behind it, in brackets, is what the paper reports.
"""

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.experiments import listops, paper, plots, vae
from benchmarks.sweeps.store import Store


@dataclass(frozen=True)
class Layout:
    """How the rows of an experiment make a table."""

    page: str
    title: str
    config: type
    apart: tuple[str, ...]  # the entries of the configuration that make a table of their own
    keys: tuple[str, ...]  # those that make a column
    heading: str
    lower_is_better: bool
    scale: float
    papers: dict[tuple[Any, ...], paper.Numbers]  # by the values of ``apart``


LAYOUTS = {
    "listops": Layout(
        "Results on ListOps",
        "Accuracy on ListOps at test in %, higher is better: ours (table 1 of the paper)",
        listops.Config,
        ("clip",),
        ("longest", "temperature"),
        "L ≤ {:g}, τ = {:g}",
        lower_is_better=False,
        scale=100.0,
        papers={(math.inf,): paper.LISTOPS},
    ),
    "vae": Layout(
        "Results of the categorical VAE",
        "Bound at test in nats, lower is better: ours (table 2 of the paper)",
        vae.Config,
        ("data", "bits"),
        ("arity", "batch"),
        "{:g}-ary, B = {:g}",
        lower_is_better=True,
        scale=1.0,
        papers={("idx", 120): paper.VAE, ("openml", 120): paper.VAE},
    ),
}


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
        title=f"{layout.title}; weights of the best evaluation in validation, mean ± standard "
        f"error over the seeds: {seeds}",
        box=box.MARKDOWN,
    )
    table.add_column("estimator", no_wrap=True)
    for column in columns:
        table.add_column(layout.heading.format(*column), justify="right", no_wrap=True)
    for name in plots.order(frame["estimator"]):
        cells = []
        for column in columns:
            here = frame["estimator"] == name
            for key, value in zip(layout.keys, column, strict=True):
                here &= frame[key] == value
            ours = plots.mean_and_error(frame["test"][here], 1, layout.scale) if here.any() else "–"
            theirs = reported.get((name, column))
            cells.append(ours if theirs is None else f"{ours} ({theirs})")
        table.add_row(name, *cells)
    return table


def draw_moments(frame: pd.DataFrame, path: Path) -> None:
    """Draw figures 2a and 2b: variance along training, and mean squared error over τ."""
    groups = list(frame.groupby(["arity", "batch"]))
    measured = frame[frame["moments"].map(len) > 0]
    errors = pd.DataFrame(
        {"estimator": name, "temperature": m["temperature"], "mse": m["mse"]}
        for name, moments in zip(measured["estimator"], measured["moments"], strict=True)
        for m in moments
    ).dropna()
    figure, axes = plots.row_of_panels(len(groups) + (len(errors) > 0))
    for ax, ((arity, batch), runs) in zip(axes, groups, strict=False):
        plots.draw_lines(ax, plots.course(runs.to_dict("records"), "variance"))
        ax.set(title=f"{arity}-ary, B = {batch}", xlabel="training steps")
        ax.set_ylabel("log10 trace of the gradient's covariance")
    if len(errors):
        mean = np.log10(errors.pivot_table("mse", "temperature", "estimator"))
        plots.draw_lines(axes[-1], mean[plots.order(mean.columns)], marker="o")
        axes[-1].set(xscale="log", xlabel="τ", ylabel="log10 mean squared error of the gradient")
    plots.save(figure, path)


def draw_iterations(frame: pd.DataFrame, path: Path) -> None:
    """Draw figure 2c: training steps until the validation bound is below a threshold."""
    groups = list(frame.groupby(["arity", "batch"]))
    figure, axes = plots.row_of_panels(len(groups))
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


def text(table: Table) -> str:
    """Render a table as Markdown, below its title."""
    title, table.title = str(table.title), None
    console = Console(width=400)
    with console.capture() as captured:
        console.print(table)
    lines = [line.strip() for line in captured.get().splitlines()]
    return f"{title}\n\n" + "\n".join(line for line in lines if line)


def write(frame: pd.DataFrame, experiment: str, sweeps: list[str], out: Path) -> str:
    """Write the page and the figures of one experiment, made by sweeps; return the page."""
    layout = LAYOUTS[experiment]
    frame = best(frame, layout)
    run, command = "python -m benchmarks.sweeps.run", "python -m benchmarks.sweeps.report"
    commands = [f"{run} benchmarks/sweeps/{name} --data DIR" for name in sweeps]
    commands.append(f"{command} out/rows.sqlite")
    parts = [f"# {layout.page}", "```sh\n" + "\n".join(commands) + "\n```"]
    for values, runs in frame.groupby(list(layout.apart)):
        names = zip(layout.apart, values, strict=True)
        parts.append("## " + ", ".join(f"{name} = {value}" for name, value in names))
        parts.append(text(score_table(runs, layout, layout.papers.get(values, {}))))
        if experiment == "vae":
            for draw, label in (
                (draw_moments, "Variance along training, and error over the temperature"),
                (draw_iterations, "Training steps to reach a validation bound"),
            ):
                name = "-".join([draw.__name__.removeprefix("draw_"), *map(str, values)]) + ".png"
                draw(runs, out / name)
                caption = f"*{label}, lower is better: means over the seeds, drawn by `{command}`.*"
                parts += [f"![{label}]({name})", caption]
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
