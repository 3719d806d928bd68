"""VIMCO: the multi-sample bound, with a baseline from the other samples."""

from dataclasses import dataclass

from rbgs.arrays.devices import device
from rbgs.arrays.inputs import check_count
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.typing import Array
from rbgs.draw import Operator
from rbgs.estimators.loss import Loss
from rbgs.estimators.score_function import ScoreFunctionEstimator
from rbgs.structures.structure import Outcome


@dataclass(frozen=True, eq=False, repr=False)
class Vimco(ScoreFunctionEstimator):
    r"""VIMCO: the gradient of the multi-sample bound, unbiased for it.

    The loss f is a negative log-weight, :math:`f(D) = -\log p(x, D) + \log q(D)`, and what is
    minimised is not its mean, but

    .. math:: E[F], \quad F = -\log \frac{1}{M} \sum_{m=1}^M e^{-f(D^m)}

    over M independent draws, which is closer to the negative log-evidence. The estimate is

    .. math:: \sum_m (F - F_{-m})(D^m - p) + \sum_m w_m \frac{\partial f(D^m)}{\partial \theta},
        \quad w_m = \frac{e^{-f(D^m)}}{\sum_k e^{-f(D^k)}}

    with :math:`p = \operatorname{softmax}(\theta)` for logits :math:`\theta` ``(..., n)``,
    :math:`D^m` one-hot and :math:`F_{-m}` the same as F, but with the mean of the other losses in
    place of :math:`f(D^m)`; the second sum is there if the loss depends on the logits in another
    way, as :math:`\log q(D)` does.

    Parameters
    ----------
    samples : int
        M, at least 2. The draws lie along a new leading axis of the value that the oracle gets.

    Raises
    ------
    ValueError
        ``samples`` is below 2.
    TypeError
        ``samples`` is not an int.

    References
    ----------
    Mnih, Rezende (2016). Variational inference for Monte Carlo objectives. ICML. (Eq. 10 and 15.)

    Examples
    --------
    >>> import numpy as np, rbgs
    >>> cost, logits = np.asarray([1.0, 2.0, 4.0]), np.zeros((50_000, 3))
    >>> gradient = rbgs.Vimco(samples=2).gradient(lambda value: value @ cost, logits, rng=0)
    >>> exact = rbgs.exact_gradient(lambda value: value @ cost, np.zeros(3), samples=2)
    >>> bool(np.allclose(gradient.mean(axis=0), exact, atol=0.01))
    True
    """

    samples: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples", check_count("samples", self.samples, 2))

    @property
    def _draws(self) -> int:
        return self.samples

    @property
    def _bound_samples(self) -> int:
        return self.samples

    def _combined(self, losses: Array) -> Array:
        return _bound(losses)

    def _weights(self, losses: Array) -> Array:
        xp = array_namespace(losses)
        weights = xp.exp(xp.min(losses, axis=0) - losses)
        return self.samples * weights / xp.sum(weights, axis=0)

    def _estimate(self, outcome: Outcome, operator: Operator | None, loss: Loss) -> Array:
        losses = loss.answer.loss
        xp = array_namespace(losses)
        others = (xp.sum(losses, axis=0) - losses) / (self.samples - 1)
        number = xp.arange(self.samples, device=device(losses))
        replaced = number[:, None] == number
        replaced = xp.reshape(replaced, (*replaced.shape, *(1,) * (losses.ndim - 1)))
        without = _bound(xp.where(replaced, others, losses[:, None, ...]))
        # The draws are averaged: of their sum each has this share.
        return self._score(outcome, self.samples * (_bound(losses) - without))


def _bound(losses: Array) -> Array:
    """Return minus the logarithm of the mean of exp(-loss) over the first axis."""
    xp = array_namespace(losses)
    least = xp.min(losses, axis=0)
    return least - xp.log(xp.mean(xp.exp(least - losses), axis=0))
