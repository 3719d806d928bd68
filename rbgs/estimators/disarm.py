"""DisARM: two antithetic draws, importance-weighted."""

from dataclasses import dataclass

from rbgs.arrays.devices import device
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.ordering import argsort, picked
from rbgs.arrays.rows import Rows
from rbgs.arrays.simplex import clamp, cumulative_sum, first_largest
from rbgs.arrays.typing import Array
from rbgs.draw import Operator
from rbgs.estimators.loss import Loss
from rbgs.estimators.score_function import ScoreFunctionEstimator
from rbgs.structures.structure import Outcome, Race


@dataclass(frozen=True, eq=False, repr=False)
class DisARM(ScoreFunctionEstimator):
    r"""DisARM for categorical variables: an antithetic pair of draws, unbiased.

    The categories are sorted in ascending order of their probabilities p, the softmax of the logits
    ``(..., n)``, and broken off a stick one after the other: with
    :math:`s_k = p_{(k)} / \sum_{l \ge k} p_{(l)}` and a uniform :math:`u_k`, the first draw takes
    the first category with :math:`u_k < s_k`, the second one the first with :math:`1 - u_k < s_k`.
    The estimate is

    .. math::
        & \tfrac{1}{2} w (f(D) - f(D')) (D - D'), \\
        & w = \max(s_k, 1 - s_k) \prod_{l < k} \frac{(1 - s_l)^2}{1 - 2 s_l}

    with D and D' the two draws, f the loss, and k the place where the first of them ends. Each
    variable that shares the loss has a pair and a weight of its own. The two draws lie along a new
    leading axis of the value that the oracle gets.

    References
    ----------
    Dong, Mnih, Tucker (2021). Coupled gradient estimators for discrete latent variables. NeurIPS.
    (DisARM-IW.)

    Examples
    --------
    >>> import numpy as np, rbgs
    >>> cost, logits = np.asarray([1.0, 2.0, 4.0]), np.zeros((50_000, 3))
    >>> gradient = rbgs.DisARM().gradient(lambda value: value @ cost, logits, rng=0)
    >>> exact = rbgs.exact_gradient(lambda value: value @ cost, np.zeros(3))
    >>> bool(np.allclose(gradient.mean(axis=0), exact, atol=0.02))
    True
    """

    @property
    def _draws(self) -> int:
        return 2

    @property
    def _noise_draws(self) -> int:
        return 1

    def _drawn_outcome(self, rows: Rows, uniforms: Array) -> Race:
        log_probs = rows.log_probs
        xp = array_namespace(log_probs)
        order, broken = _stick(log_probs)
        n = log_probs.shape[0]
        is_last = xp.arange(n, device=device(log_probs))[:, None] == n - 1
        drawn = []
        # The second comparison is 1 - u < s, but leaves no gap at s = 1/2.
        for taken in (uniforms < broken, uniforms >= 1 - broken):
            place = first_largest(xp.astype(taken | is_last, log_probs.dtype))
            drawn.append(picked(order, place[None, :])[0, :])
        index = xp.concat(drawn, axis=0)
        rows = rows.repeat(2)
        return Race(rows, index, rows.one_hot(index), None)

    def _estimate(self, outcome: Outcome, operator: Operator | None, loss: Loss) -> Array:
        xp, losses = array_namespace(outcome.winner), loss.answer.loss
        count = outcome.winner.shape[1] // 2
        order, broken = _stick(outcome.rows.log_probs[:, :count])
        places = xp.arange(order.shape[0], device=device(order))[:, None]
        ends = [
            xp.sum(xp.where(order == index, places, 0), axis=0)
            for index in (outcome.index[:count], outcome.index[count:])
        ]
        end = xp.minimum(*ends)
        # 1 - 2 s is 0 where two categories are left that are equally probable: one is taken.
        tiny = xp.finfo(broken.dtype).eps
        passed = 2 * xp.log1p(-clamp(broken, high=1 - tiny)) - xp.log(
            clamp(1 - 2 * broken, low=tiny)
        )
        weight = xp.exp(xp.sum(xp.where(places < end, passed, 0.0), axis=0))
        there = xp.sum(xp.where(places == end, broken, 0.0), axis=0)
        weight = weight * xp.maximum(there, 1 - there)
        signal = outcome.rows.spread(losses - xp.flip(losses, axis=0))
        return signal * xp.concat([weight, weight], axis=0) * outcome.winner


def _stick(log_probs: Array) -> tuple[Array, Array]:
    """Return the categories in ascending order, and the share that each breaks off the stick."""
    xp = array_namespace(log_probs)
    order = argsort(log_probs)
    p = xp.exp(picked(log_probs, order))
    left = xp.flip(cumulative_sum(xp.flip(p, axis=0)), axis=0)
    return order, p / left
