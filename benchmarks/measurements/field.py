"""Every estimator of the library on three problems: bias, variance, cost, and what each asks for.

Temperatures are those of least mean squared error on each problem, as `rbgs.tune` finds them; those
in a name are fixed. The tables are those of docs/estimators.md.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

import rbgs
from benchmarks.experiments import images
from benchmarks.experiments.quadratic import PROBABILITIES, Quadratic
from benchmarks.measurements.timing import alternate, instructions, ratio
from benchmarks.output.figures import panels, save
from benchmarks.output.progress import steps_left
from benchmarks.output.tables import Table
from rbgs.evaluation.comparison import overall

BASE = "ST-GS"
_ROUNDING = 1e-20
COLUMNS = ("bias²", "variance", "MSE", "by evals", "time")
FIXED = {"GR, τ = 0.5": 0.5, "GR, τ = 0.1": 0.1, "GR, τ = 0": 0.0}  # temperatures
Oracle = Callable[[np.ndarray], Any]


class Problem(NamedTuple):
    """A loss with its logits, a linear function fitted to it, and the scale of its table."""

    oracle: Oracle
    logits: np.ndarray
    linear: Oracle
    scale: float = 1.0


def estimators(problem: Problem) -> dict[str, rbgs.Estimator]:
    """Name the estimators; RELAX has the linear function as its control variate."""
    return {
        "GS": rbgs.GumbelSoftmax(1.0),
        "ST": rbgs.StraightThrough(),
        BASE: rbgs.StraightThroughGumbelSoftmax(1.0),
        "GR": rbgs.GumbelRao(1.0),
        **{name: rbgs.GumbelRao(temperature) for name, temperature in FIXED.items()},
        "ReinMax": rbgs.ReinMax(),
        "ReinMax-Rao": rbgs.ReinMaxRao(1.0),
        "Gapped ST": rbgs.GappedStraightThrough(1.0),
        "Systematic GR": rbgs.Systematic(rbgs.GumbelRao(1.0), draws=4),
        "REINFORCE": rbgs.Reinforce(),
        "REINFORCE, mean": rbgs.Reinforce(rbgs.RunningMean()),
        "NVIL": rbgs.Reinforce(rbgs.RunningMean(), scale=rbgs.RunningDeviation()),
        "RLOO": rbgs.Reinforce("leave_one_out", samples=4),
        "DisARM": rbgs.DisARM(),
        "VIMCO": rbgs.Vimco(2),
        "IndeCateR": rbgs.IndeCateR(),
        "MuProp": rbgs.MuProp(),
        "REBAR": rbgs.Rebar(eta=rbgs.RunningCoefficient()),
        "RELAX": rbgs.Relax(eta=rbgs.RunningCoefficient(), control_variate=problem.linear),
    }


def fitted(oracle: Oracle, logits: np.ndarray) -> Problem:
    """Fit a linear function to the loss, by least squares over outcomes."""
    value = (
        rbgs.StraightThrough().sample(np.broadcast_to(logits, (500, *logits.shape)), rng=0).value
    )
    losses = oracle(value)[0]
    shape = losses.shape[1:]
    x = value.reshape(500, int(np.prod(shape)), -1)
    y = losses.reshape(500, -1)
    pairs = zip(np.moveaxis(x, 1, 0), y.T, strict=True)
    weights = np.stack([np.linalg.lstsq(a, b)[0] for a, b in pairs]).reshape(logits.shape)

    def linear(value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        axes = tuple(range(len(shape) - logits.ndim, 0))
        return (value * weights).sum(axis=axes), np.broadcast_to(weights, value.shape)

    return Problem(oracle, logits, linear)


def quadratic() -> Problem:
    """Return the paper's quadratic programme at one point of the simplex."""
    problem = Quadratic.at(np.asarray(PROBABILITIES), np.asarray)
    return fitted(problem, problem.logits)._replace(scale=1e3)


def cubic(n: int = 16) -> Problem:
    """Return the sum of cubes of an embedding's distances from a point."""
    rng = np.random.default_rng(0)
    embedding, target = rng.normal(size=(n, 8)) / 2, rng.normal(size=8) / 2

    def oracle(value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        error = value @ embedding - target
        return (error**3).sum(axis=-1), 3 * error**2 @ embedding.T

    return fitted(oracle, rng.normal(size=n))


def vae(count: int = 16, variables: int = 3, n: int = 4, steps: int = 400) -> Problem:
    """Return a VAE with a linear encoder and decoder of digits, trained for a moment.

    The latent space of an image has n^variables outcomes; the loss is the negative log-likelihood
    of its pixels given the outcome.
    """
    pixels = images.load("digits", None, 0).train
    rng = np.random.default_rng(0)
    size, size_of_code = pixels.shape[1], variables * n
    encoder = 0.3 * rng.normal(size=(size, size_of_code))
    decoder, offset = 0.3 * rng.normal(size=(size_of_code, size)), np.zeros(size)

    def encoded(x: np.ndarray) -> np.ndarray:
        return ((x - pixels.mean(axis=0)) @ encoder).reshape(-1, variables, n)

    def oracle(value: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        score = value.reshape(*value.shape[:-2], size_of_code) @ decoder + offset
        loss = (np.logaddexp(0, score) - x * score).sum(axis=-1)
        return loss, ((1 / (1 + np.exp(-score)) - x) @ decoder.T).reshape(value.shape)

    for _ in range(steps):
        x = pixels[rng.integers(len(pixels), size=100)]
        draw = rbgs.GumbelRao(1.0).sample(encoded(x), rng=rng)
        code = draw.value.reshape(-1, size_of_code)
        error = 1 / (1 + np.exp(-code @ decoder - offset)) - x
        slope = draw.vjp(oracle(draw.value, x)[1]).reshape(-1, size_of_code)
        encoder -= 0.003 * (x - pixels.mean(axis=0)).T @ slope / 10
        decoder -= 0.1 * code.T @ error / 10
        offset -= 0.1 * error.mean(axis=0)
    x = pixels[:count]
    return fitted(lambda value: oracle(value, x), encoded(x))


PROBLEMS = {
    "quadratic programme, n = 3": quadratic,
    "cubic loss, n = 16": cubic,
    "VAE of digits, 3 variables of n = 4": vae,
}


def is_biased(moments: rbgs.Moments) -> bool:
    """Tell whether the squared bias is above zero by more than its error and rounding."""
    mean = overall(moments)
    return mean.bias2 > 5 * mean.bias2_se + max(_ROUNDING, 1e-12 * mean.mse)


def facts(estimator: rbgs.Estimator, problem: Problem) -> dict[str, str]:
    """Find out what an estimator asks for, by asking it."""
    inside = False

    def watched(value: np.ndarray) -> Any:
        nonlocal inside
        inside |= bool(np.any((value != 0) & (value != 1)))
        return problem.oracle(value)

    estimator.gradient(watched, problem.logits, rng=0)
    try:
        estimator.gradient(lambda value: problem.oracle(value)[0], problem.logits, rng=0)
        derivative = False
    except TypeError:
        derivative = True
    state = [x for x in vars(estimator).values() if hasattr(x, "update")]
    return {
        "derivative": "yes" if derivative else "no",
        "inside": "yes" if inside else "no",
        "state": ", ".join(sorted({type(x).__name__ for x in state})) or "none",
    }


def shown(tuning: rbgs.Tuning) -> str:
    """Return the best temperature; at an edge of those tried, others may be better."""
    sign = "=" if not tuning.is_at_edge else "≥" if tuning.temperature > 1 else "≤"
    return f"{sign} {tuning.temperature:.2g}"


def measured(
    problem: Problem, draws: int, tuning_draws: int, tick: Callable[[], object]
) -> tuple[list[str], rbgs.Comparison]:
    """Return labels with the temperatures, and the comparison."""
    found, labels = [], []
    for name, given in estimators(problem).items():
        estimator, label = given, name
        if hasattr(given, "temperature") and name not in FIXED:
            tuning = rbgs.tune(given, problem.oracle, problem.logits, draws=tuning_draws, rng=0)
            estimator, label = tuning.estimator, f"{name}, τ {shown(tuning)}"
        for state in vars(estimator).values():  # it settles
            if hasattr(state, "update"):
                many = np.broadcast_to(problem.logits, (1000, *problem.logits.shape))
                estimator.gradient(problem.oracle, many, rng=1)
        found += rbgs.compare([estimator], problem.oracle, problem.logits, draws=draws, rng=2)
        labels.append(label)
        tick()
    return labels, rbgs.Comparison(found)


def times(problem: Problem, comparison: rbgs.Comparison, rounds: int) -> list[float]:
    """Return the time of an estimate over that of straight-through Gumbel-softmax."""
    many = np.ascontiguousarray(np.broadcast_to(problem.logits, (200, *problem.logits.shape)))

    def call(estimator: rbgs.Estimator) -> Callable[[], object]:
        return lambda: estimator.gradient(problem.oracle, many, rng=0)

    names = list(estimators(problem))
    calls = {name: call(moments.estimator) for name, moments in zip(names, comparison, strict=True)}
    alternate(calls, 1)
    seconds = alternate(calls, rounds)
    return [ratio(seconds[name], seconds[BASE]) for name in names]


def concise(value: float, error: float) -> str:
    """Format a number with its standard error in units of the last digit: 0.186(7)."""
    if error == 0:
        return f"{value:.4g}"
    digits = max(0, -math.floor(math.log10(float(f"{error:.0e}"))))
    return f"{value:z.{digits}f}({error * 10**digits:.0f})".replace("-", "−")


def rows(
    labels: list[str], comparison: rbgs.Comparison, seconds: list[float], scale: float
) -> dict[str, list[str]]:
    """Return the cells of a problem's table, squared lengths times the scale."""
    found = {}
    for label, moments, time in zip(labels, comparison, seconds, strict=True):
        mean = overall(moments)
        if mean.mse < _ROUNDING:
            found[label] = ["0"] * 4 + [f"{time:.1f}"]
            continue
        found[label] = [
            concise(scale * mean.bias2, scale * mean.bias2_se),
            concise(scale * mean.variance, scale * mean.variance_se),
            concise(scale * mean.mse, scale * mean.mse_se),
            f"{scale * mean.mse_per_evaluation:.3g}",
            f"{time:.1f}",
        ]
    return found


def as_table(title: str, columns: tuple[str, ...], cells: dict[str, list[str]]) -> Table:
    """Return a table with an estimator a row."""
    table = Table(title, ("estimator", *columns))
    for label, row in cells.items():
        table.add(label, *row)
    return table


def main(
    draws: Annotated[int, typer.Option(min=100, help="Draws that are compared.")] = 20_000,
    tuning_draws: Annotated[int, typer.Option(min=100, help="Draws of a temperature.")] = 2000,
    rounds: Annotated[int, typer.Option(min=3, help="Rounds of the timing.")] = 7,
    out: Annotated[Path, typer.Option(help="Folder of compare.png and compare.md.")] = Path("out"),
) -> None:
    """Compare all estimators of the library on three problems."""
    tables = []
    figure, axes = panels(len(PROBLEMS), 1, 6.0 * len(PROBLEMS))
    with steps_left() as progress:
        task = progress.add_task("estimators", total=len(PROBLEMS) * len(estimators(quadratic())))
        asked: dict[str, dict[str, str]] = {}
        biased: set[str] = set()
        evaluations: dict[str, dict[str, None]] = {}  # a set with an order
        for ax, (title, make) in zip(axes.flat, PROBLEMS.items(), strict=True):
            problem = make()
            labels, comparison = measured(
                problem, draws, tuning_draws, lambda: progress.advance(task)
            )
            seconds = times(problem, comparison, rounds)
            exact = rbgs.exact_gradient(problem.oracle, problem.logits)
            norm = np.mean(np.sum(exact.reshape(*comparison[0].mse.shape, -1) ** 2, axis=-1))
            heading = f"{title}; the gradient's squared norm is {norm:.4g}"
            if problem.scale != 1:
                heading += f"; figures times {problem.scale:g}"
            cells = rows(labels, comparison, seconds, problem.scale)
            tables.append(as_table(heading, COLUMNS, cells))
            comparison.plot(ax, labels=labels)
            ax.set_title(title)
            named = estimators(problem).items()
            for (name, estimator), moments in zip(named, comparison, strict=True):
                asked[name] = facts(estimator, problem)
                evaluations.setdefault(name, {})[str(moments.evaluations)] = None
                if is_biased(moments):
                    biased.add(name)
    cells = {
        name: ["yes" if name in biased else "no", ", ".join(evaluations[name]), *each.values()]
        for name, each in asked.items()
        if name not in FIXED
    }
    columns = ("biased", "evaluations", *asked[BASE])
    tables.insert(0, as_table("What each asks for", columns, cells))
    save(figure, out / "compare.png")
    (out / "compare.md").write_text("\n".join(map(str, tables)))
    for table in tables:
        typer.echo(table)
    engine = "fast" if rbgs.is_compiled() else "NumPy"
    typer.echo(f"{draws} draws, {engine}, {instructions()}. Files: {out}/compare.png, .md")


if __name__ == "__main__":
    typer.run(main)
