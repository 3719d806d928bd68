"""Run sweeps as tasks of a Dask cluster: random searches, and tests of what they find best.

Runs that share a compiled program are trained together, as one task. Their rows go to an SQLite
file as soon as the task ends, with an error where there is no result. A sweep that is started again
runs what has no row yet.
"""

import os
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any
from zipfile import ZipFile

import dask
import numpy as np
import typer
from distributed import Client, LocalCluster, as_completed

import benchmarks
import rbgs
from benchmarks.experiments import training
from benchmarks.output.progress import steps_left
from benchmarks.sweeps.specification import SEARCH, TEST, Study, experiment, studies
from benchmarks.sweeps.store import Row, Store, cell_name, rounded, versions

_PACKAGE = Path(benchmarks.__file__).parent
_XLA = ["--xla_cpu_multi_thread_eigen=false", "intra_op_parallelism_threads=1"]
if version("jaxlib") == "0.10.2":
    # Some sums of products that are batched there are wrong (jax-ml/jax#39103).
    _XLA.append("--xla_cpu_experimental_ynn_fusion_type=")
# A worker is one thread, also within the libraries, unless the environment says otherwise.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "RBGS_NUM_THREADS": "1",
    "XLA_FLAGS": " ".join(_XLA),
}


@dataclass(frozen=True)
class Program:
    """Runs of a study that are trained together."""

    study: Study
    stage: str
    configs: tuple[dict[str, Any], ...]

    def cells(self) -> list[str]:
        """Return the keys of the rows."""
        return [cell_name(self.study.sweep, self.stage, config) for config in self.configs]


def run_program(program: Program, data: str | None, weights: str | None) -> list[Row]:
    """Train and, if that is the stage, test; what is raised becomes the error of each row."""
    rbgs.set_compiled(False)  # its calls from within a program would be one for each run
    started, start = now(), time.perf_counter()
    results: list[dict[str, Any]]
    try:
        module = experiment(program.study.experiment)
        configs = [module.Config(**config) for config in program.configs]
        problem = module.problem(configs[0], None if data is None else Path(data))
        results, trained = training.train(problem, configs)
        for number, (result, cell) in enumerate(zip(results, program.cells(), strict=True)):
            if program.stage == SEARCH:
                del result["curve"]
            elif "error" not in result:
                one = training.one_of(trained, number)
                result |= training.test(problem, one)
                if weights is not None:
                    save_weights(Path(weights), cell, one)
    except Exception as failure:
        traceback.print_exc()  # where the worker's output goes
        results = [{"error": described(failure)} for _ in program.configs]
    return as_rows(program, results, started, time.perf_counter() - start)


def as_rows(
    program: Program, results: list[dict[str, Any]], started: str, seconds: float
) -> list[Row]:
    """Return the rows of a program; a run that failed keeps what was measured before."""
    rows = []
    for cell, config, result in zip(program.cells(), program.configs, results, strict=True):
        kept = rounded({name: x for name, x in result.items() if name != "error"}) or None
        sweep, stage, share = program.study.sweep, program.stage, round(seconds / len(results), 3)
        error = result.get("error")
        rows.append(Row(cell, sweep, stage, config, kept, error, versions(), started, share))
    return rows


def described(failure: BaseException | None) -> str:
    """Return what a row says of an exception."""
    return f"{type(failure).__name__}: {failure}"


def lost(program: Program, failure: BaseException | None) -> list[Row]:
    """Return the rows of a program whose worker did not come back."""
    error = {"error": described(failure)}
    return as_rows(program, [error] * len(program.configs), now(), 0.0)


def now() -> str:
    """Return when something started, as rows have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def weights_file(folder: Path, cell: str) -> Path:
    """Return where the weights of a run are kept."""
    return folder / f"{sha256(cell.encode()).hexdigest()[:16]}.npz"


def save_weights(folder: Path, cell: str, weights: Any) -> None:
    """Write the weights of a run, so that it can be tested again without training."""
    import jax

    folder.mkdir(parents=True, exist_ok=True)
    np.savez(weights_file(folder, cell), *map(np.asarray, jax.tree.leaves(weights)))


def programs(
    study: Study,
    stage: str,
    configs: list[training.Config],
    rows: Mapping[str, Row],
    retry: bool,
) -> list[Program]:
    """Group by the program that they share the runs without a row, or that failed if so told."""
    groups: dict[training.Config, list[dict[str, Any]]] = {}
    for config in configs:
        entries = asdict(config)
        row = rows.get(cell_name(study.sweep, stage, entries))
        if row is None or (retry and row.error is not None):
            groups.setdefault(training.shared(config), []).append(entries)
    return [Program(study, stage, tuple(group)) for group in groups.values()]


def searches(study: Study, rows: Mapping[str, Row], retry: bool) -> list[Program]:
    """Return what is left to run of a study's search."""
    return programs(study, SEARCH, study.searched(), rows, retry)


def tests(study: Study, rows: Mapping[str, Row], retry: bool) -> list[Program]:
    """Return what is left to test of what a study, its search being done, found best."""
    found = {x: rows[cell_name(study.sweep, SEARCH, asdict(x))] for x in study.searched()}
    scores = {x: row.result["valid"] for x, row in found.items() if row.result and not row.error}
    return programs(study, TEST, study.tested(scores), rows, retry)


def connect(scheduler: str | None, workers: int) -> Client:
    """Return a client of a running cluster, or of a local one that ends with the process."""
    if scheduler is None:
        environment = {name: os.environ.get(name, value) for name, value in ONE_THREAD.items()}
        # Dask lets workers give back freed memory at once: that costs a fifth of a training step.
        with dask.config.set({"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None}):
            cluster = LocalCluster(
                n_workers=workers, threads_per_worker=1, dashboard_address=":0", env=environment
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
    client: Client,
    store: Store,
    every: list[Study],
    data: Path | None = None,
    weights: Path | None = None,
    retry: bool = False,
) -> int:
    """Run studies, writing rows as they come; return how many failed."""
    folders = [None if folder is None else str(folder.resolve()) for folder in (data, weights)]
    rows, failed = store.rows(), 0
    running: dict[str, Program] = {}
    arriving = as_completed()

    def submit(programs: list[Program], priority: int) -> None:
        for program in programs:
            future = client.submit(run_program, program, *folders, pure=False, priority=priority)
            running[future.key] = program
            arriving.add(future)

    def under_way() -> set[int]:
        return {id(program.study) for program in running.values()}

    for number, study in enumerate(every):
        submit(searches(study, rows, retry) or tests(study, rows, retry), -number)
    with steps_left() as progress:
        task = progress.add_task("studies", total=len(every))
        progress.update(task, completed=len(every) - len(under_way()))
        for future in arriving:
            program = running.pop(future.key)
            arrived = future.status == "finished"
            new = future.result() if arrived else lost(program, future.exception())
            store.add(new)
            rows |= {row.cell: row for row in new}
            failed += sum(row.error is not None for row in new)
            if program.stage == SEARCH and id(program.study) not in under_way():
                submit(tests(program.study, rows, retry), 1)  # before others, so that tables fill
            progress.update(task, completed=len(every) - len(under_way()))
    return failed


def main(
    specifications: Annotated[list[Path], typer.Argument(help="As in benchmarks/sweeps/.")],
    rows: Annotated[Path, typer.Option(help="SQLite file.")] = Path("out/rows.sqlite"),
    data: Annotated[Path | None, typer.Option(help="Folder of the data files.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Folder for the weights of what is tested.")
    ] = Path("out/weights"),
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler; by default a local cluster.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes of the local cluster.")] = (
        os.cpu_count() or 1
    ),
    retry: Annotated[bool, typer.Option("--retry", help="Run again what failed.")] = False,
) -> None:
    """Run what has no row yet."""
    store, every = Store(rows), []
    for path in specifications:
        every += studies(path)
        store.add_sweep(path.stem, path.read_text())
    with connect(scheduler, workers) as client:
        failed = run(client, store, every, data, weights, retry)
    typer.echo(f"rows: {rows}; studies: {len(every)}; runs that failed now: {failed}")


if __name__ == "__main__":
    typer.run(main)
