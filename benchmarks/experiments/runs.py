"""The runs of a command, one after the other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from benchmarks.output.progress import steps_left

Row = dict[str, Any]


def row(config: Any, result: Mapping[str, Any]) -> Row:
    """Join a run's configuration and its results."""
    return {**asdict(config), **result}


def train_all(
    configs: Sequence[Any], train: Callable[[Any, Callable[[int], Any]], Mapping[str, Any]]
) -> list[Row]:
    """Train one configuration after the other, and tell how far each is."""
    rows = []
    with steps_left() as progress:
        for number, config in enumerate(configs, 1):
            of_all = f"{number} of {len(configs)}: {config.estimator}, seed {config.seed}"
            task = progress.add_task(of_all, total=config.iterations)
            rows.append(row(config, train(config, partial(progress.advance, task))))
    return rows
