"""What systematic draws are worth: the variance of a mean of independent draws over theirs.

A loss has L variables of n categories: the squared distance of an embedding of their outcomes from
a target. The variance of the mean of independent draws is that of one over their number.
"""

import itertools
from typing import Annotated

import numpy as np
import typer

import rbgs
from benchmarks.output.progress import steps_left
from benchmarks.output.tables import Table

ESTIMATORS = (rbgs.GumbelRao(0.5), rbgs.StraightThrough(), rbgs.ReinMax())
# Variables of a loss, and their categories.
LOSSES = ((1, 4), (1, 16), (3, 4))


def variance(estimator: rbgs.Estimator, variables: int, n: int, count: int, seed: int) -> float:
    """Return the variance of the gradient estimate for one problem."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(variables, n))
    embedding, target = rng.normal(size=(variables * n, 8)), rng.normal(size=8)

    def oracle(value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give each variable the loss that it shares with the others."""
        flat = value.reshape(*value.shape[:-2], -1)
        error = flat @ embedding - target
        loss = np.broadcast_to((error**2).sum(axis=-1, keepdims=True), value.shape[:-1])
        return loss, (2 * error @ embedding.T).reshape(value.shape)

    many = np.broadcast_to(logits, (count, variables, n))
    return float(estimator.gradient(oracle, many, rng=rng).var(axis=0, ddof=1).sum())


def main(
    draws: Annotated[int, typer.Option(min=2, help="M, the draws of one estimate.")] = 4,
    problems: Annotated[int, typer.Option(min=1, help="Logits and losses.")] = 16,
    count: Annotated[int, typer.Option(min=100, help="Estimates for each problem.")] = 10_000,
) -> None:
    """Print the ratio of the variances, summed over problems, for each estimator and loss."""
    result = Table(
        f"Variance of the mean of {draws} draws, independent over systematic",
        ("estimator", *(f"L = {variables}, n = {n}" for variables, n in LOSSES)),
    )
    cells = list(itertools.product(ESTIMATORS, LOSSES))
    ratios = {}
    with steps_left() as progress:
        task = progress.add_task("coupling", total=len(cells) * problems)
        for estimator, loss in cells:
            independent = systematic = 0.0
            for seed in range(problems):
                independent += variance(estimator, *loss, count, seed) / draws
                coupled = rbgs.Systematic(estimator, draws)
                systematic += variance(coupled, *loss, count, seed)
                progress.advance(task)
            ratios[estimator, loss] = independent / systematic
    for estimator in ESTIMATORS:
        result.add(type(estimator).__name__, *(f"{ratios[estimator, loss]:.2f}" for loss in LOSSES))
    typer.echo(result)


if __name__ == "__main__":
    typer.run(main)
