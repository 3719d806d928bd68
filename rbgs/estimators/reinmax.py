"""ReinMax: second-order straight-through, and its average over Gumbels given the outcome."""

import math
from dataclasses import dataclass
from operator import sub

from rbgs.arrays.inputs import check_count, check_temperature
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.reuse import in_place
from rbgs.arrays.simplex import softmax
from rbgs.arrays.typing import Temperature
from rbgs.draw import FixedPoints, WeightedSum
from rbgs.estimators.base import Estimator
from rbgs.estimators.gumbel_rao import limit_points
from rbgs.structures.categorical import conditional_samples
from rbgs.structures.structure import Outcome


@dataclass(frozen=True, eq=False, repr=False)
class ReinMax(Estimator):
    r"""ReinMax: a discrete sample, with a second-order approximation of the gradient.

    For logits :math:`\theta` ``(..., n)`` and :math:`p = \operatorname{softmax}(\theta)` the value
    is the one-hot :math:`D \sim \operatorname{Cat}(p)`, its derivative

    .. math::
        & 2 J_1\big(\tfrac{1}{2}(\operatorname{softmax}(\theta / \tau) + D)\big)
        - \tfrac{1}{2} J_1(p), \\
        & J_1(s) = \operatorname{diag}(s) - s s^\top:

    Heun's method in the place of the first-order one of :class:`~rbgs.StraightThrough`. It is exact
    for a loss that is quadratic in each variable.

    Parameters
    ----------
    temperature : float or array ``(...,)``
        :math:`\tau > 0`. Any kind of number is kept as a Python float; an array broadcasts against
        the batch. At 1 the estimator is the limit of Gumbel-Rao, ``GumbelRao(0)``; the authors
        advise 1 and above.

    Raises
    ------
    ValueError
        The temperature is not positive and finite.
    TypeError
        The temperature is not a float or a floating array.

    Notes
    -----
    The temperature enters the point alone, not the Jacobians. The derivative is a function of the
    outcome: no further random numbers are drawn. The generalisation of the same paper by a
    parameter :math:`\alpha` is another estimator, whose operator is not symmetric.

    References
    ----------
    Liu, Dong, Liu, Yu, Gao (2023). Bridging discrete and backpropagation: straight-through and
    beyond. NeurIPS. arXiv 2304.08612. (Theorem 3.1.)

    Examples
    --------
    >>> import numpy as np, rbgs
    >>> draw = rbgs.ReinMax().sample(np.asarray([0.0, 0.0]), index=0)
    >>> draw.jacobian()
    array([[ 0.25, -0.25],
           [-0.25,  0.25]])
    """

    temperature: Temperature = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperature", check_temperature(self.temperature))

    def _operator(self, outcome: Outcome) -> FixedPoints:
        log_probs, temperature = outcome.rows.log_probs, outcome.temperature
        p = array_namespace(log_probs).exp(log_probs)
        is_one = isinstance(temperature, float) and temperature == 1
        relaxed = p if is_one else softmax(log_probs, temperature)
        return limit_points(p, relaxed, outcome.winner)


@dataclass(frozen=True, eq=False, repr=False)
class ReinMaxRao(Estimator):
    r"""ReinMax with Gumbel-Rao's operator in the place of the Jacobian halfway to the outcome.

    For logits :math:`\theta` ``(..., n)``, :math:`p = \operatorname{softmax}(\theta)` and iid
    Gumbels G the value is the one-hot :math:`D \sim \operatorname{Cat}(p)`, its derivative

    .. math::
        & 2 E[J_\tau(\operatorname{softmax}((\log q + G) / \tau)) \mid D]
        - \tfrac{1}{2} J_1(p), \\
        & J_\tau(s) = (\operatorname{diag}(s) - s s^\top) / \tau

    with :math:`q = \frac{1}{2}(p + D)` (eq. 17, its second term taken at :math:`\theta`). It has
    more bias and less variance than :class:`~rbgs.ReinMax`.

    Parameters
    ----------
    temperature : float or array ``(...,)``
        :math:`\tau > 0`, of the first term alone. Any kind of number is kept as a Python float; an
        array broadcasts against the batch. On losses that are quadratic or cubic the bias is least
        near 0.5; at 1 the variance is half to two thirds of that of :class:`~rbgs.ReinMax`.
    samples : int, optional
        How many Gumbel vectors the mean is taken over, at least 1; by default, and in all else, as
        :class:`~rbgs.GumbelRao` does: on a lattice, with the control variate where it pays.

    Raises
    ------
    ValueError
        The temperature is not positive and finite, or ``samples`` is below 1.
    TypeError
        The temperature is not a float or a floating array, or ``samples`` not an int.

    References
    ----------
    Wang, Bui (2026). arXiv 2603.08257. (Eq. 17.)

    Examples
    --------
    >>> import numpy as np, rbgs
    >>> draw = rbgs.ReinMaxRao().sample(np.zeros((5, 3)), rng=0)
    >>> bool(np.allclose(draw.jacobian().sum(axis=-1), 0))
    True
    """

    temperature: Temperature = 1.0
    samples: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperature", check_temperature(self.temperature))
        if self.samples is not None:
            object.__setattr__(self, "samples", check_count("samples", self.samples))

    @property
    def _random_given_outcome(self) -> bool:
        return True

    def _operator(self, outcome: Outcome) -> WeightedSum:
        log_probs = outcome.rows.log_probs
        xp = array_namespace(log_probs)
        p = xp.exp(log_probs)
        halfway = xp.where(outcome.winner == 1, xp.log1p(p), log_probs)
        halfway = in_place(sub, halfway, math.log(2))
        sampled = conditional_samples(outcome, halfway, self.samples)
        return WeightedSum((sampled, FixedPoints(1.0, (p,))), (2.0, -0.5))
