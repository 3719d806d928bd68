"""Time of the call that users make over that of what it replaces, forward and backward.

In PyTorch ``rbgs.torch.gumbel_softmax(hard=True)`` over ``torch.nn.functional.gumbel_softmax``; in
JAX, jitted, ``rbgs.jax.sample`` with the defaults of Gumbel-Rao over a straight-through sampler in
three lines. The calls alternate within one process, one for each number of processors; a ratio is
the median of the ratios within a round.
"""

import multiprocessing
import os
import statistics
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.measurements import peers
from benchmarks.measurements.timing import alternate, ratio, setting
from benchmarks.output.progress import steps_left
from benchmarks.output.tables import Table

SHAPES = (
    (20, 60, 4),
    (20, 30, 16),
    (200, 60, 4),
    (200, 30, 16),
    (64, 1000),
    (8, 32768),
)
TEMPERATURE = 0.5
OLD = "what is replaced"
Times = dict[str, list[float]]


def calls_in_torch(logits: np.ndarray, cotangent: np.ndarray) -> dict[str, peers.Call]:
    """Name the calls in PyTorch, and the parts of the one with the compiled engine."""
    import torch

    import rbgs.torch

    leaf, gradient = torch.tensor(logits, requires_grad=True), torch.tensor(cotangent)
    estimator, rng = rbgs.GumbelRao(TEMPERATURE), np.random.default_rng(0)

    def door(*, compiled: bool) -> peers.Call:
        def call() -> Any:
            rbgs.set_compiled(compiled)
            value = rbgs.torch.gumbel_softmax(leaf, tau=TEMPERATURE, hard=True)
            return torch.autograd.grad(value, leaf, gradient)

        return call

    def sample() -> Any:
        rbgs.set_compiled(True)
        return estimator.sample(logits, rng=rng)

    draw = sample()
    return {
        OLD: peers.torch_gumbel_softmax(logits, cotangent, TEMPERATURE),
        "without fast": door(compiled=False),
        "fast": door(compiled=True),
        "sample": sample,
        "product": lambda: draw.vjp(cotangent),
    }


def calls_in_jax(logits: np.ndarray, cotangent: np.ndarray) -> dict[str, peers.Call]:
    """Name the calls in JAX."""
    import rbgs.jax

    def door(*, compiled: bool) -> Callable[[Any, Any], Any]:
        def draw(x: Any, key: Any) -> Any:
            rbgs.set_compiled(compiled)  # while it is traced
            return rbgs.jax.sample(rbgs.GumbelRao(TEMPERATURE), key, x)

        return draw

    data = (logits, cotangent)
    return {
        OLD: peers.jax_straight_through(*data, TEMPERATURE),
        "without fast": peers.jax_gradient(door(compiled=False), *data),
        "fast": peers.jax_gradient(door(compiled=True), *data),
    }


CALLS = {"PyTorch": calls_in_torch, "JAX": calls_in_jax}


def time_calls(library: str, shape: tuple[int, ...], rounds: int) -> Times:
    """Return the times of the calls in one library."""
    rng = np.random.default_rng(0)
    calls = CALLS[library](*rng.normal(size=(2, *shape)).astype(np.float32))
    alternate(calls, 3)
    return alternate(calls, rounds)


def keep_to(processors: int) -> None:
    """Let this process, and all that it loads later, use so many processors."""
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, allowed[-processors:])


def table(library: str, threads: int, measured: dict[str, Times]) -> Table:
    """Show the ratios."""
    columns = ("logits", f"{OLD}, ms", "fast, ms", "without fast over it", "fast over it")
    result = Table(f"{library}: τ = {TEMPERATURE}, {setting(threads)}", columns)
    for shape, times in measured.items():
        cells = [f"{1e3 * statistics.median(times[x]):.2f}" for x in (OLD, "fast")]
        cells += [f"{ratio(times[x], times[OLD]):.2f}" for x in ("without fast", "fast")]
        result.add(shape, *cells)
    return result


def shares(threads: int, measured: dict[str, Times]) -> Table:
    """Show what the parts of the call in PyTorch take."""
    result = Table(
        f"PyTorch, fast, % of its time: τ = {TEMPERATURE}, {setting(threads)}",
        ("logits", "sample", "product", "rest"),
    )
    for shape, times in measured.items():
        sample, product, whole = (
            statistics.median(times[x]) for x in ("sample", "product", "fast")
        )
        parts = (sample, product, whole - sample - product)
        result.add(shape, *(f"{100 * x / whole:.0f}" for x in parts))
    return result


def tables(rounds: int) -> Iterator[Table]:
    """Yield the tables for one processor and for all."""
    counts = sorted({1, len(os.sched_getaffinity(0))})
    with steps_left() as progress:
        task = progress.add_task("timing", total=len(counts) * len(SHAPES))
        for count in counts:
            measured: dict[str, dict[str, Times]] = {library: {} for library in CALLS}
            # Another process, because libraries ask for the number of processors only once.
            with ProcessPoolExecutor(
                1, multiprocessing.get_context("spawn"), keep_to, (count,)
            ) as process:
                for shape in SHAPES:
                    few = rounds if np.prod(shape) < 2**17 else max(3, rounds // 4)
                    *batch, n = shape
                    for library in CALLS:
                        times = process.submit(time_calls, library, shape, few).result()
                        measured[library][f"({'×'.join(map(str, batch))}, {n})"] = times
                    progress.advance(task)
            for library, times in measured.items():
                yield table(library, count, times)
            yield shares(count, measured["PyTorch"])


def main(rounds: Annotated[int, typer.Option(min=3, help="Of all calls.")] = 60) -> None:
    """Print the tables for one processor and for all."""
    for each in list(tables(rounds)):
        typer.echo(each)


if __name__ == "__main__":
    typer.run(main)
