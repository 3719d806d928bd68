"""Time of a training step with Gumbel-Rao's defaults over one with ST-GS, in both experiments.

The estimators alternate, each round in another order; a ratio is the median of the ratios within a
round, and its error the standard error of that median over the rounds.
"""

import math
from collections.abc import Callable, Iterator
from typing import Annotated

import jax.numpy as jnp
import numpy as np
import torch
import typer

from benchmarks.experiments import estimators, listops, listops_data, vae
from benchmarks.measurements.timing import alternate
from benchmarks.output.progress import steps_left
from benchmarks.output.tables import Table

NAMES = ("ST-GS", "GR")
_VAE = ((2, 20), (16, 20), (2, 200), (16, 200))
_LISTOPS = ((10, 0.01), (10, 1.0), (25, 0.1))
Step = Callable[[], object]


def vae_step(name: str, arity: int, batch: int) -> Step:
    """Return a call that takes some training steps at the size of MNIST."""
    config = vae.Config(estimator=name, arity=arity, batch=batch)
    pixels = np.random.default_rng(0).random((2000, 784)) < 0.2
    images = jnp.asarray(pixels, jnp.float32)
    state = vae.first_state(config, images[:batch])

    def call() -> None:
        nonlocal state
        state, loss = vae.train_steps(state, images, config=config, count=20)
        loss.block_until_ready()

    return call


def listops_step(name: str, longest: int, temperature: float) -> Step:
    """Return a call that takes some training steps, with the batches of every estimator."""
    rng = np.random.default_rng(0)
    examples = listops_data.generate(2000, longest, rng)
    batches = listops.forever(examples, longest, rng)
    estimator = estimators.make(name, temperature)
    source = torch.Generator().manual_seed(0)
    model = listops.initialise(128, 0)
    optimiser = torch.optim.SGD(model.parameters(), 1e-3)

    def call() -> None:
        for _ in range(5):
            listops.train_step(model, optimiser, next(batches), estimator, source, math.inf)

    return call


def workloads() -> Iterator[tuple[str, int, dict[str, Step]]]:
    """Yield a label, how many steps a call takes, and the calls by estimator."""
    for arity, batch in _VAE:
        label = f"VAE, {arity}-ary, B = {batch}"
        yield label, 20, {name: vae_step(name, arity, batch) for name in NAMES}
    for longest, temperature in _LISTOPS:
        label = f"ListOps, L ≤ {longest}, τ = {temperature}"
        yield label, 5, {name: listops_step(name, longest, temperature) for name in NAMES}


def main(rounds: Annotated[int, typer.Option(min=3, help="Of all workloads.")] = 30) -> None:
    """Print the time of a training step, and the ratio."""
    torch.set_flush_denormal(True)  # as in training
    torch.set_num_threads(1)  # the nodes are small: more threads only wait for one another
    columns = ("experiment", *(f"{name}, ms" for name in NAMES), "ratio ± standard error")
    table = Table(f"Time of a training step, medians over {rounds} rounds", columns)
    with steps_left() as progress:
        task = progress.add_task("timing", total=rounds * (len(_VAE) + len(_LISTOPS)))
        for label, steps, calls in workloads():
            alternate(calls, 1)
            times = alternate(calls, rounds, lambda: progress.advance(task))
            ratios = np.asarray(times["GR"]) / np.asarray(times["ST-GS"])
            medians = (f"{1e3 * np.median(times[name]) / steps:.2f}" for name in NAMES)
            # The median's standard error, were the ratios normal, from their quartiles.
            spread = np.subtract(*np.quantile(ratios, (0.75, 0.25))) / 1.349
            error = 1.253 * spread / math.sqrt(rounds)
            table.add(label, *medians, f"{np.median(ratios):.3f} ± {error:.3f}")
    typer.echo(table)


if __name__ == "__main__":
    typer.run(main)
