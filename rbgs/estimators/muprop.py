"""MuProp: REINFORCE less the linear part of the loss, whose gradient is known."""

from dataclasses import dataclass

from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.simplex import jacobian_product
from rbgs.arrays.typing import Array
from rbgs.draw import Operator
from rbgs.estimators.loss import Loss
from rbgs.estimators.score_function import ScoreFunctionEstimator
from rbgs.structures.structure import Outcome


@dataclass(frozen=True, eq=False, repr=False)
class MuProp(ScoreFunctionEstimator):
    r"""MuProp: a Taylor expansion at the mean as control variate, unbiased.

    .. math:: \big[f(D) - f(p) - \langle \nabla f(p), D - p \rangle\big](D - p)
        + J_1(p) \nabla f(p)

    For logits :math:`\theta` ``(..., n)``, f is the loss, D the one-hot outcome, p the softmax of
    :math:`\theta`, and :math:`J_1(p) = \operatorname{diag}(p) - p p^\top`. Where several variables
    share the loss, f is expanded at the means of all of them, and the inner product is over all of
    them. The loss must be defined inside the simplex, where it is evaluated once more, with its
    derivative.

    Raises
    ------
    TypeError
        In :meth:`gradient`: the oracle does not give the derivative.

    References
    ----------
    Gu, Levine, Sutskever, Mnih (2016). MuProp: unbiased backpropagation for stochastic neural
    networks. ICLR. (Eq. 5.)

    Examples
    --------
    For a linear loss nothing is left to vary:

    >>> import numpy as np, rbgs
    >>> cost = np.asarray([1.0, 2.0, 4.0])
    >>> def oracle(value):
    ...     return value @ cost, np.broadcast_to(cost, value.shape)
    >>> gradient = rbgs.MuProp().gradient(oracle, np.zeros(3), rng=0)
    >>> bool(np.allclose(gradient, rbgs.exact_gradient(oracle, np.zeros(3))))
    True
    """

    def _estimate(self, outcome: Outcome, operator: Operator | None, loss: Loss) -> Array:
        rows = outcome.rows
        xp = array_namespace(rows.log_probs)
        p = xp.exp(rows.log_probs)
        mean = loss.at(p, derivative=True)
        linear = rows.total(xp.sum(mean.cotangent * (outcome.winner - p), axis=0), mean.loss)
        signal = loss.answer.loss - mean.loss - xp.astype(linear, mean.loss.dtype, copy=False)
        return self._score(outcome, signal) + jacobian_product(p, mean.cotangent, 1.0)
