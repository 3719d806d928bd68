"""Variance of the sampling schemes given the outcome, and what it is worth in time.

The variance-reduction factor is the first term of eq. 13, E[var(estimate | D)], of independent
sampling over that of a scheme, at equal K. The headline multiplies variance and time: dense
Gumbel-Rao in PyTorch over this library's defaults, sample + vjp, at equal K.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import rbgs
from benchmarks.experiments import estimators
from benchmarks.measurements import peers, structured_variance
from benchmarks.measurements.timing import alternate, ratio
from benchmarks.output.figures import panels, save
from benchmarks.output.progress import steps_left
from benchmarks.output.tables import Table

CATEGORIES = (2, 4, 8, 16, 64, 1024)
TEMPERATURES = (0.05, 0.1, 0.3, 0.5, 1.0, 2.0)
SAMPLES = (1, 4, 16, 64)
SPREADS = (1.0, 3.0)
SCHEMES = {
    "control variate": ("monte_carlo", True),
    "lattice": ("lattice", False),
    "both": ("lattice", True),
    "default": ("lattice", None),
}
EXACT = 1e6  # factors above are rounding: nothing is left to vary


def conditional_variance(
    estimator: rbgs.Estimator, logits: np.ndarray, rows: int, seed: int
) -> float:
    """Return E[var(A v | D)] over random outcomes of some rows of logits ``(problem, n)``."""
    rng = np.random.default_rng(seed)
    shape = (rows, *logits.shape)
    index = rbgs.StraightThrough().sample(logits, rng=rng).index
    vector = np.broadcast_to(rng.normal(size=logits.shape).astype(logits.dtype), shape)
    draw = estimator.sample(
        np.broadcast_to(logits, shape), index=np.broadcast_to(index, shape[:-1]), rng=rng
    )
    return float(draw.vjp(np.ascontiguousarray(vector)).var(axis=0, ddof=1).sum(axis=-1).mean())


def reduction(n: int, temperature: float, samples: int, spread: float, rows: int) -> list[float]:
    """Return the variance-reduction factor of each scheme."""
    problems = max(1, min(16, 256 // n))
    rows = max(200, min(rows, 2**23 // (n * samples * problems)))
    logits = spread * np.random.default_rng(n).normal(size=(problems, n))
    one = estimators.make("GR-MC1", temperature)
    independent = conditional_variance(one, logits, rows * min(8, samples), seed=1) / samples
    factors = []
    for sampling, reduced in SCHEMES.values():
        estimator = rbgs.GumbelRao(temperature, samples, sampling, reduced)
        left = conditional_variance(estimator, logits, rows, seed=1)
        factors.append(min(EXACT, independent / max(left, 1e-300)))
    return factors


def factor_tables(results: dict[tuple[int, int, float, float], list[float]]) -> Iterator[Table]:
    """Show the factors of each scheme: a row for each n, K and spread."""
    columns = ("n", "K", "spread", *(f"τ = {t}" for t in TEMPERATURES))
    for number, scheme in enumerate(SCHEMES):
        table = Table(f"Variance-reduction factor at equal K: {scheme}", columns, labels=0)
        for n, samples, spread in itertools.product(CATEGORIES, SAMPLES, SPREADS):
            factors = [results[n, samples, spread, t][number] for t in TEMPERATURES]
            cells = ("exact" if f >= EXACT else f"{f:.3g}" for f in factors)
            table.add(str(n), str(samples), f"{spread:g}", *cells)
        yield table


def headline_table(rounds: int) -> Table:
    """Show (time × variance) of dense PyTorch over the defaults, for both engines."""
    engines = {"NumPy": False}
    if rbgs.is_compiled():
        engines["fast"] = True
    products = (f"product, {e}" for e in engines)
    table = Table(
        "Variance and time of dense GR in PyTorch over rbgs, K = 16, float32",
        ("batch", "n", "τ", "variance", *(f"time, {e}" for e in engines), *products),
        labels=0,
    )
    for (batch, n), temperature in itertools.product(
        (((200, 60), 4), ((200, 30), 16)), (0.1, 0.3, 0.5, 0.7, 1.0)
    ):
        rng = np.random.default_rng(0)
        logits = rng.normal(size=(*batch, n)).astype(np.float32)
        cotangent = rng.normal(size=logits.shape).astype(np.float32)
        default = rbgs.GumbelRao(temperature, 16)
        calls = {"peer": peers.torch_dense(logits, cotangent, temperature, 16)}
        for label, compiled in engines.items():
            calls[label] = peers.ours(default, logits, cotangent, compiled=compiled)
        alternate(calls, 1)
        times = alternate(calls, rounds)
        flat = logits.reshape(-1, n)[:500].astype(np.float64)
        one = estimators.make("GR-MC1", temperature)
        gain = conditional_variance(one, flat, 800, 1) / 16
        gain /= conditional_variance(default, flat, 200, 1)
        ratios = [ratio(times["peer"], times[e]) for e in engines]
        table.add(
            "×".join(map(str, batch)),
            str(n),
            str(temperature),
            f"{gain:.1f}",
            *(f"{r:.1f}" for r in ratios),
            *(f"{gain * r:.0f}" for r in ratios),
        )
    return table


def draw_figure(path: Path, results: dict[tuple[int, int, float, float], list[float]]) -> None:
    """Draw the factors over the temperature."""
    figure, axes = panels(len(CATEGORIES) - 1, len(SAMPLES) - 1, 10.5, sharex=True, sharey=True)
    for row, n in enumerate(CATEGORIES[1:]):
        for column, samples in enumerate(SAMPLES[1:]):
            ax = axes[row, column]
            for scheme, label in enumerate(SCHEMES):
                factors = [results[n, samples, 1.0, t][scheme] for t in TEMPERATURES]
                ax.loglog(TEMPERATURES, factors, marker="o", markersize=3, label=label)
            ax.axhline(1, color="grey", linewidth=0.8)
            ax.set_title(f"n = {n}, K = {samples}")
    figure.supxlabel("temperature")
    figure.supylabel("variance-reduction factor")
    lines = axes[0, 0].get_lines()
    figure.legend(handles=lines[: len(SCHEMES)], loc="outside upper center", ncols=len(SCHEMES))
    save(figure, path)


def main(
    rows: Annotated[int, typer.Option(min=100, help="Draws for each problem.")] = 2000,
    rounds: Annotated[int, typer.Option(min=3, help="Rounds of the timing.")] = 7,
    figure: Annotated[Path, typer.Option(help="Where the PNG goes.")] = Path("out/variance.png"),
) -> None:
    """Measure variance-reduction factors, and time × variance against dense PyTorch."""
    results = {}
    grid = list(itertools.product(CATEGORIES, SAMPLES, SPREADS, TEMPERATURES))
    with steps_left() as progress:
        task = progress.add_task("variance", total=len(grid) + structured_variance.STEPS)

        def tick() -> None:
            progress.advance(task)

        for n, samples, spread, temperature in grid:
            results[n, samples, spread, temperature] = reduction(
                n, temperature, samples, spread, rows
            )
            tick()
        structured = [
            structured_variance.gain_table(rows // 2, tick),
            structured_variance.error_table(rows, tick),
        ]
    draw_figure(figure, results)
    for table in (*factor_tables(results), headline_table(rounds), *structured):
        typer.echo(table)
    typer.echo(f"figure: {figure}")


if __name__ == "__main__":
    typer.run(main)
