"""Run sweeps as tasks of a Dask cluster: random searches, and tests of what they find best.

Runs that share a compiled program are trained together, as one task. Their rows go to an SQLite
file as soon as the task ends, with an error where there is no result. A sweep that is started again
runs what has no row yet.
"""

import os
import platform
import time
import traceback
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
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
from benchmarks.output.progress import steps_left
from benchmarks.sweeps.specification import SEARCH, TEST, Study, experiment, studies
from benchmarks.sweeps.store import Row, Store, cell_name

_PACKAGE = Path(benchmarks.__file__).parent
# A worker is one thread, also within the libraries, unless the environment says otherwise.
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "RBGS_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
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


def versions() -> str:
    """Return what a result may depend on, in a line."""
    import jax

    names = [f"python {platform.python_version()}", f"rbgs {rbgs.__version__}"]
    for package in ("numpy", "jax", "optax"):
        try:
            names.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            names.append(f"{package} absent")
    return ", ".join((*names, jax.devices()[0].device_kind))


def run_program(program: Program, data: str | None, weights: str | None) -> list[Row]:
    """Train and, if that is the stage, test; what is raised becomes the error of each row."""
    from benchmarks.experiments import training

    rbgs.set_compiled(False)  # its calls from within a program would be one for each run
    started, start = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
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
    except Exception:
        results = [{"error": traceback.format_exc()} for _ in program.configs]
    seconds = (time.perf_counter() - start) / len(results)
    return [
        as_row(program, number, result, versions(), started, seconds)
        for number, result in enumerate(results)
    ]


def as_row(
    program: Program, number: int, result: dict[str, Any], used: str, started: str, seconds: float
) -> Row:
    """Return the row of one run; what failed keeps what was measured before."""
    error = result.pop("error", None)
    cell, config = program.cells()[number], program.configs[number]
    kept = _rounded(result) or None
    sweep, stage = program.study.sweep, program.stage
    return Row(cell, sweep, stage, config, kept, error, used, started, round(seconds, 3))


def _rounded(x: Any) -> Any:
    """Keep six digits, which is more than any result has."""
    if isinstance(x, dict):
        return {name: _rounded(value) for name, value in x.items()}
    if isinstance(x, list):
        return [_rounded(value) for value in x]
    return float(f"{x:.6g}") if isinstance(x, float) else x


def weights_file(folder: Path, cell: str) -> Path:
    """Return where the weights of a run are kept."""
    return folder / f"{sha256(cell.encode()).hexdigest()[:16]}.npz"


def save_weights(folder: Path, cell: str, weights: Any) -> None:
    """Write the weights of a run, so that it can be tested again without training."""
    import jax

    folder.mkdir(parents=True, exist_ok=True)
    np.savez(weights_file(folder, cell), *map(np.asarray, jax.tree.leaves(weights)))


def programs(study: Study, stage: str, configs: list[Any], done: set[str]) -> list[Program]:
    """Group runs without a row by the program that they share."""
    from benchmarks.experiments.training import Run

    groups: dict[Any, list[dict[str, Any]]] = {}
    for config in configs:
        shared = replace(config, **Run(0, 1.0, 1.0, 1.0)._asdict())
        entries = asdict(config)
        if cell_name(study.sweep, stage, entries) not in done:
            groups.setdefault(shared, []).append(entries)
    return [Program(study, stage, tuple(group)) for group in groups.values()]


def next_programs(study: Study, store: Store, retry: bool) -> list[Program]:
    """Return what a study can run now: its search, or once that has all rows what it found best."""
    rows = store.rows()
    done = {cell for cell, row in rows.items() if row.error is None or not retry}
    trials = study.searched()
    searching = programs(study, SEARCH, trials, done)
    if searching:
        return searching
    found = {trial: rows[cell_name(study.sweep, SEARCH, asdict(trial))] for trial in trials}
    scores = {x: row.result["valid"] for x, row in found.items() if row.result and not row.error}
    return programs(study, TEST, study.tested(scores), done)


def connect(scheduler: str | None, workers: int) -> Client:
    """Return a client of a running cluster, or of a local one that ends with the process."""
    if scheduler is None:
        environment = {name: os.environ.get(name, value) for name, value in _ONE_THREAD.items()}
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


def lost(program: Program, failure: BaseException | None) -> list[Row]:
    """Return the rows of a program whose worker did not come back."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    error = {"error": f"{type(failure).__name__}: {failure}"}
    return [
        as_row(program, number, dict(error), versions(), started, 0.0)
        for number in range(len(program.configs))
    ]


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
    running: dict[str, Program] = {}
    arriving = as_completed()

    def submit(study: Study, again: bool, priority: int) -> None:
        for program in next_programs(study, store, again):
            future = client.submit(run_program, program, *folders, pure=False, priority=priority)
            running[future.key] = program
            arriving.add(future)

    failed = 0
    with steps_left() as progress:
        task = progress.add_task("studies", total=len(every))
        for number, study in enumerate(every):
            submit(study, retry, -number)
        progress.advance(task, len(every) - len({id(x.study) for x in running.values()}))
        for future in arriving:
            program = running.pop(future.key)
            succeeded = future.status == "finished"
            rows = future.result() if succeeded else lost(program, future.exception())
            store.add(rows)
            failed += sum(row.error is not None for row in rows)
            if not any(other.study is program.study for other in running.values()):
                before = len(running)
                if program.stage == SEARCH:
                    submit(program.study, False, 1)  # first of all, so that tables fill
                if len(running) == before:
                    progress.advance(task)
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
