"""Unsupervised parsing on ListOps, section 5.3 of Paulus, Maddison & Krause (2021).

The only signal is the value of the expression; the parse is a sequence of discrete choices. The
weights with the best validation accuracy are those that are tested, with the likeliest choices.
"""

import copy
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Annotated, Any

import numpy as np
import torch
import typer

import rbgs
from benchmarks.experiments import estimators, listops_data
from benchmarks.experiments.listops_data import Example
from benchmarks.experiments.tree_lstm import TreeLSTM

NAMES = tuple(name for name in estimators.NAMES if name.startswith(("ST-GS", "GR")))
SMOKE_MARGIN = 0.3


@dataclass(frozen=True)
class Config:
    """What a run depends on; ``batch`` 0 is the paper's, as many examples as tokens at most."""

    estimator: str = "GR"
    temperature: float = 0.1
    longest: int = 10
    batch: int = 0
    size: int = 128
    learning_rate: float = 0.1
    clip: float = math.inf
    iterations: int = 2000
    evaluations: int = 10
    examples: int = 30_000
    held_out: int = 1000
    generator: int = 0
    seed: int = 0

    @property
    def batch_size(self) -> int:
        """Examples a training step."""
        return self.batch or self.longest


def initialise(size: int, seed: int) -> TreeLSTM:
    """Return a model whose weights depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # PyTorch draws weights from its own generator
        return TreeLSTM(len(listops_data.VOCABULARY), 10, size)


def forever(
    examples: Sequence[Example], size: int, rng: np.random.Generator
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield training batches, epoch after epoch."""
    while True:
        for batch in listops_data.batches(examples, size, rng):
            yield tuple(map(torch.from_numpy, batch))


def train_step(
    model: TreeLSTM,
    optimiser: torch.optim.Optimizer,
    batch: tuple[torch.Tensor, ...],
    estimator: rbgs.Estimator,
    generator: torch.Generator,
    clip: float,
) -> float:
    """Take one training step; return its loss."""
    tokens, lengths, labels = batch
    optimiser.zero_grad()
    logits = model(tokens, lengths, estimator, generator)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    if not norm.isfinite():
        raise FloatingPointError(
            f"the gradient's norm is {norm}: training diverged; lower the learning rate or clip"
        )
    optimiser.step()
    return loss.item()


@torch.no_grad()
def accuracy(model: TreeLSTM, examples: Sequence[Example]) -> float:
    """Return the share of examples whose likeliest label is right."""
    right = 0
    for batch in listops_data.batches(examples, 250, None):
        tokens, lengths, labels = map(torch.from_numpy, batch)
        right += int((model(tokens, lengths).argmax(dim=-1) == labels).sum())
    return right / len(examples)


def majority(train: Sequence[Example], test: Sequence[Example]) -> float:
    """Return the accuracy of the commonest training label."""
    ((label, _),) = Counter(x.label for x in train).most_common(1)
    return fmean(x.label == label for x in test)


def train(
    config: Config,
    data: Path | None = None,
    advance: Callable[[int], Any] = lambda _: None,
) -> dict[str, Any]:
    """Train, and return what was measured.

    Parameters
    ----------
    config : Config
        The run.
    data : Path, optional
        A folder with ``.tsv`` files; what is not there is generated.
    advance : callable
        Called with the number of further steps taken.

    Returns
    -------
    dict
        ``valid`` and ``test``, the accuracies at the best evaluation; ``majority``, that of the
        commonest label; ``curve``, a dict for each evaluation; ``milliseconds``, the median
        training step.
    """
    # At low temperatures many derivatives are subnormal, on which processors are slow.
    torch.set_flush_denormal(True)
    sizes = (config.examples, config.held_out, config.held_out)
    splits = listops_data.load(data, config.longest, sizes, np.random.default_rng(config.generator))
    valid = splits.valid[: config.held_out]
    estimator = estimators.make(config.estimator, config.temperature)
    source = torch.Generator().manual_seed(config.seed)
    model = initialise(config.size, config.seed)
    optimiser = torch.optim.SGD(model.parameters(), config.learning_rate)
    stream = forever(splits.train, config.batch_size, np.random.default_rng(config.seed))

    curve: list[dict[str, float]] = []
    best, weights, times, losses = -1.0, model.state_dict(), [], []
    evaluate_at = set(np.linspace(0, config.iterations, config.evaluations + 1).astype(int))
    for step in range(config.iterations + 1):
        if step in evaluate_at:
            now = accuracy(model, valid)
            curve.append({"step": step, "accuracy": now, "loss": fmean(losses) if losses else None})
            losses = []
            if now > best:
                best, weights = now, copy.deepcopy(model.state_dict())
        if step == config.iterations:
            break
        start = time.perf_counter()
        losses.append(train_step(model, optimiser, next(stream), estimator, source, config.clip))
        times.append(time.perf_counter() - start)
        advance(1)
    model.load_state_dict(weights)
    return {
        "valid": best,
        "test": accuracy(model, splits.test),
        "majority": majority(splits.train, splits.test),
        "curve": curve,
        "milliseconds": 1e3 * median(times),
    }


def check_smoke(results: dict[str, dict[str, Any]]) -> None:
    """Raise unless every estimator beats the commonest label."""
    for name, result in results.items():
        gain = result["test"] - result["majority"]
        if not gain > SMOKE_MARGIN:
            raise AssertionError(
                f"{name} beats the commonest label by {gain:.3f}, less than {SMOKE_MARGIN}"
            )


def smoke() -> Config:
    """Return a run of seconds."""
    return Config(
        longest=7, batch=32, size=64, learning_rate=0.3, clip=1.0, iterations=500, examples=20_000
    )


def main(
    estimator: Annotated[
        list[str] | None, typer.Option(help=f"May be repeated: {', '.join(NAMES)}.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of train.tsv, valid.tsv, test.tsv, or some of them.")
    ] = None,
    longest: Annotated[int, typer.Option(min=4, help="Tokens of an expression, at most.")] = 10,
    temperature: Annotated[float, typer.Option(help="Of all estimators.")] = 0.1,
    batch: Annotated[int, typer.Option(help="Examples a step; 0: as many as --longest.")] = 0,
    learning_rate: Annotated[float, typer.Option(help="Of SGD.")] = 0.1,
    iterations: Annotated[int, typer.Option(help="Training steps.")] = 1000,
    seeds: Annotated[int, typer.Option(help="Runs of each estimator; --smoke: 1.")] = 3,
    figure: Annotated[Path, typer.Option(help="Where the PNG goes.")] = Path("out/listops.png"),
    smoke_run: Annotated[bool, typer.Option("--smoke", help="Seconds; asserts learning.")] = False,
) -> None:
    """Train the tree-LSTM with several estimators; print a table, draw the course of training."""
    # Only the command needs these.
    from benchmarks.experiments import plots
    from benchmarks.experiments.runs import train_all

    torch.set_num_threads(1)  # the nodes are small: more threads only wait for one another
    base = Config(
        temperature=temperature,
        longest=longest,
        batch=batch,
        learning_rate=learning_rate,
        iterations=iterations,
    )
    names = estimator or NAMES
    if smoke_run:
        base, names, seeds = smoke(), ["ST-GS", "GR"], 1
    rows = train_all(
        [replace(base, estimator=name, seed=seed) for name in names for seed in range(seeds)],
        lambda config, advance: train(config, data, advance),
    )
    table = plots.runs_table(
        rows,
        f"Accuracy in % on expressions of up to {base.longest} tokens, higher is better; "
        f"commonest label: {rows[0]['majority']:.1%}",
        {
            "valid": plots.Column("validation", 1, 100),
            "test": plots.Column("test", 1, 100),
            "milliseconds": plots.Column("median step, ms"),
        },
    )
    typer.echo(table)
    plots.draw_training(rows, figure, ("accuracy", "loss"))
    typer.echo(f"figure: {figure}")
    if smoke_run:
        check_smoke({row["estimator"]: row for row in rows})
        typer.echo(f"every estimator beats the commonest label by more than {SMOKE_MARGIN}")


if __name__ == "__main__":
    typer.run(main)
