"""The default: one category of n, the first to arrive."""

from dataclasses import dataclass

import numpy as np

from rbgs.arrays.devices import device
from rbgs.arrays.inputs import check_outcome
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.rows import Rows, possible
from rbgs.arrays.simplex import softmax
from rbgs.arrays.typing import Array, Temperature
from rbgs.conditional.control_variate import HIGHEST_TEMPERATURE, pays
from rbgs.conditional.race import race
from rbgs.conditional.samples import ConditionalSamples
from rbgs.draw import FixedPoints
from rbgs.structures.structure import Law, Outcome, Race, Structure

# Samples by default, and from how many elements on the fewer ones.
_MANY, _FEW, _MANY_ELEMENTS = 16, 8, 64


@dataclass(frozen=True)
class Categorical(Structure):
    """One of n categories."""

    def check(self, n: int) -> None:
        """Raise unless logits with n categories fit: all do."""

    def check_number(self, index: int, n: int) -> int:
        """Return the number of a category; raise if it is none."""
        return check_outcome(index, n)

    def race(self, rows: Rows, uniforms: Array) -> Race:
        """Draw the winner."""
        return Race(rows, *race(rows.log_probs, uniforms))

    def given(self, rows: Rows, index: Array | int, exponentials: Array | None) -> Race:
        """Return a given winner."""
        drawn = rows.index(index)
        rows = rows.only(possible(rows, drawn))
        # The caller may overwrite the one given.
        drawn = array_namespace(drawn).where(rows.valid, drawn, -1)
        return Race(rows, drawn, rows.one_hot(drawn), exponentials)

    def restored_index(self, rows: Rows, outcome: Outcome) -> Array:
        """Return the winner ``(...,)``."""
        xp = array_namespace(outcome.index)
        return rows.split(xp.where(rows.valid, outcome.index, -1))

    def index_axes(self, ndim: int, axis: int) -> tuple[int, ...]:
        """Return all axes but that of the categories."""
        return tuple(a for a in range(ndim) if a != axis % ndim)

    def relaxed(self, rows: Rows, temperature: Temperature) -> FixedPoints:
        r"""Return the softmax Jacobian at :math:`\theta / \tau`."""
        return FixedPoints(temperature, (softmax(rows.log_probs, temperature),))

    def drawn(self, outcome: Outcome) -> FixedPoints:
        r"""Return it at :math:`(\theta + G) / \tau`."""
        points = conditional_samples(outcome, outcome.rows.log_probs, 1, False).points()
        return FixedPoints(outcome.temperature, (points[:, 0, :],))

    def samples(
        self, outcome: Outcome, samples: int | None, control_variate: bool | None
    ) -> ConditionalSamples:
        """Return the mean softmax Jacobian over points drawn given the winner."""
        return conditional_samples(outcome, outcome.rows.log_probs, samples, control_variate)

    def score(self, outcome: Outcome) -> Array:
        """Return the one-hot vector less the probabilities."""
        xp = array_namespace(outcome.winner)
        return outcome.winner - xp.exp(outcome.rows.log_probs)

    def count(self, n: int) -> int:
        """Return the number of categories."""
        return n

    def outcomes(self, n: int) -> np.ndarray:
        """Return the categories, numbers ``(n, 1)``."""
        return np.arange(n)[:, None]

    def law(self, log_probs: Array, elements: np.ndarray) -> Law:
        """Return the law of categories: their scores all have the probabilities subtracted."""
        xp = array_namespace(log_probs)
        probs = xp.exp(log_probs)
        categories = xp.asarray(elements[:, 0], device=device(probs))
        return Law(xp.take(probs, categories, axis=0), probs[None, ...])

    def index_of(self, value: Array, axis: int) -> Array:
        """Return the categories ``(...,)`` of one-hot vectors."""
        return array_namespace(value).argmax(value, axis=axis)


CATEGORICAL = Categorical()


def default_samples(n: int) -> int:
    """Return how many points are drawn if the caller does not say."""
    return _MANY if n < _MANY_ELEMENTS else _FEW


def conditional_samples(
    outcome: Outcome,
    log_probs: Array,
    samples: int | None = None,
    control_variate: bool | None = None,
) -> ConditionalSamples:
    """Return the points drawn given the outcome; for None, as many and the kind that pays."""
    n, temperature = log_probs.shape[0], outcome.temperature
    if control_variate is None:
        control_variate = pays(n, temperature)
    elif isinstance(temperature, float):
        control_variate = control_variate and temperature <= HIGHEST_TEMPERATURE
    return ConditionalSamples(
        temperature,
        samples or default_samples(n),
        log_probs,
        outcome.index,
        outcome.exponentials,
        outcome.key,
        control_variate,
    )
