"""Time of sample + vjp against torch.nn.functional.gumbel_softmax(hard=True) forward + backward.

The contenders alternate within one process; figures are medians over the rounds, and medians of the
ratio to PyTorch within a round.
"""

import statistics
import time
from collections.abc import Callable
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

import rbgs

WORKLOADS = (((20, 60), 4), ((200, 60), 4), ((200, 30), 16))
TEMPERATURE = 0.7


def contenders(batch: tuple[int, ...], n: int) -> dict[str, Callable[[], object]]:
    """Name what is timed; PyTorch's own estimator comes first."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(*batch, n)).astype(np.float32)
    cotangent = rng.normal(size=logits.shape).astype(np.float32)
    leaf = torch.tensor(logits, requires_grad=True)
    gradient = torch.tensor(cotangent)

    def peer() -> object:
        value = torch.nn.functional.gumbel_softmax(leaf, tau=TEMPERATURE, hard=True)
        return torch.autograd.grad(value, leaf, gradient)

    def ours(estimator: rbgs.Estimator) -> Callable[[], object]:
        return lambda: estimator.sample(logits, rng=rng).vjp(cotangent)

    return {
        "gumbel_softmax (PyTorch)": peer,
        "ST-GS": ours(rbgs.StraightThroughGumbelSoftmax(TEMPERATURE)),
        "GR, temperature 0": ours(rbgs.GumbelRao(0)),
        "GR-MC10": ours(rbgs.GumbelRao(TEMPERATURE, samples=10)),
        "GR-MC100": ours(rbgs.GumbelRao(TEMPERATURE, samples=100)),
    }


def main(
    rounds: Annotated[int, typer.Option(min=3, help="Rounds of all contenders.")] = 15,
) -> None:
    """Print the table of times."""
    table = Table(title=f"sample + vjp, NumPy, float32, τ = {TEMPERATURE}, {rounds} rounds")
    for column in ("batch × n", "estimator", "ms", "over PyTorch"):
        table.add_column(column, justify="left" if column == "estimator" else "right")
    for batch, n in track(WORKLOADS, description="timing", console=Console(stderr=True)):
        run = contenders(batch, n)
        times: dict[str, list[float]] = {label: [] for label in run}
        for call in run.values():
            call()
        for _ in range(rounds):
            for label, call in run.items():
                start = time.perf_counter()
                call()
                times[label].append(time.perf_counter() - start)
        peer = next(iter(times.values()))
        table.add_section()
        for label, seconds in times.items():
            ratio = statistics.median(s / p for s, p in zip(seconds, peer, strict=True))
            shape = f"{'×'.join(map(str, batch))} × {n}"
            table.add_row(shape, label, f"{1e3 * statistics.median(seconds):.2f}", f"{ratio:.1f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
