"""Run the cells of a grid or a random search as tasks of a Dask cluster.

A specification is a TOML file: ``experiment``, ``fixed`` entries of its ``Config``, and lists of
values under ``grid``, of which all combinations are cells. Under ``random``, ``trials`` and
``seed`` say how many further combinations to draw, the same for every cell of the grid, from
``ranges`` with ``low``, ``high`` and optionally ``log = true``.

Rows go to an SQLite file as soon as a cell ends. A sweep that is started again runs what has no
row yet.
"""

import importlib
import itertools
import math
import os
import platform
import time
import tomllib
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Annotated, Any
from zipfile import ZipFile

import dask
import numpy as np
import typer
from distributed import Client, Future, LocalCluster, as_completed

import benchmarks
import rbgs
from benchmarks.output.progress import steps_left
from benchmarks.sweeps.store import Row, Store, cell_name

_PACKAGE = Path(benchmarks.__file__).parent
_EXPERIMENTS = ("vae", "listops")
# A worker is one thread, also within the libraries.
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "RBGS_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}


def _experiment(name: str) -> ModuleType:
    return importlib.import_module(f"benchmarks.experiments.{name}")


def cells(specification: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the configuration of every cell, complete with the defaults.

    Parameters
    ----------
    specification : dict
        What the TOML file holds.

    Yields
    ------
    dict
        In a fixed order: the seeds vary slowest, so that early rows already fill a table.
    """
    unknown = set(specification) - {"experiment", "fixed", "grid", "random"}
    if unknown or specification.get("experiment") not in _EXPERIMENTS:
        raise ValueError(f"unknown entries {unknown}, or experiment not among {_EXPERIMENTS}")
    config = _experiment(specification["experiment"]).Config
    grid = specification.get("grid", {})
    names = sorted(grid, key=lambda name: name != "seed")
    trials = list(_trials(specification.get("random")))
    for values in itertools.product(*(grid[name] for name in names)):
        for trial in trials:
            chosen = dict(zip(names, values, strict=True))
            yield asdict(config(**specification.get("fixed", {}), **chosen, **trial))


def _trials(search: dict[str, Any] | None) -> Iterator[dict[str, float]]:
    if search is None:
        yield {}
        return
    rng = np.random.default_rng(search["seed"])
    for _ in range(search["trials"]):
        trial = {}
        for name, span in search["ranges"].items():
            u, low, high = rng.random(), span["low"], span["high"]
            if span.get("log", False):
                value = math.exp(math.log(low) + u * math.log(high / low))
            else:
                value = low + u * (high - low)
            trial[name] = float(f"{value:.4g}")
        yield trial


def versions() -> dict[str, str]:
    """Return the versions that a result may depend on."""
    packages = ("numpy", "jax", "torch", "numba", "optax")
    return {
        "python": platform.python_version(),
        "rbgs": rbgs.__version__,
        **{package: version(package) for package in packages},
    }


def run_cell(experiment: str, config: dict[str, Any], data: str | None) -> Row:
    """Run one cell; what it raises becomes its row's error."""
    started, start = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    result = error = None
    try:
        module = _experiment(experiment)
        result = module.train(module.Config(**config), None if data is None else Path(data))
    except Exception:
        error = traceback.format_exc()
    return Row(
        cell_name(experiment, config),
        experiment,
        config["seed"],
        config,
        result,
        error,
        versions(),
        started,
        round(time.perf_counter() - start, 3),
    )


def lost(experiment: str, config: dict[str, Any], failure: BaseException) -> Row:
    """Return the row of a cell whose worker did not come back."""
    started, name = datetime.now(UTC).isoformat(timespec="seconds"), cell_name(experiment, config)
    error = f"{type(failure).__name__}: {failure}"
    return Row(name, experiment, config["seed"], config, None, error, versions(), started, 0.0)


def connect(scheduler: str | None, workers: int) -> Client:
    """Return a client of a running cluster, or of a local one that ends with the process."""
    if scheduler is None:
        # Dask lets workers give back freed memory at once: that costs a fifth of a training step.
        with dask.config.set({"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None}):
            cluster = LocalCluster(
                n_workers=workers, threads_per_worker=1, dashboard_address=":0", env=_ONE_THREAD
            )
        return Client(cluster)
    client = Client(scheduler)
    upload(client)
    return client


def upload(client: Client) -> None:
    """Send this package to a cluster, as one archive that its processes import from."""
    with TemporaryDirectory() as folder:
        archive = Path(folder, f"{_PACKAGE.name}.zip")
        with ZipFile(archive, "w") as zipped:
            for path in sorted(_PACKAGE.rglob("*.py")):
                zipped.write(path, path.relative_to(_PACKAGE.parent))
        client.upload_file(str(archive))


def run(
    client: Client, store: Store, experiment: str, todo: list[dict[str, Any]], data: Path | None
) -> int:
    """Run cells, writing each row as it comes; return how many failed."""
    failed = 0
    configs: dict[str, dict[str, Any]] = {}
    futures: list[Future] = []
    for config in todo:
        future = client.submit(
            run_cell, experiment, config, None if data is None else str(data), pure=False
        )
        configs[future.key] = config
        futures.append(future)
    arriving = as_completed(futures)
    futures.clear()  # so that the cluster forgets what is written
    with steps_left() as progress:
        task = progress.add_task(f"cells of {experiment}", total=len(todo))
        for future in arriving:
            if future.status == "finished":
                row = future.result()
            else:
                row = lost(experiment, configs[future.key], future.exception())
            store.add(row)
            failed += row.error is not None
            progress.update(task, advance=1, description=f"cells of {experiment}, {failed} failed")
    return failed


def main(
    specification: Annotated[Path, typer.Argument(help="TOML file, as in benchmarks/sweeps/.")],
    rows: Annotated[Path, typer.Option(help="SQLite file.")] = Path("out/rows.sqlite"),
    data: Annotated[Path | None, typer.Option(help="Folder of the data files.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler; by default a local cluster.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes of the local cluster.")] = (
        os.cpu_count() or 1
    ),
    retry: Annotated[bool, typer.Option("--retry", help="Run failed cells again.")] = False,
) -> None:
    """Run the cells of a specification that have no row yet."""
    text = specification.read_text()
    parsed = tomllib.loads(text)
    store, experiment = Store(rows), parsed.get("experiment", "")
    every = list(cells(parsed))
    store.add_sweep(specification.name, text)
    done = store.done(failed=not retry)
    # JSON has no tuples: compare as it is written.
    todo = [config for config in every if cell_name(experiment, config) not in done]
    typer.echo(f"{len(every)} cells, {len(every) - len(todo)} have a row")
    failed = 0
    if todo:
        with connect(scheduler, min(workers, len(todo))) as client:
            failed = run(client, store, experiment, todo, data)
    typer.echo(f"rows: {rows}; failed now: {failed}")


if __name__ == "__main__":
    typer.run(main)
