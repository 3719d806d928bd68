"""REINFORCE, the score-function estimator, and its baselines."""

import math
from dataclasses import dataclass

from rbgs.arrays.inputs import (
    check_broadcast,
    check_count,
    check_like,
    detached,
    namespace,
)
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.scalars import as_float, check_ordinary, float_beside
from rbgs.arrays.typing import Array
from rbgs.draw import Operator
from rbgs.estimators.base import Outcome
from rbgs.estimators.loss import Loss
from rbgs.estimators.score_function import ScoreFunctionEstimator, score


class RunningMean:
    """A baseline for :class:`Reinforce`: the mean of the finite losses seen before.

    Like a random generator it has state, and each gradient that uses it advances it. The state is a
    Python float, so it cannot be used inside ``jax.jit``: carry an array there and pass it as
    ``baseline``.

    Parameters
    ----------
    decay : float, optional
        Weight in [0, 1) of the past in an exponential moving average; by default every loss seen
        has the same weight.

    Attributes
    ----------
    value : float
        The mean so far, 0 at first.

    Raises
    ------
    ValueError
        ``decay`` is not in [0, 1).
    TypeError
        ``decay`` is not a number.

    Examples
    --------
    >>> import numpy as np, rbgs
    >>> baseline = rbgs.RunningMean()
    >>> baseline.update(np.asarray([1.0, 3.0]))
    >>> baseline.update(np.asarray([5.0]))
    >>> baseline.value
    3.0
    """

    def __init__(self, decay: float | None = None) -> None:
        if decay is not None:
            decay = float(as_float("decay", decay))
            if not 0 <= decay < 1:
                raise ValueError(f"decay must lie in [0, 1), got {decay}")
        self.decay = decay
        self.value = 0.0
        self._count = 0

    def update(self, losses: Array) -> None:
        """Take further losses into the mean.

        Parameters
        ----------
        losses : floating array
            Of any shape. What is not finite is left out; an empty one changes nothing.
        """
        xp = namespace("losses", losses)
        losses = detached(losses)
        finite = xp.isfinite(losses)
        size = int(xp.sum(xp.astype(finite, xp.int64)))
        if size == 0:
            return
        mean = float(xp.mean(xp.where(finite, losses, 0.0))) * (math.prod(losses.shape) / size)
        if self.decay is None or self._count == 0:
            weight = size / (self._count + size)
        else:
            weight = 1 - self.decay
        self.value += weight * (mean - self.value)
        self._count += size


@dataclass(frozen=True, eq=False, repr=False)
class Reinforce(ScoreFunctionEstimator):
    r"""REINFORCE: :math:`(f(D) - b)(D - p)`, unbiased, from values of the loss alone (eq. 2).

    Its draw has a value and an index but no Jacobian: use :meth:`gradient`.

    Parameters
    ----------
    baseline : None, float, array, RunningMean or "leave_one_out"
        The baseline b: none; a constant; an array that broadcasts against the losses; the running
        mean of the losses of earlier calls, as in the paper; or for each draw the mean loss of the
        others, which needs ``samples`` of at least 2.
    samples : int
        Outcomes drawn, and losses evaluated, for one estimate, which is the mean over them. Above
        1 they lie along a new leading axis of the value that the oracle gets.

    Raises
    ------
    ValueError
        ``samples`` is below 1, or below 2 with ``"leave_one_out"``; the baseline is unknown.
    TypeError
        ``samples`` is not an int.

    References
    ----------
    Williams (1992). Simple statistical gradient-following algorithms for connectionist
    reinforcement learning. Machine Learning 8.
    Kool, van Hoof, Welling (2019). Buy 4 REINFORCE samples, get a baseline for free! ICLR workshop.
    (Leave-one-out.)

    Examples
    --------
    >>> import numpy as np, rbgs
    >>> cost = np.asarray([1.0, 2.0, 4.0])
    >>> def oracle(value):
    ...     return (value * cost).sum(axis=-1), np.broadcast_to(cost, value.shape)
    >>> estimator = rbgs.Reinforce(baseline="leave_one_out", samples=1000)
    >>> gradient = estimator.gradient(oracle, np.zeros(3), rng=0)
    >>> bool(np.allclose(gradient, rbgs.exact_gradient(oracle, np.zeros(3)), atol=0.1))
    True
    """

    baseline: Array | float | RunningMean | str | None = None
    samples: int = 1

    def __post_init__(self) -> None:
        leave_one_out = isinstance(self.baseline, str) and self.baseline == "leave_one_out"
        samples = check_count("samples", self.samples, 2 if leave_one_out else 1)
        object.__setattr__(self, "samples", samples)
        if leave_one_out or self.baseline is None or isinstance(self.baseline, RunningMean):
            return
        check_ordinary("baseline", self.baseline)
        try:
            object.__setattr__(self, "baseline", as_float("baseline", self.baseline))
        except TypeError:
            raise ValueError(
                "baseline must be None, a number, an array, a RunningMean or 'leave_one_out'; "
                f"got {self.baseline!r}"
            ) from None

    @property
    def _draws(self) -> int:
        return self.samples

    @property
    def _function_of_outcome(self) -> bool:
        return self.samples == 1 and not isinstance(self.baseline, RunningMean)

    def _estimate(self, outcome: Outcome, operator: Operator | None, loss: Loss) -> Array:
        losses = loss.answer.loss
        signal = losses - self._baseline(losses)
        if isinstance(self.baseline, RunningMean):
            self.baseline.update(losses)
        return score(outcome, signal)

    def _baseline(self, loss: Array) -> Array | float:
        if self.baseline is None:
            return 0.0
        if isinstance(self.baseline, RunningMean):
            return self.baseline.value
        if isinstance(self.baseline, str):
            xp = array_namespace(loss)
            return (xp.sum(loss, axis=0, keepdims=True) - loss) / (self.samples - 1)
        if isinstance(self.baseline, float):
            return self.baseline
        baseline = float_beside("baseline", self.baseline, loss)
        if not isinstance(baseline, float):
            check_like("baseline", baseline, loss, "real floating")
            check_broadcast("baseline", tuple(baseline.shape), tuple(loss.shape))
        return baseline
