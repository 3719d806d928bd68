r"""Gumbels given the winner: eq. 9 of Paulus, Maddison & Krause (2021), relative to the winner.

With :math:`E_j` iid standard exponentials and :math:`G_j = -\log E_j`, the winner of the Gumbel-max
trick is the first to arrive in a race of exponentials, :math:`\arg\min_j E_j / p_j`. Given that it
is :math:`i`, the Gumbels can be drawn so that

.. math::

    (\theta_i + G_i) - (\theta_j + G_j) = \log\Big(1 + \frac{E_j}{p_j E_i}\Big), \quad j \ne i,

which is the difference of the two lines of eq. 9. So the softmax of the perturbed logits has the
weights :math:`r_j = (1 + E_j / (p_j E_i))^{-1/\tau}` relative to the winner's :math:`r_i = 1`: they
lie in [0, 1], and nothing overflows at any temperature.
"""

from operator import add, mul

from rbgs.arrays.engine import engine_for
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.reuse import in_place
from rbgs.arrays.rows import nan_unless
from rbgs.arrays.simplex import clamp, first_largest, log_of_largest, one_hot
from rbgs.arrays.tracing import is_compiled_by_torch
from rbgs.arrays.typing import Array, Temperature
from rbgs.random.noise import exponential


def race(log_probs: Array, uniforms: Array) -> tuple[Array, Array, Array]:
    r"""Draw the outcome of a race and the exponentials that are left once it is known.

    The category arriving first at time :math:`T = \min_j E_j / p_j` wins. Given the winner
    :math:`i`, the time :math:`T` and the remainders :math:`E_j - p_j T`, :math:`j \ne i`, are again
    iid standard exponentials, because the exponential law has no memory. Put for :math:`E_i` and
    :math:`E_j` above, they give back the very Gumbels that were drawn.

    Parameters
    ----------
    log_probs : array ``(n, rows)``
        Normalised log-probabilities; -inf for a category that cannot win.
    uniforms : array ``(n, rows)``
        iid uniforms, of which :func:`rbgs.random.noise.exponential` makes the exponentials.

    Returns
    -------
    index : integer array ``(rows,)``
        The winner; n where the log-probabilities are NaN.
    winner : array ``(n, rows)``
        Its one-hot vector; NaN where the log-probabilities are.
    remaining : array ``(n, rows)``
        iid standard exponentials independent of the winner.
    """
    engine = engine_for(log_probs)
    if engine is not None:
        compiled: tuple[Array, Array, Array] = engine.race(log_probs, uniforms)
        return compiled
    xp = array_namespace(log_probs, uniforms)
    exponentials = exponential(uniforms)
    probs = xp.exp(log_probs)
    speeds = probs / exponentials
    index = first_largest(speeds)
    winner = one_hot(index, log_probs.shape[0], log_probs.dtype)
    arrival = 1 / xp.max(speeds, axis=0)
    left = exponentials - probs * arrival
    remaining = clamp(left, low=0.0) * (1 - winner) + arrival * winner
    return index, winner + nan_unless(index < log_probs.shape[0], winner), remaining


def lowest_log_prob(largest: float) -> float:
    """Return the floor of :func:`race_rates`: -59 in single and -473 in double precision."""
    return -log_of_largest(largest) * 2 / 3


def race_rates(log_probs: Array, winner: Array, temperature: Temperature) -> tuple[Array, Array]:
    r"""Split :math:`1/p_j` into a factor that cannot overflow and what is left of it.

    Parameters
    ----------
    log_probs : array ``(n, rows)``
        Normalised log-probabilities.
    winner : array ``(n, rows)``
        The one-hot vector of the winner.
    temperature : float or array ``(1,)`` or ``(rows,)``
        The temperature.

    Returns
    -------
    rates : array ``(n, rows)``
        ``exp(-max(log p, floor))``, 0 at the winner.
    weights : array ``(n, rows)``
        ``exp(-(max(log p, floor) - log p) / temperature)``: 1 for all but the least probable
        categories, 0 for a masked one. The floor is so low that a rival below it is always far
        behind, where ``(1 + rate x) ** (-1 / temperature) * weight`` is exact.
    """
    xp = array_namespace(log_probs)
    clamped = clamp(log_probs, low=lowest_log_prob(xp.finfo(log_probs.dtype).max))
    rivals = 1 - winner
    furthest = 1000.0 * temperature  # exp(-1000) is 0
    rest = clamp((clamped - log_probs) * rivals, high=furthest)
    return xp.exp(-clamped) * rivals, xp.exp(-rest / temperature)


def whole_power(temperature: Temperature) -> int:
    r"""Return :math:`1/\tau` where it is a whole number from 1 to 16, otherwise 0."""
    # PyTorch's compiler would make a program for each of them, and gain nothing by it.
    if not isinstance(temperature, float) or is_compiled_by_torch():
        return 0
    return next((power for power in range(1, 17) if power * temperature == 1), 0)


def relative_weights(
    ratios: Array, rates: Array, weights: Array, temperature: Temperature
) -> Array:
    r"""Return :math:`r_j = (1 + E_j / (p_j E_i))^{-1/\tau}`.

    Where :math:`1/\tau` is a whole number up to 16 it takes neither a logarithm nor an
    exponential.

    Parameters
    ----------
    ratios : array ``(n, ..., rows)``
        :math:`E_j / E_i`. Overwritten where possible.
    rates, weights : array ``(n, ..., rows)``
        From :func:`race_rates`.
    temperature : float or array ``(1,)`` or ``(rows,)``
        The temperature.

    Returns
    -------
    array ``(n, ..., rows)``
        The weights relative to the winner's, which is 1.
    """
    xp = array_namespace(ratios)
    ratios = in_place(mul, ratios, rates)
    power = whole_power(temperature)
    if power:
        relative = 1 / in_place(add, ratios, 1.0)
        result = None
        while power:
            if power % 2:
                result = relative if result is None else result * relative
            power //= 2
            if power:
                relative = relative * relative
    else:
        result = xp.exp(in_place(mul, xp.log1p(ratios), -1 / temperature))
    return in_place(mul, result, weights)
