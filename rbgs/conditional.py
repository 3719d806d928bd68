r"""Gumbels given the winner: eq. 9 of Paulus, Maddison & Krause (2021), relative to the winner.

With :math:`E_j` iid standard exponentials and :math:`G_j = -\log E_j`, the winner of the Gumbel-max
trick is the first to arrive in a race of exponentials, :math:`\arg\min_j E_j / p_j`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from array_api_compat import array_namespace, device

from rbgs._typing import Array, Temperature
from rbgs.noise import exponential
from rbgs.simplex import column, is_category
from rbgs.threefry import uniforms


def race(log_probs: Array, exponentials: Array) -> tuple[Array, Array]:
    r"""Draw the outcome of a race and the exponentials that are left once it is known.

    The category arriving first at time :math:`T = \min_j E_j / p_j` wins. Given the winner
    :math:`i`, the time :math:`T` and the remainders :math:`E_j - p_j T`, :math:`j \ne i`, are again
    iid standard exponentials, because the exponential law has no memory. They are what
    :func:`gumbel_gaps` needs to give back the very Gumbels that were drawn.

    Parameters
    ----------
    log_probs : array ``(..., n)``
        Normalised log-probabilities; -inf for a category that cannot win.
    exponentials : array ``(..., n)``
        iid standard exponentials, positive.

    Returns
    -------
    index : integer array ``(...,)``
        The winner.
    remaining : array ``(..., n)``
        iid standard exponentials independent of the winner.
    """
    xp = array_namespace(log_probs, exponentials)
    scores = log_probs - xp.log(exponentials)
    index = xp.argmax(scores, axis=-1)
    arrival = xp.exp(-xp.max(scores, axis=-1, keepdims=True))
    left = exponentials - xp.exp(log_probs) * arrival
    winner = is_category(index, log_probs.shape[-1])
    return index, xp.where(winner, arrival, xp.where(left < 0, 0.0, left))


def race_rates(log_probs: Array, winner: Array) -> tuple[Array, Array]:
    r"""Split :math:`-\log p_j` into a rate that cannot overflow and the rest.

    Returns ``exp(-max(log p, floor))`` and ``max(log p, floor) - log p``, both 0 at the winner. The
    floor lies so low that a rival under it is always far behind: the split loses nothing.
    """
    xp = array_namespace(log_probs)
    floor = -math.log(xp.finfo(log_probs.dtype).max) * 2 / 3
    clamped = xp.where(log_probs < floor, floor, log_probs)
    return xp.where(winner, 0.0, xp.exp(-clamped)), xp.where(winner, 0.0, clamped - log_probs)


def gumbel_gaps(rates: Array, rest: Array, winner: Array, exponentials: Array) -> Array:
    r"""Return how far each category trails the winner :math:`i`, given that it won.

    .. math::

        (\theta_i + G_i) - (\theta_j + G_j) = \log\Big(1 + \frac{E_j}{p_j E_i}\Big), \quad j \ne i,

    which is the difference of the two lines of eq. 9 and lies in :math:`[0, \infty]`: nothing
    overflows at any temperature, and a category of probability zero trails by infinity.

    Parameters
    ----------
    rates, rest : array ``(..., n)``
        From :func:`race_rates`.
    winner : bool array ``(..., n)``
        The one-hot vector of the winner.
    exponentials : array ``(..., n)``
        iid standard exponentials, positive at the winner.

    Returns
    -------
    array ``(..., n)``
        The gaps, 0 at the winner.
    """
    xp = array_namespace(rates, exponentials)
    of_winner = xp.sum(xp.where(winner, exponentials, 0.0), axis=-1, keepdims=True)
    return xp.log1p(exponentials * rates / of_winner) + rest


def points_of_gaps(gaps: Array, temperature: Temperature) -> Array:
    """Return ``softmax(-gaps / temperature)``: the winner has gap 0, so nothing overflows."""
    xp = array_namespace(gaps)
    weights = xp.exp(-gaps / temperature)
    return weights / xp.sum(weights, axis=-1, keepdims=True)


# Elements of one block: large enough to hide the cost of a call, small enough to be no burden.
_BLOCK = 2**16


@dataclass(frozen=True)
class ConditionalSamples:
    r"""The ``samples`` points :math:`s^k = \operatorname{softmax}((\theta + G^k) / \tau)` given D.

    Only what is needed to compute them again is kept: arrays of the size of the logits and a key
    for each row. The first point uses the exponentials that are left of the race, so that with one
    sample it is the point of the straight-through Gumbel-softmax; the others use the key.

    Attributes
    ----------
    temperature : float or array ``(..., 1)``
    samples : int
        The paper's K.
    winner : bool array ``(..., n)``
    rates, rest : array ``(..., n)``
        From :func:`race_rates`.
    exponentials : array ``(..., n)``
        Of the first sample.
    key : int32 array ``(..., 2)`` or None
        Of the other samples.
    """

    temperature: Temperature
    samples: int
    winner: Array
    rates: Array
    rest: Array
    exponentials: Array
    key: Array | None

    @classmethod
    def make(
        cls,
        temperature: Temperature,
        samples: int,
        log_probs: Array,
        winner: Array,
        exponentials: Array,
        key: Array | None = None,
    ) -> "ConditionalSamples":
        """Prepare what does not depend on the sample."""
        xp = array_namespace(log_probs)
        rates, rest = race_rates(log_probs, winner)
        # Past 1000 temperatures exp is 0 anyway; larger numbers would only overflow.
        furthest = 1000.0 * temperature
        rest = xp.where(rest > furthest, furthest, rest)
        return cls(temperature, samples, winner, rates, rest, exponentials, key)

    def blocks(self) -> Iterator[tuple[float, Array]]:
        """Yield weights and points ``(..., block, n)``."""
        weight = 1.0 / self.samples
        yield weight, self._points(self.exponentials[..., None, :])
        if self.key is None:
            return
        xp = array_namespace(self.rates)
        n = self.rates.shape[-1]
        size = max(1, _BLOCK // max(1, math.prod(self.rates.shape)))
        for start in range(1, self.samples, size):
            stop = min(start + size, self.samples)
            numbers = xp.arange(start, stop, dtype=xp.int32, device=device(self.key))
            drawn = uniforms(self.key, numbers, n, self.rates.dtype)
            yield weight, self._points(exponential(drawn))

    def _points(self, exponentials: Array) -> Array:
        gaps = gumbel_gaps(
            self.rates[..., None, :],
            self.rest[..., None, :],
            self.winner[..., None, :],
            exponentials,
        )
        return points_of_gaps(gaps, column(self.temperature))
