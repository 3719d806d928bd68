r"""Structured prediction: the lower half of an image from the upper one, through discrete units.

The units D of an image have the conditional prior :math:`p(D \mid x)`, given its upper half x, and
the lower half y has independent pixels given D. What is minimised is the bound of M samples,

.. math:: -E \log \frac{1}{M} \sum_{m=1}^M p(y \mid D_m)

(Gu et al. 2016, section 5.1; Mnih & Rezende 2016, section 5.2, which have 200 binary units in a
layer). VIMCO is made for it; any other estimator is asked about one outcome of M times as many
units.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp

import rbgs
import rbgs.jax
from benchmarks.experiments import training, units


@dataclass(frozen=True)
class Config(units.Config):
    """What a run depends on. ``samples`` is the M of the objective, and so the knob of VIMCO.

    The loss of the M samples of an image counts as one evaluation.
    """

    variables: int = 200
    arity: int = 2
    hidden: tuple[int, ...] = (200,)
    test_samples: int = 1000
    samples: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.estimator == "VIMCO":
            object.__setattr__(self, "knob", self.samples)

    @property
    def shape(self) -> tuple[int, int]:
        """The number of units of all samples, and of their categories."""
        return self.samples * self.variables, self.arity

    @property
    def steps(self) -> int:
        """Training steps within the budget."""
        return self.budget if self.estimator == "VIMCO" else super().steps


def problem(config: Config, folder: Path | None) -> training.Problem:
    """Return what is trained.

    Parameters
    ----------
    config : Config
        Of any of the runs.
    folder : Path, optional
        Of the IDX files, if the run is to read them.
    """
    return units.problem(config, folder, task(config))


def task(config: Config) -> units.Task:
    """Return the objective of so many samples."""
    return units.Task(halves, partial(objective, samples=config.samples), log_weight)


def halves(images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the upper and the lower halves of images whose rows follow one another."""
    upper, lower = jnp.split(images, 2, axis=-1)
    return upper, lower


def objective(
    model: units.Model,
    logits: jax.Array,
    lower: jax.Array,
    estimator: rbgs.Estimator,
    key: jax.Array,
    *,
    samples: int,
) -> tuple[jax.Array, jax.Array]:
    """Return the mean negative bound of so many samples an image, twice."""
    is_vimco = isinstance(estimator, rbgs.Vimco)
    in_value = 1 if is_vimco else samples

    def loss(value: jax.Array) -> jax.Array:
        value = value.reshape(*value.shape[:-2], in_value, -1, value.shape[-1])
        losses = units.reconstruction_loss(model, value, lower[:, None])
        return jnp.log(in_value) - jax.nn.logsumexp(-losses, axis=-1)

    bound = rbgs.jax.expectation(estimator, key, loss, jnp.tile(logits, (1, in_value, 1))).mean()
    return bound, bound


def log_weight(
    model: units.Model, _logits: jax.Array, lower: jax.Array, value: jax.Array
) -> jax.Array:
    """Return log p(lower half | value)."""
    return -units.reconstruction_loss(model, value, lower)
