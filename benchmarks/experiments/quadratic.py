"""The quadratic programme on the simplex of Paulus, Maddison & Krause (2021), section 5.2.

The loss is min over p of (p - c)^T Q (p - c) with Q_ij = exp(-2 |i - j|) and c_i = 1/3, written as
an expectation E[(D - c)^T A(p) (D - c)] over D ~ Cat(p). A(p) depends on the logits too; it is held
fixed at p here, because the direct term that it adds is the same for every estimator.

A(p) is singular on the lines p_i + p_j = 1/3: the cells of the figure that they cross are left out.
"""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from array_api_compat import array_namespace, is_jax_array, to_device
from matplotlib.collections import PolyCollection

import rbgs
from benchmarks.experiments import estimators
from benchmarks.output.figures import panels, save
from benchmarks.output.progress import steps_left
from benchmarks.output.tables import Table

Array = Any
TEMPERATURES = (0.1, 0.5, 1.0)
CENTRE = 1 / 3
PROBABILITIES = (0.6, 0.25, 0.15)
NAMES = ("ST", "ST-GS", "GR-MC1", "GR-MC10", "GR-MC100", "GR-MC1000", "GR")
SIZES = ((1, 1), (10, 1), (1, 10), (10, 10), (1, 100))  # the B and K of eq. 13


class Backend(StrEnum):
    """Array library."""

    numpy = "numpy"
    torch = "torch"
    jax = "jax"
    cupy = "cupy"


@dataclass(frozen=True)
class Quadratic:
    """The loss at probabilities ``(..., 3)``, with the matrices ``A(p)`` fixed."""

    probs: Array
    matrices: Array

    @classmethod
    def at(cls, probs: np.ndarray, convert: Callable[[np.ndarray], Array]) -> "Quadratic":
        """Evaluate A(p): E[(D - c)^T A(p) (D - c)] = (p - c)^T Q (p - c)."""
        n = probs.shape[-1]
        off = probs - CENTRE
        q = np.exp(-2.0 * np.abs(np.arange(n)[:, None] - np.arange(n)))
        second = CENTRE**2 - CENTRE * (probs[..., :, None] + probs[..., None, :])
        second += np.eye(n) * probs[..., None]  # E[(D - c)(D - c)^T]
        matrices = off[..., :, None] * off[..., None, :] / second * q
        return cls(convert(probs), convert(matrices))

    @property
    def logits(self) -> Array:
        """Logits of the probabilities."""
        return array_namespace(self.probs).log(self.probs)

    def __call__(self, value: Array) -> tuple[Array, Array]:
        """Return the loss and its gradient for the value: the oracle of the library."""
        xp = array_namespace(value)
        error = value - CENTRE
        product = xp.matmul(self.matrices, error[..., None])[..., 0]
        return xp.sum(error * product, axis=-1), 2 * product


def array_library(backend: Backend, device: str | None) -> Callable[[np.ndarray], Array]:
    """Return the function that takes a NumPy array to the library and device."""
    module = importlib.import_module(backend.value)
    if backend is Backend.jax:
        module.config.update("jax_enable_x64", True)
        there = None if device is None else module.devices(device)[0]
        return lambda x: module.device_put(module.numpy.asarray(x), there)
    xp = array_namespace(module.zeros(1))
    return lambda x: xp.asarray(x, device=device)


def to_numpy(x: Array) -> np.ndarray:
    """Copy an array of any library to NumPy."""
    return np.asarray(x if is_jax_array(x) else to_device(x, "cpu"))


def scaled(x: Array) -> str:
    """Format a number in units of 10⁻³."""
    return f"{round(1e3 * float(x), 3) + 0.0:.3f}"


def tile(x: Array, *leading: int) -> Array:
    """Repeat an array along new leading axes."""
    return array_namespace(x).broadcast_to(x, (*leading, *x.shape))


def monte_carlo(temperature: float, samples: int) -> rbgs.Estimator:
    """Return the estimator as in the paper."""
    return estimators.make(f"GR-MC{samples}", temperature)


def named(temperature: float) -> dict[str, rbgs.Estimator]:
    """Name the estimators of the table."""
    return {
        **{name: estimators.make(name, temperature) for name in NAMES},
        "GR exact": rbgs.GumbelRao(temperature, sampling="exact"),
    }


def moments_table(problem: Quadratic, draws: int, seed: int, tick: Callable[[], None]) -> Table:
    """Measure bias², variance and MSE of every estimator."""
    table = Table(
        f"Gradient at p = {PROBABILITIES}, all ×10⁻³, ± standard error over {draws} draws"
        " (± 0: enumerated)",
        ("τ", "estimator", "bias²", "variance", "MSE"),
        labels=2,
    )

    def add(temperature: str, label: str, estimator: rbgs.Estimator) -> None:
        (m,) = rbgs.compare([estimator], problem, problem.logits, draws=draws, rng=seed)
        cells = (
            f"{scaled(value)} ± {scaled(error)}"
            for value, error in (
                (m.bias2, m.bias2_se),
                (m.variance, m.variance_se),
                (m.mse, m.mse_se),
            )
        )
        table.add(temperature, label, *cells)
        tick()

    reinforce = rbgs.Reinforce(rbgs.RunningMean())
    reinforce.gradient(problem, tile(problem.logits, 1000), rng=seed + 1)  # the mean settles
    add("", "REINFORCE", reinforce)
    add("0", "GR", rbgs.GumbelRao(0))
    for temperature in TEMPERATURES:
        for label, estimator in named(temperature).items():
            add(str(temperature), label, estimator)
    return table


def given_outcome(
    estimator: rbgs.Estimator, problem: Quadratic, draws: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean ``(3, ..., 3)`` and squared deviations ``(3, draws, ...)`` for each outcome."""
    means, squares = [], []
    logits = tile(problem.logits, draws)
    for outcome in range(3):
        estimates = to_numpy(estimator.gradient(problem, logits, rng=rng, index=outcome))
        mean = estimates.mean(axis=0)
        means.append(mean)
        squares.append(np.sum((estimates - mean) ** 2, axis=-1) * (draws / max(1, draws - 1)))
    return np.stack(means), np.stack(squares)


def between_outcomes(means: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Return the trace of the covariance of conditional means ``(3, ..., 3)``."""
    weights = np.moveaxis(probs, -1, 0)
    mean = np.sum(weights[..., None] * means, axis=0)
    return np.sum(weights * np.sum((means - mean) ** 2, axis=-1), axis=0)


def total_variance_table(
    problem: Quadratic, draws: int, rng: np.random.Generator, tick: Callable[[], None]
) -> Table:
    """Check eq. 13 against measurement, printing both sides."""
    table = Table(
        f"Eq. 13, all ×10⁻³: variance = E[var(ST-GS | D)] / (B K) + var(GR) / B, {draws} draws",
        ("τ", "B", "K", "measured", "from eq. 13", "difference / error"),
        labels=0,
    )
    probs = to_numpy(problem.probs)
    for temperature in TEMPERATURES:
        one = rbgs.StraightThroughGumbelSoftmax(temperature)
        _, squares = given_outcome(one, problem, 10 * draws, rng)
        first = probs @ squares.mean(axis=-1)
        first_error = math.sqrt(probs**2 @ squares.var(axis=-1) / squares.shape[-1])
        exact, _ = given_outcome(rbgs.GumbelRao(temperature, sampling="exact"), problem, 1, rng)
        second = float(between_outcomes(exact, probs))
        for b, k in SIZES:
            estimator = monte_carlo(temperature, k)
            logits = tile(problem.logits, draws, b)
            estimates = to_numpy(estimator.gradient(problem, logits, rng=rng)).mean(axis=1)
            deviations = np.sum((estimates - estimates.mean(axis=0)) ** 2, axis=-1)
            left, left_error = deviations.mean(), deviations.std() / math.sqrt(draws)
            right, right_error = first / (b * k) + second / b, first_error / (b * k)
            table.add(
                str(temperature),
                str(b),
                str(k),
                f"{scaled(left)} ± {scaled(left_error)}",
                f"{scaled(right)} ± {scaled(right_error)}",
                f"{(left - right) / math.hypot(left_error, right_error):+.1f}",
            )
            tick()
    return table


def cells(resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide the simplex into triangles: corners ``(cell, 3, 3)``, and which to leave out."""
    corners = []
    for i in range(resolution):
        for j in range(resolution - i):
            k = resolution - 1 - i - j
            corners.append([(i + 1, j, k), (i, j + 1, k), (i, j, k + 1)])
            if k > 0:
                corners.append([(i + 1, j + 1, k - 1), (i + 1, j, k), (i, j + 1, k)])
    triangles = np.asarray(corners) / resolution
    # p_i + p_j = 1/3 is p_k = 2/3.
    crossed = (triangles.min(axis=1) <= 2 / 3) & (triangles.max(axis=1) >= 2 / 3)
    # At p = c the loss vanishes, and every gradient with it.
    centre = np.abs(triangles.mean(axis=1) - CENTRE).max(axis=-1) < 1e-9
    return triangles, crossed.any(axis=-1) | centre


def log_trace(
    estimator: rbgs.Estimator, problem: Quadratic, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Return log10 of the trace of the covariance in every cell, stratified by outcome."""
    probs = to_numpy(problem.probs)
    means, squares = given_outcome(estimator, problem, draws, rng)
    weights, within = np.moveaxis(probs, -1, 0), squares.mean(axis=1)
    noise = np.sum(weights * (1 - weights) * within, axis=0) / draws  # in the means
    return np.log10(np.sum(weights * within, axis=0) + between_outcomes(means, probs) - noise)


def draw_figure(
    path: Path,
    resolution: int,
    convert: Callable[[np.ndarray], Array],
    rng: np.random.Generator,
    tick: Callable[[], None],
) -> Table:
    """Draw the paper's figure 1 and summarise the difference to ST-GS."""
    triangles, left_out = cells(resolution)
    kept = triangles[~left_out]
    problem = Quadratic.at(kept.mean(axis=1), convert)
    flat = kept @ np.asarray([[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(0.75)]])
    rows = []
    for temperature in TEMPERATURES:
        one = log_trace(rbgs.StraightThroughGumbelSoftmax(temperature), problem, 2000, rng)
        tick()
        rao = log_trace(monte_carlo(temperature, 1000), problem, 10, rng)
        tick()
        rows.append((one, rao, one - rao))

    summary = Table(
        f"log10 trace of the covariance, ST-GS minus GR-MC1000, {len(kept)} cells",
        ("τ", "smallest", "median", "largest"),
        labels=0,
    )
    figure, axes = panels(3, 3, 8.0)
    names = ("ST-GS", "GR-MC1000", "ST-GS − GR-MC1000")
    lowest, highest = (f([f([r[0], r[1]]) for r in rows]) for f in (np.min, np.max))
    largest = max(r[2].max() for r in rows)
    for row, (temperature, values) in enumerate(zip(TEMPERATURES, rows, strict=True)):
        difference = values[2]
        summary.add(
            str(temperature),
            *(f"{f(difference):.3f}" for f in (np.min, np.median, np.max)),
        )
        for column, (label, value) in enumerate(zip(names, values, strict=True)):
            limits = (0, largest) if column == 2 else (lowest, highest)
            collection = PolyCollection(
                flat, array=value, cmap="magma" if column == 2 else "viridis", edgecolors="face"
            )
            collection.set_clim(*limits)
            ax = axes[row, column]
            ax.add_collection(collection)
            ax.set(title=f"{label}\nτ = {temperature}", xlim=(-0.05, 1.05), ylim=(-0.08, 0.93))
            ax.set_aspect("equal")
            ax.axis("off")
            for corner, (x, y) in enumerate(((-0.03, -0.05), (1.03, -0.05), (0.5, 0.89))):
                ax.text(x, y, f"$p_{corner + 1}$", ha="center")
            if row == 2:
                figure.colorbar(
                    collection,
                    ax=axes[:, column],
                    orientation="horizontal",
                    shrink=0.8,
                    label="log10 of the ratio" if column == 2 else "log10 of the trace",
                )
    save(figure, path)
    return summary


def main(
    backend: Annotated[Backend, typer.Option(help="Array library.")] = Backend.numpy,
    device: Annotated[
        str | None, typer.Option(help="Device of the library: cuda for torch, gpu for jax, ...")
    ] = None,
    draws: Annotated[int, typer.Option(min=100, help="Draws for each row of the tables.")] = 20_000,
    resolution: Annotated[int, typer.Option(min=3, help="Cells on an edge of the figure.")] = 25,
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.")] = 0,
    figure: Annotated[Path, typer.Option(help="Where the PNG goes.")] = Path("out/quadratic.png"),
) -> None:
    """Compare gradient estimators on the quadratic programme of the Gumbel-Rao paper."""
    convert = array_library(backend, device)
    problem = Quadratic.at(np.asarray(PROBABILITIES), convert)
    rng = np.random.default_rng(seed)
    steps = 2 + len(TEMPERATURES) * (len(named(1.0)) + len(SIZES) + 2)
    with steps_left() as progress:
        task = progress.add_task("quadratic programme", total=steps)

        def tick() -> None:
            progress.advance(task)

        tables = [
            moments_table(problem, draws, seed, tick),
            total_variance_table(problem, draws, rng, tick),
            draw_figure(figure, resolution, convert, rng, tick),
        ]
    for table in tables:
        typer.echo(table)
    typer.echo(f"figure: {figure}")


if __name__ == "__main__":
    typer.run(main)
