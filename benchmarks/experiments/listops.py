"""Unsupervised parsing on ListOps, section 5.3 of Paulus, Maddison & Krause (2021).

The only signal is the value of the expression; the parse is a sequence of discrete choices, each
among what the one before left. In validation and test they are the likeliest ones.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import rbgs
from benchmarks.experiments import listops_data, training, tree_lstm
from benchmarks.experiments.listops_data import Arrays

_CLASSES = 10
_ROWS = 250  # that are evaluated at a time


@dataclass(frozen=True)
class Config(training.Config):
    """What a run depends on; ``batch`` 0 is the paper's, as many examples as tokens at most."""

    temperature: float = 0.1
    learning_rate: float = 0.1
    optimiser: str = "sgd"
    batch: int = 0
    longest: int = 10
    size: int = 128
    examples: int = 30_000
    held_out: int = 1000
    generator: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """The number of choices that are not forced, and the most pairs to choose from."""
        return self.longest - 2, self.longest - 1

    @property
    def batch_size(self) -> int:
        """Examples a training step."""
        return self.batch or self.longest


def problem(config: Config, folder: Path | None) -> training.Problem:
    """Return what is trained.

    Parameters
    ----------
    config : Config
        Of any of the runs. Its estimator is one whose draws have a derivative.
    folder : Path, optional
        With ``.tsv`` files; what is not there is generated.
    """
    sizes = (config.examples, config.held_out, config.held_out)
    splits = listops_data.load(
        folder, config.longest, sizes, np.random.default_rng(config.generator)
    )
    splits = splits._replace(valid=splits.valid[: config.held_out])
    data = {
        name: Arrays(*map(jnp.asarray, listops_data.padded(examples, config.longest)))
        for name, examples in splits._asdict().items()
    }

    def initialise(key: jax.Array) -> tree_lstm.TreeLSTM:
        return tree_lstm.initialise(key, len(listops_data.VOCABULARY), _CLASSES, config.size)

    def batch(key: jax.Array, data: dict[str, Arrays]) -> Arrays:
        train = data["train"]
        chosen = jax.random.randint(key, (config.batch_size,), 0, len(train.labels))
        return Arrays(*(x[chosen] for x in train))

    def loss(
        model: tree_lstm.TreeLSTM, batch: Arrays, estimator: rbgs.Estimator, key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        logits = tree_lstm.classify(model, batch.tokens, batch.lengths, estimator, key)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
        return losses.mean(), losses.mean()

    def score(model: tree_lstm.TreeLSTM, _: jax.Array, data: dict[str, Arrays]) -> jax.Array:
        return 1 - accuracy(model, data["valid"])

    def test(
        model: tree_lstm.TreeLSTM, _: jax.Array, data: dict[str, Arrays]
    ) -> dict[str, jax.Array]:
        commonest = jnp.bincount(data["train"].labels, length=_CLASSES).argmax()
        return {
            "test": accuracy(model, data["test"]),
            "majority": jnp.mean(data["test"].labels == commonest),
        }

    return training.Problem(data, initialise, batch, loss, score, test)


def accuracy(model: tree_lstm.TreeLSTM, examples: Arrays) -> jax.Array:
    """Return the share of examples whose likeliest label is right, a block at a time."""

    def is_right(example: Arrays) -> jax.Array:
        logits = tree_lstm.classify(model, example.tokens[None], example.lengths[None])
        return logits[0].argmax() == example.labels

    return jax.lax.map(is_right, examples, batch_size=_ROWS).mean()
