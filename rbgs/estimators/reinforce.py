"""REINFORCE, the score-function estimator."""

import math
from dataclasses import dataclass

from rbgs.arrays.inputs import check_count
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.scalars import as_float, check_ordinary
from rbgs.arrays.simplex import clamp
from rbgs.arrays.typing import Array
from rbgs.draw import Operator
from rbgs.estimators.loss import Loss, beside
from rbgs.estimators.running import RunningDeviation, RunningMean
from rbgs.estimators.score_function import ScoreFunctionEstimator
from rbgs.structures.structure import Outcome, Structure, check_structure


@dataclass(frozen=True, eq=False, repr=False)
class Reinforce(ScoreFunctionEstimator):
    r"""REINFORCE: :math:`(f(D) - b)(D - p)`, unbiased, from values of the loss alone.

    For logits :math:`\theta` ``(..., n)``, f is the loss, p the softmax of :math:`\theta`, D the
    one-hot outcome and b a baseline. Every variable that shares a loss gets the signal
    :math:`f(D) - b`. The draw has a value and an index but no Jacobian: use :meth:`gradient`, or
    ``expectation`` of a framework, such as :func:`rbgs.torch.expectation`.

    Parameters
    ----------
    baseline : None, float, array ``(...,)``, RunningMean or "leave_one_out"
        The baseline b: none; a constant; an array that broadcasts against the losses; the running
        mean of the losses of earlier calls, as in the paper; or for each draw the mean loss of the
        others, which needs ``samples`` of at least 2. A learned baseline is an array.
    samples : int
        Outcomes drawn, and losses evaluated, for one estimate, which is the mean over them. Above
        1 they lie along a new leading axis of the value that the oracle gets.
    scale : float, array ``(...,)`` or RunningDeviation
        NVIL's variance normalisation: the signal is divided by :math:`\max(1, \sigma)`,
        :math:`\sigma` a constant, an array that broadcasts against the losses, or the running
        standard deviation of the signals of earlier calls. That changes the length of the estimate,
        as a learning rate does, and its mean with it. By default nothing is divided.
    structure : Subset, SpanningTree, ..., optional
        What is drawn instead of one category. The score is that of the trace, the order in which
        the elements are taken.

    Raises
    ------
    ValueError
        ``samples`` is below 1, or below 2 with ``"leave_one_out"``; the baseline is unknown;
        ``scale`` is negative or not finite.
    TypeError
        ``samples`` is not an int, or ``scale`` not a number or a floating array.

    References
    ----------
    - Williams (1992). Simple statistical gradient-following algorithms for connectionist
      reinforcement learning. Machine Learning 8.
    - Paulus, Maddison, Krause (2021). Rao-Blackwellizing the straight-through Gumbel-softmax
      gradient estimator. ICLR. (Eq. 2.)
    - Mnih, Gregor (2014). Neural variational inference and learning in belief networks. ICML.
      (Algorithm 1: learned baselines, variance normalisation.)
    - Kool, van Hoof, Welling (2019). Buy 4 REINFORCE samples, get a baseline for free! ICLR
      workshop. (Leave-one-out.)

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
    scale: Array | float | RunningDeviation = 1.0
    structure: Structure | None = None

    def __post_init__(self) -> None:
        check_structure("structure", self.structure)
        leave_one_out = isinstance(self.baseline, str) and self.baseline == "leave_one_out"
        samples = check_count("samples", self.samples, 2 if leave_one_out else 1)
        object.__setattr__(self, "samples", samples)
        if not isinstance(self.scale, RunningDeviation):
            scale = as_float("scale", self.scale)
            if isinstance(scale, float) and not 0 <= scale < math.inf:
                raise ValueError(f"scale must be finite and not negative, got {scale}")
            object.__setattr__(self, "scale", scale)
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
    def _random_given_outcome(self) -> bool:
        return self.structure is not None  # a structure leaves its trace open

    @property
    def _function_of_outcome(self) -> bool:
        states = (RunningMean, RunningDeviation)
        has_state = any(isinstance(x, states) for x in (self.baseline, self.scale))
        return super()._function_of_outcome and not has_state

    @property
    def _unbiased(self) -> bool:
        return isinstance(self.scale, float) and self.scale <= 1

    def _estimate(self, outcome: Outcome, operator: Operator | None, loss: Loss) -> Array:
        losses = loss.answer.loss
        signal = losses - self._baseline(losses)
        if isinstance(self.scale, RunningDeviation):
            scale: Array | float = self.scale.value
            self.scale.update(signal)
        else:
            scale = beside("scale", self.scale, losses)
        if isinstance(self.baseline, RunningMean):
            self.baseline.update(losses)
        scale = max(1.0, scale) if isinstance(scale, float) else clamp(scale, low=1.0)
        return self._score(outcome, signal / scale)

    def _baseline(self, losses: Array) -> Array | float:
        if self.baseline is None:
            return 0.0
        if isinstance(self.baseline, RunningMean):
            return self.baseline.value
        if isinstance(self.baseline, str):
            xp = array_namespace(losses)
            return (xp.sum(losses, axis=0, keepdims=True) - losses) / (self.samples - 1)
        return beside("baseline", self.baseline, losses)
