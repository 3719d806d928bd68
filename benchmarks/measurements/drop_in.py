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
from rich.console import Console
from rich.table import Table

from benchmarks.measurements import peers
from benchmarks.measurements.timing import alternate, instructions, ratio
from benchmarks.output.progress import steps_left

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
    estimator = rbgs.GumbelRao(TEMPERATURE)
    noise = estimator.noise(logits, 0)

    def door(*, compiled: bool) -> peers.Call:
        def call() -> Any:
            rbgs.set_compiled(compiled)
            value = rbgs.torch.gumbel_softmax(leaf, tau=TEMPERATURE, hard=True)
            return torch.autograd.grad(value, leaf, gradient)

        return call

    def sample() -> Any:
        rbgs.set_compiled(True)
        return estimator.sample(logits, noise=noise)

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


def time_shape(shape: tuple[int, ...], rounds: int) -> list[Times]:
    """Return the times of the calls in PyTorch and in JAX."""
    rng = np.random.default_rng(0)
    logits, cotangent = rng.normal(size=(2, *shape)).astype(np.float32)
    times = []
    for make in (calls_in_torch, calls_in_jax):
        calls = make(logits, cotangent)
        alternate(calls, 3)
        times.append(alternate(calls, rounds))
    return times


def keep_to(processors: int) -> None:
    """Let this process, and all that it loads later, use so many processors."""
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, allowed[-processors:])


def table(threads: int, measured: dict[tuple[int, ...], list[Times]]) -> Table:
    """Show the ratios, and of the call in PyTorch its parts."""
    result = Table(
        title=f"Time over what is replaced, {threads} thread{'s' * (threads > 1)}, float32, "
        f"τ = {TEMPERATURE}, {instructions()}"
    )
    result.add_column("logits")
    for library in ("PyTorch", "JAX"):
        result.add_column(f"{library}, ms", justify="right")
        for label in ("without fast", "fast"):
            result.add_column(f"{library}, {label}", justify="right")
        if library == "PyTorch":
            result.add_column("sample · product · door", justify="right")
    for shape, times in measured.items():
        cells = []
        for library in times:
            cells.append(f"{1e3 * statistics.median(library[OLD]):.2f}")
            cells += [f"{ratio(library[x], library[OLD]):.2f}" for x in ("without fast", "fast")]
            if "sample" in library:
                whole = statistics.median(library["fast"])
                parts = [statistics.median(library[x]) / whole for x in ("sample", "product")]
                shares = (*parts, 1 - sum(parts))
                cells.append(" · ".join(f"{100 * x:.0f} %" for x in shares))
        *batch, n = shape
        result.add_row(f"({'×'.join(map(str, batch))}, {n})", *cells)
    return result


def tables(rounds: int) -> Iterator[Table]:
    """Yield the tables for one processor and for all."""
    counts = sorted({1, len(os.sched_getaffinity(0))})
    with steps_left() as progress:
        task = progress.add_task("timing", total=len(counts) * len(SHAPES))
        for count in counts:
            measured = {}
            # Another process, because libraries ask for the number of processors only once.
            with ProcessPoolExecutor(
                1, multiprocessing.get_context("spawn"), keep_to, (count,)
            ) as process:
                for shape in SHAPES:
                    few = rounds if np.prod(shape) < 2**17 else max(3, rounds // 4)
                    measured[shape] = process.submit(time_shape, shape, few).result()
                    progress.advance(task)
            yield table(count, measured)


def main(rounds: Annotated[int, typer.Option(min=3, help="Of all calls.")] = 60) -> None:
    """Print the tables for one processor and for all."""
    for each in list(tables(rounds)):
        Console().print(each)


if __name__ == "__main__":
    typer.run(main)
