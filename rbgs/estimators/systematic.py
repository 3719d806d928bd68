"""Several draws that depend negatively on each other, for an estimate that is their mean."""

import math
from dataclasses import dataclass, replace
from typing import Self

from rbgs.arrays.devices import device
from rbgs.arrays.inputs import check_count
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.rows import Rows
from rbgs.arrays.simplex import clamp, cumulative_sum, first_largest
from rbgs.arrays.tracing import constant_when_compiled
from rbgs.arrays.typing import Array, Generator, Temperature
from rbgs.draw import Operator
from rbgs.estimators.base import Estimator, check_estimator
from rbgs.random.noise import exponential
from rbgs.structures.categorical import CATEGORICAL
from rbgs.structures.structure import Outcome, Race


@dataclass(frozen=True, eq=False, repr=False)
class Systematic(Estimator):
    r"""The mean of several estimates, whose outcomes spread evenly over the categories.

    Systematic sampling of variables with logits ``(..., n)`` and probabilities p: with one uniform
    u for each of them, the outcome of draw k of M is that of the inverse distribution function at
    :math:`\operatorname{frac}(u + k z / M)`. Each outcome has the law
    :math:`\operatorname{Cat}(p)`, so the mean of the estimates is that of one; a category comes up
    in :math:`\lfloor M p_j \rfloor` or :math:`\lceil M p_j \rceil` of the draws, so the variance is
    lower than that of M independent draws, by a factor of 1.6 to 5.5 where M is 4
    (``python -m benchmarks.measurements.coupling``).

    Parameters
    ----------
    estimator : Estimator
        What is averaged: any whose draw has a Jacobian.
    draws : int
        Outcomes drawn, and losses evaluated, for one estimate, at least 2. They lie along a new
        leading axis of value, index, noise and Jacobian products; :meth:`gradient` is the mean over
        it.

    Raises
    ------
    ValueError
        ``draws`` is below 2.
    TypeError
        ``estimator`` is no estimator, has no Jacobian or has several draws itself;
        ``draws`` is not an int.

    Notes
    -----
    Variables have uniforms of their own, so within a draw they are independent of each other, and
    one loss may be a function of them all. That their draws come in different orders as well, the
    numbers z, which are prime to M, differ from one variable to the next along the trailing axes of
    the batch. Given the outcomes, all else is independent between draws.

    A uniform has the precision of the logits: in float32, probabilities count in steps of
    :math:`2^{-24}`.

    References
    ----------
    Madow, Madow (1944). On the theory of systematic sampling, I. Annals of Mathematical Statistics.

    Examples
    --------
    >>> import numpy as np, rbgs
    >>> draw = rbgs.Systematic(rbgs.ReinMax(), draws=4).sample(np.zeros((5, 2)), rng=0)
    >>> draw.value.shape
    (4, 5, 2)
    >>> draw.value.sum(axis=0).tolist()
    [[2.0, 2.0], [2.0, 2.0], [2.0, 2.0], [2.0, 2.0], [2.0, 2.0]]
    """

    estimator: Estimator
    draws: int

    def __post_init__(self) -> None:
        check_estimator("estimator", self.estimator)
        if not self.estimator._pathwise or self.estimator._draws > 1:
            raise TypeError(
                f"estimator is {self.estimator}; one whose draw has a Jacobian and one outcome is "
                "wanted, such as rbgs.GumbelRao(0.5)"
            )
        if self.estimator._structure != CATEGORICAL:
            raise TypeError(
                f"estimator is {self.estimator}, but it is categories that are spread evenly: one "
                "without a structure is wanted"
            )
        object.__setattr__(self, "draws", check_count("draws", self.draws, 2))

    @property
    def temperature(self) -> Temperature:
        """That of the estimator; 1 if it has none.

        Examples
        --------
        >>> import rbgs
        >>> rbgs.Systematic(rbgs.GumbelRao(0.5), draws=4).temperature
        0.5
        """
        temperature: Temperature = getattr(self.estimator, "temperature", 1.0)
        return temperature

    def _at_temperature(self, temperature: Temperature) -> Self:
        return self._with("estimator", self.estimator._at_temperature(temperature))

    @property
    def _random_given_outcome(self) -> bool:
        return self.estimator._random_given_outcome

    @property
    def _generator_words(self) -> int:
        return self.estimator._generator_words + 1

    @property
    def _draws(self) -> int:
        return self.draws

    @property
    def _function_of_outcome(self) -> bool:
        return False

    def _uniforms(self, rows: Rows, rng: Generator, noise: Array | None) -> Array:
        """Return those of the noise, with the shift of the first draw in all draws."""
        uniforms, n = super()._uniforms(rows, rng, noise), rows.n
        xp = array_namespace(uniforms)
        shift = rows.split(uniforms[n, :])[:1, ...]
        shifts = rows.merge(xp.broadcast_to(shift, rows.batch))
        return xp.concat([uniforms[:n, :], shifts[None, :], uniforms[n + 1 :, :]], axis=0)

    def _drawn_outcome(self, rows: Rows, uniforms: Array) -> Race:
        log_probs = rows.log_probs
        xp, n = array_namespace(log_probs), rows.n
        probs = xp.exp(log_probs)
        # Never above 0 where the outcome is impossible, also if a sum in parts is not monotone.
        below = xp.where(probs > 0, cumulative_sum(probs), 0.0)
        points = clamp(self._points(rows, uniforms[n, :]), high=1 - xp.finfo(probs.dtype).eps)
        index = first_largest(xp.astype(below > points * xp.max(below, axis=0), xp.int32))
        return Race(rows, index, rows.one_hot(index), exponential(uniforms[:n, :]))

    def _points(self, rows: Rows, shifts: Array) -> Array:
        """Return where the outcomes are looked up."""
        xp, draws = array_namespace(shifts), self.draws
        z = _prime_to(draws)
        here = device(shifts)
        variable = xp.arange(math.prod(rows.batch[1:]), dtype=xp.int32, device=here)
        z_of_variable = xp.take(xp.asarray(z, dtype=xp.int32, device=here), variable % len(z))
        draw = xp.arange(draws, dtype=xp.int32, device=here)
        phases = xp.astype(draw[:, None] * z_of_variable % draws, shifts.dtype) / draws
        moved = rows.split(shifts) + xp.reshape(phases, rows.batch)
        return rows.merge(moved - xp.floor(moved))

    def _operator(self, outcome: Outcome) -> Operator | None:
        # The first word is that of the shift.
        key = None
        if outcome.key is not None and self.estimator._generator_words:
            key = outcome.key[1:, :]
        return self.estimator._operator(replace(outcome, key=key))

    def _value(self, outcome: Outcome, operator: Operator | None) -> Array:
        return self.estimator._value(outcome, operator)


@constant_when_compiled
def _prime_to(draws: int) -> tuple[int, ...]:
    """Return numbers prime to the draws, so small that products with them fit an int32."""
    numbers = range(1, min(draws, 2**31 // draws))
    return tuple(z for z in numbers if math.gcd(z, draws) == 1)
