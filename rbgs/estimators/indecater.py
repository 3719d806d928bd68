"""IndeCateR: each variable summed out by itself, the others at their outcome."""

import math
from dataclasses import dataclass

from rbgs.arrays.devices import device
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.typing import Array
from rbgs.draw import Operator
from rbgs.estimators.loss import Loss
from rbgs.estimators.score_function import ScoreFunctionEstimator
from rbgs.structures.structure import Outcome


@dataclass(frozen=True, eq=False, repr=False)
class IndeCateR(ScoreFunctionEstimator):
    r"""IndeCateR: Rao-Blackwellised REINFORCE for independent variables, unbiased.

    .. math:: p_{lc} \Big(F_{lc} - \sum_{c'} p_{lc'} F_{lc'}\Big)

    with :math:`p_l` the softmax of the logits of variable l, ``(..., n)`` for all, and
    :math:`F_{lc}` the loss where variable l is set to category c and the others are at their
    outcome. That is the conditional mean of REINFORCE given the other variables, for
    :math:`L n + 1` evaluations of a loss that L variables of n categories share. Of one variable
    alone it is the exact gradient.

    References
    ----------
    De Smet, Sansone, Zuidberg Dos Martires (2023). Differentiable sampling of categorical
    distributions using the CatLog-derivative trick. NeurIPS. (Theorem 3.)

    Examples
    --------
    >>> import numpy as np, rbgs
    >>> cost = np.asarray([1.0, 2.0, 4.0])
    >>> gradient = rbgs.IndeCateR().gradient(lambda value: value @ cost, np.zeros(3), rng=0)
    >>> bool(np.allclose(gradient, rbgs.exact_gradient(lambda x: x @ cost, np.zeros(3))))
    True
    """

    def _estimate(self, outcome: Outcome, operator: Operator | None, loss: Loss) -> Array:
        rows, winner = outcome.rows, outcome.winner
        xp, here = array_namespace(winner), device(winner)
        n, count = winner.shape
        variables = math.prod(rows.batch[loss.answer.loss.ndim :])
        numbers = xp.arange(variables, device=here)
        is_set = numbers[:, None] == xp.arange(count, device=here) % max(1, variables)
        category = xp.eye(n, dtype=winner.dtype, device=here)
        # (category of the value, variable, category that it is set to, row)
        points = xp.where(is_set[:, None, :], category[:, None, :, None], winner[:, None, None, :])
        losses = loss.at_many(xp.reshape(points, (n, variables * n, count)))
        many = rows.repeat(variables * n)
        spread = rows.merge(many.split(many.spread(losses)), variables * n)
        spread = xp.reshape(spread, (variables, n, count))
        mine = xp.sum(xp.where(is_set[:, None, :], spread, 0.0), axis=0)
        p = xp.exp(rows.log_probs)
        mine = xp.where(p > 0, mine, 0.0)
        return p * (mine - xp.sum(p * mine, axis=0))
