"""What samples and control variate are worth where there are many categories: variance × time.

The variance is that of the gradient estimate in all, with that of the outcome; the time is that of
noise, sample and vjp, on one thread. Both are given over those of the default, for a linear loss
and for the squared distance of the outcome's embedding from a target. Below 1 another choice would
have been better.
"""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Annotated

import numpy as np
import typer

import rbgs
from benchmarks.measurements.timing import instructions
from benchmarks.output.progress import steps_left
from benchmarks.output.tables import Table

CATEGORIES = (64, 256, 1000, 32768, 100_000)
TEMPERATURES = (0.1, 0.3, 0.5, 1.0)
SAMPLES = (2, 4, 8, 16)
RATIOS = ("Variance", "Time", "Variance × time")
SPREAD = 2.0  # the standard deviation of the logits
Gradient = Callable[[np.ndarray], np.ndarray]


def losses(n: int) -> dict[str, Gradient]:
    """Name the gradients of the losses."""
    rng = np.random.default_rng(n)
    weights = rng.normal(size=n).astype(np.float32)
    embedding = rng.normal(size=(n, 8)).astype(np.float32)
    target = rng.normal(size=8).astype(np.float32)
    return {
        "linear": lambda value: np.broadcast_to(weights, value.shape),
        "embedding": lambda value: 2 * (value @ embedding - target) @ embedding.T,
    }


def measure(
    estimator: rbgs.GumbelRao, logits: np.ndarray, gradient: Gradient, rounds: int
) -> tuple[float, float]:
    """Return the variance of the estimate, and the seconds that it takes."""
    rng = np.random.default_rng(0)
    total, squares, count, seconds = np.zeros(logits.shape[-1]), 0.0, 0, []
    for _ in range(rounds):
        start = time.perf_counter()
        draw = estimator.sample(logits, rng=rng)
        between = time.perf_counter()
        cotangent = np.ascontiguousarray(gradient(draw.value))
        again = time.perf_counter()
        estimate = draw.vjp(cotangent)
        seconds.append(time.perf_counter() - again + between - start)
        wide = estimate.astype(np.float64)
        total, squares, count = total + wide.sum(0), squares + (wide**2).sum(), count + len(wide)
    return (squares - (total**2).sum() / count) / (count - 1), statistics.median(seconds)


def rows(n: int, most: int) -> Iterator[tuple[str, float, list[tuple[float, float, float]]]]:
    """Yield a loss, a temperature, and for each choice the ratios: variance, time and both."""
    count = max(4, min(512, 2**18 // n))
    logits = SPREAD * np.random.default_rng(n).normal(size=n)
    logits = np.ascontiguousarray(np.broadcast_to(logits.astype(np.float32), (count, n)))
    rounds = max(3, min(most, 2**25 // (n * count)))
    for (loss, gradient), temperature in itertools.product(losses(n).items(), TEMPERATURES):
        variance, seconds = measure(rbgs.GumbelRao(temperature), logits, gradient, rounds)
        cells = []
        for reduced, samples in itertools.product((False, True), SAMPLES):
            estimator = rbgs.GumbelRao(temperature, samples, control_variate=reduced)
            v, t = measure(estimator, logits, gradient, rounds)
            cells.append((v / variance, t / seconds, v * t / (variance * seconds)))
        yield loss, temperature, cells


def main(most: Annotated[int, typer.Option(min=3, help="Rounds.")] = 64) -> None:
    """Print a table for each of the three ratios."""
    rbgs.set_num_threads(1)
    setting = f"float32, {'fast' if rbgs.is_compiled() else 'NumPy'}, {instructions()}"
    choices = (f"{s}{', cv' * cv}" for cv in (False, True) for s in SAMPLES)
    columns = ("n", "loss", "τ", *choices)
    tables = [
        Table(f"{ratio} over the default's, {setting}", columns, labels=2) for ratio in RATIOS
    ]
    with steps_left() as progress:
        task = progress.add_task("timing", total=2 * len(CATEGORIES) * len(TEMPERATURES))
        for n in CATEGORIES:
            for loss, temperature, cells in rows(n, most):
                for table, ratios in zip(tables, zip(*cells, strict=True), strict=True):
                    table.add(str(n), loss, str(temperature), *(f"{x:.2f}" for x in ratios))
                progress.advance(task)
    for table in tables:
        typer.echo(table)


if __name__ == "__main__":
    typer.run(main)
