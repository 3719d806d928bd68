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
from rbgs.arrays.keywords import instead_of
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.oracle import evaluate
from rbgs.arrays.scalars import as_float, check_ordinary, float_beside
from rbgs.arrays.settings import own_settings
from rbgs.arrays.typing import Array, Generator, Oracle
from rbgs.estimators.base import Estimator, Outcome


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
class Reinforce(Estimator):
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

    def _operator(self, outcome: Outcome) -> None:
        return None

    @instead_of(dim="axis", generator="rng", key="rng")
    def gradient(
        self,
        oracle: Oracle,
        logits: Array,
        *,
        rng: Generator = None,
        noise: Array | None = None,
        index: Array | int | None = None,
        mask: Array | None = None,
        axis: int = -1,
    ) -> Array:
        """Estimate the gradient of the expected loss; see :meth:`Estimator.gradient`.

        Only the loss and the direct gradient of the oracle's answer are used.
        """
        draw = self.sample(logits, rng=rng, noise=noise, index=index, mask=mask, axis=axis)
        rows = draw._rows
        loss, _, direct = evaluate(oracle, draw.value, rows.axis)
        xp = array_namespace(rows.log_probs)
        dtype = rows.log_probs.dtype
        with own_settings():
            advantage = rows.merge(xp.astype(loss - self._baseline(loss), dtype, copy=False))
            value = rows.adopt("value", draw.value, rows.n)
            estimate = rows.restore(advantage * (value - xp.exp(rows.log_probs)))
            if isinstance(self.baseline, RunningMean):
                self.baseline.update(loss)
            if direct is not None:
                estimate = estimate + direct
            return estimate if self.samples == 1 else xp.mean(estimate, axis=0)

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
