"""The gapped straight-through estimator."""

from dataclasses import dataclass

from rbgs.arrays.inputs import check_temperature
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.scalars import as_float, is_array
from rbgs.arrays.simplex import clamp, softmax
from rbgs.arrays.typing import Array, Temperature
from rbgs.draw import FixedPoints
from rbgs.estimators.base import Estimator
from rbgs.structures.structure import Outcome

_LARGEST_GAP = 1e30


@dataclass(frozen=True, eq=False, repr=False)
class GappedStraightThrough(Estimator):
    r"""Gapped straight-through: the Jacobian at logits moved so that the outcome leads by a gap.

    For logits :math:`\theta` ``(..., n)`` the value is the one-hot
    :math:`D \sim \operatorname{Cat}(\operatorname{softmax}(\theta))`, its derivative

    .. math::
        & J_\tau(\operatorname{softmax}((\theta + m_1 - m_2) / \tau)), \\
        & J_\tau(s) = (\operatorname{diag}(s) - s s^\top) / \tau,

    with :math:`m_1 = (\max_j \theta_j - \theta) \circ D` and
    :math:`m_2 = \max(0, \theta - \max_j \theta_j + \textit{gap}) \circ (1 - D)`, both constants: as
    for Gumbels given the outcome, whose perturbed logit is the largest, but without drawing them.

    Parameters
    ----------
    temperature : float or array ``(...,)``
        :math:`\tau > 0`. Any kind of number is kept as a Python float; an array broadcasts against
        the batch.
    gap : float or "p"
        By how much the outcome's logit is above all others, 0 to 1e30. ``"p"`` is
        :math:`-\log(1 - p_i) / p_i` with the outcome i: the mean lead of the winner in the
        Gumbel-max trick.

    Raises
    ------
    ValueError
        The temperature is not positive and finite, or the gap out of range.
    TypeError
        The temperature is not a float or a floating array, or the gap neither a number nor "p".

    Notes
    -----
    The derivative is a function of the outcome: no further random numbers are drawn.

    References
    ----------
    Fan, Chi, Rudnicky, Ramadge (2022). Training discrete deep generative models via gapped
    straight-through estimator. ICML. (Section 4.)

    Examples
    --------
    >>> import numpy as np, rbgs
    >>> draw = rbgs.GappedStraightThrough(gap=np.log(3)).sample(np.asarray([0.0, 4.0]), index=0)
    >>> draw.jacobian()
    array([[ 0.1875, -0.1875],
           [-0.1875,  0.1875]])
    """

    temperature: Temperature = 1.0
    gap: float | str = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperature", check_temperature(self.temperature))
        object.__setattr__(self, "gap", _check_gap(self.gap))

    def _operator(self, outcome: Outcome) -> FixedPoints:
        log_probs, won = outcome.rows.log_probs, outcome.winner == 1
        xp = array_namespace(log_probs)
        gap = self.gap if isinstance(self.gap, float) else _mean_lead(log_probs, won)
        top = xp.max(log_probs, axis=0)
        # The moved logits, without a difference of infinities.
        moved = xp.where(won, top, xp.minimum(log_probs, top - gap))
        return FixedPoints(outcome.temperature, (softmax(moved, outcome.temperature),))


def _check_gap(gap: float | str) -> float | str:
    """Return a gap as a float, or "p"; raise if it is neither or out of range."""
    wanted = f'a number from 0 to {_LARGEST_GAP}, or "p"'
    if isinstance(gap, str):
        if gap != "p":
            raise ValueError(f"gap must be {wanted}; got {gap!r}")
        return gap
    number = as_float("gap", gap)
    if is_array(number):
        raise TypeError(f"gap must be {wanted}; got an array of shape {tuple(number.shape)}")
    if not 0 <= number <= _LARGEST_GAP:
        raise ValueError(f"gap must be {wanted}; got {number}")
    return float(number)


def _mean_lead(log_probs: Array, won: Array) -> Array:
    r"""Return :math:`-\log(1 - p_i) / p_i` for the outcome i, ``(rows,)``."""
    xp = array_namespace(log_probs)
    log_lost = xp.log(xp.sum(xp.where(won, 0.0, xp.exp(log_probs)), axis=0))
    # p is 1 - exp(log_lost), and where the outcome is improbable the lead is 1.
    log_lost = clamp(log_lost, high=-xp.finfo(log_probs.dtype).smallest_normal)
    return log_lost / xp.expm1(log_lost)
