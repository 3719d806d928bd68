"""Test kept weights again, without training: with more samples or on other data, say."""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import typer

from benchmarks.experiments import training
from benchmarks.output.progress import steps_left
from benchmarks.output.tables import Table
from benchmarks.sweeps.run import weights_file
from benchmarks.sweeps.specification import TEST, experiment
from benchmarks.sweeps.store import Store


@lru_cache(maxsize=1)
def _problem(name: str, config: training.Config, data: Path | None) -> training.Problem:
    """Build a problem; for the same one what tests it is compiled once."""
    problem: training.Problem = experiment(name).problem(config, data)
    return problem


def load_weights(path: Path, problem: training.Problem) -> training.Tree:
    """Read the weights of a run in the structure that the problem gives them."""
    structure = jax.tree.structure(jax.eval_shape(problem.initialise, jax.random.key(0)))
    with np.load(path) as arrays:
        return jax.tree.unflatten(structure, [jax.numpy.asarray(x) for x in arrays.values()])


def evaluate(
    name: str, entries: Mapping[str, Any], weights: Path, data: Path | None
) -> dict[str, float]:
    """Return what a test of kept weights measures.

    Parameters
    ----------
    name : str
        Of the experiment.
    entries : mapping
        Of the configuration.
    weights : Path
        The file.
    data : Path, optional
        Folder of the data files.
    """
    config = training.shared(experiment(name).Config(**entries))
    problem = _problem(name, replace(config, estimator="ST", knob=None), data)  # serves them all
    return training.test(problem, load_weights(weights, problem))


def main(
    rows: Annotated[Path, typer.Argument(help="SQLite file of a sweep.")],
    weights: Annotated[Path, typer.Argument(help="Folder of the weights.")],
    data: Annotated[Path | None, typer.Option(help="Folder of the data files.")] = None,
    sweep: Annotated[str | None, typer.Option(help="By default all that are in the file.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="Another value, as TOML: test_samples=20000; may be repeated."),
    ] = None,
) -> None:
    """Print what each test measured and what it measures now; the rows stay as they are."""
    store, changed = Store(rows), tomllib.loads("\n".join(setting or []))
    for name, specification in store.sweeps().items():
        if sweep not in (None, name):
            continue
        read = tomllib.loads(specification)
        entries = dict.fromkeys(entry for column in read["columns"] for entry in column)
        columns = [entry for entry in entries if entry != "further"]
        table = Table(name, ("estimator", *columns, "seed", "test", "new test"))
        tested = [x for x in store.rows().values() if (x.sweep, x.stage) == (name, TEST)]
        kept = [x for x in tested if not x.error and weights_file(weights, x.cell).exists()]
        kept.sort(key=lambda row: [str(row.config[x]) for x in (*columns, "estimator", "seed")])
        with steps_left() as progress:
            for row in progress.track(kept, description=name):
                file = weights_file(weights, row.cell)
                new = evaluate(read["experiment"], row.config | changed, file, data)
                cells = (str(row.config[x]) for x in ("estimator", *columns, "seed"))
                values = (f"{x['test']:.6g}" for x in (row.result or {}, new))
                table.add(*cells, *values)
        table.caption = f"{len(kept)} of {len(tested)} tests have kept their weights."
        typer.echo(table)


if __name__ == "__main__":
    typer.run(main)
