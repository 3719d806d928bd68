"""Time of a training step and of a loss evaluation with each estimator, in VAEs of MNIST's size.

One network of `benchmarks/sweeps/mnist.toml` is trained at a time, on one thread and on images of
noise. Calls of some steps alternate, each round in another order; a ratio is the median of the
ratios within a round, and its error the standard error of that median. With the extra ``fast`` the
compiled engine is at work, as it is for users. A shape takes about a minute, mostly for
compilation. What is measured again replaces its row.
"""

import os
import time
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import typer

from benchmarks.experiments import estimators, training, vae
from benchmarks.measurements.timing import alternate, ratio_and_error
from benchmarks.output.progress import steps_left
from benchmarks.output.tables import Table
from benchmarks.sweeps.run import ONE_THREAD, described, now
from benchmarks.sweeps.store import Row, Store, cell_name, rounded, versions

_SWEEP = tomllib.loads(Path(__file__).parents[1].joinpath("sweeps", "mnist.toml").read_text())
BASE = "ST-GS"
NAMES = (*_SWEEP["estimators"], "GR-MC100", "REINFORCE", "DisARM", "MuProp", "REBAR")
SHAPES = tuple(f"{column['variables']}x{column['arity']}" for column in _SWEEP["columns"])
_CALL = 0.05  # seconds
_CONFIG = ("estimator", "knob", "variables", "arity", "batch")


def training_call(config: vae.Config) -> tuple[Callable[[], None], int]:
    """Return a call that trains a network further, after the first, and its number of steps."""
    problem = vae.problem(config, None)
    run = training.Run(*(jnp.asarray(getattr(config, name)) for name in training.Run._fields))

    @partial(jax.jit, donate_argnames="state")
    def advance(
        run: training.Run, data: training.Tree, state: training.State, count: int
    ) -> training.State:
        def step(_: jax.Array, state: training.State) -> training.State:
            return training.step(problem, config, run, data, state)[0]

        return jax.lax.fori_loop(0, count, step, state)

    state = jax.jit(partial(training.first_state, problem, config))(run)
    count = 1

    def call() -> None:
        nonlocal state
        state = jax.block_until_ready(advance(run, problem.data, state, count))

    call()  # compiles
    count = 3
    start = time.perf_counter()
    call()
    count = max(1, round(count * _CALL / (time.perf_counter() - start)))
    return call, count


def measure(shape: str, rounds: int, tick: Callable[[], object]) -> list[Row]:
    """Return the rows of all estimators for one shape of the latent space.

    Parameters
    ----------
    shape : str
        The number of variables and of their categories, as in "8x64".
    rounds : int
        How often each estimator is timed.
    tick : callable
        Called once for each estimator that is ready and once for each round.
    """
    started, start = now(), time.perf_counter()
    variables, arity = map(int, shape.split("x"))
    batch = _SWEEP["fixed"]["batch"]
    configs = {
        name: vae.Config(
            estimator=name,
            knob=estimators.knobs(name)[0],
            variables=variables,
            arity=arity,
            batch=batch,
            data="noise",
        )
        for name in NAMES
    }
    calls, steps, errors = {}, {}, {}
    for name, config in configs.items():
        try:
            calls[name], steps[name] = training_call(config)
        except Exception as failure:
            errors[name] = described(failure)
        tick()
    alternate(calls, 1)
    times = {
        name: np.asarray(seconds) / steps[name]
        for name, seconds in alternate(calls, rounds, tick).items()
    }
    spent = round((time.perf_counter() - start) / len(configs), 3)
    rows = []
    for name, config in configs.items():
        result = None if name in errors else rounded(_result(config, times[name], times[BASE]))
        chosen = {entry: getattr(config, entry) for entry in _CONFIG}
        cell = cell_name("cost", "measure", chosen)
        error = errors.get(name)
        rows.append(Row(cell, "cost", "measure", chosen, result, error, versions(), started, spent))
    return rows


def _result(config: vae.Config, seconds: np.ndarray, base: np.ndarray) -> dict[str, Any]:
    count = estimators.evaluations(config.estimator, config.knob, *config.shape)
    milliseconds = 1e3 * float(np.median(seconds))
    over, error = ratio_and_error(seconds.tolist(), base.tolist())
    return {
        "milliseconds": milliseconds,
        "ratio": over,
        "ratio_error": error,
        "evaluations": count,
        "per_evaluation": milliseconds / count,
    }


def table(shape: str, rows: list[Row]) -> Table:
    """Make the table of one shape."""
    made = Table(
        f"VAE with {shape.replace('x', '×')} variables × categories, B = {rows[0].config['batch']}",
        ("estimator", "ms a step", f"over {BASE}", "loss evaluations", "ms an evaluation"),
        caption="\n".join(f"{row.config['estimator']}: {row.error}" for row in rows if row.error),
    )
    for row in rows:
        if (x := row.result) is not None:
            made.add(
                row.config["estimator"],
                f"{x['milliseconds']:.2f}",
                f"{x['ratio']:.3f} ± {x['ratio_error']:.3f}",
                f"{x['evaluations']}",
                f"{x['per_evaluation']:.2f}",
            )
    return made


def main(
    rows: Annotated[Path, typer.Option(help="SQLite file.")] = Path("out/rows.sqlite"),
    rounds: Annotated[int, typer.Option(min=2, help="Of every shape.")] = 20,
    shape: Annotated[
        list[str] | None,
        typer.Option(help="Variables x categories, as in 8x64; may be repeated. By default all."),
    ] = None,
) -> None:
    """Write the rows of the shapes, and print them as tables."""
    os.environ.update(ONE_THREAD)  # JAX reads them when it first computes
    store, shapes, tables = Store(rows), shape or SHAPES, []
    with steps_left() as progress:
        task = progress.add_task("timing", total=len(shapes) * (len(NAMES) + rounds))
        for one in shapes:
            measured = measure(one, rounds, lambda: progress.advance(task))
            store.add(measured, replace=True)
            tables.append(table(one, measured))
    for each in tables:
        typer.echo(each)


if __name__ == "__main__":
    typer.run(main)
