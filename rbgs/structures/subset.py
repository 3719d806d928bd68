"""Subsets of k elements."""

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rbgs.arrays.devices import device
from rbgs.arrays.engine import engine_for_numpy
from rbgs.arrays.inputs import check_count, check_option
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.ordering import argsort, cumulative_log_sum_exp, log_add_exp, log_sum_exp, picked
from rbgs.arrays.rows import Rows
from rbgs.arrays.simplex import clamp
from rbgs.arrays.typing import Array
from rbgs.structures.gibbs import centred, coins, covariance_product, marginals
from rbgs.structures.matroid import Matroid, State
from rbgs.structures.points import TraceSamples
from rbgs.structures.structure import Race
from rbgs.structures.trace import Trace

_RELAXATIONS = ("gibbs", "binary_entropy")


@dataclass(frozen=True, repr=False)
class Subset(Matroid):
    r"""A subset of k of n elements: those with the k largest perturbed logits.

    For logits :math:`\theta` ``(..., n)`` the value, of their shape, is 0/1 with k ones. The
    elements are drawn one after the other without replacement, each in proportion to
    :math:`e^{\theta_e}`. ``Subset(1)`` is a categorical variable.

    Parameters
    ----------
    k : int
        How many elements are taken, from 1 to n. A row that allows fewer cannot be answered.
    relaxation : {"gibbs", "binary_entropy"}
        What stands for the subset in the derivative, at the perturbed logits U.
        ``"gibbs"``: the marginals of the law :math:`p(S) \propto e^{\sum_{e \in S} U_e / \tau}`
        over k-subsets, which for k = 1 are the softmax; their Jacobian, a covariance, takes
        :math:`O(n \sqrt k)`.
        ``"binary_entropy"``: :math:`\mu_e = \sigma(U_e / \tau - c)` with :math:`\sum_e \mu_e = k`,
        in O(n); for k = 1 it is not the softmax.

    Raises
    ------
    ValueError
        k is below 1, or the relaxation unknown; later, k is larger than the number of elements.
    TypeError
        k is no int.

    Notes
    -----
    Logits are told apart to the digits of their dtype. Elements kept away by logits of -1e9 in
    single precision, where there are fewer than k others, are taken in their order, and the score
    of :class:`~rbgs.Reinforce` is wrong there: forbid them by a mask, which makes such a row NaN.

    References
    ----------
    - Paulus, Choi, Tarlow, Krause, Maddison (2020). Gradient estimation with stochastic softmax
      tricks. NeurIPS.
    - Amos, Koltun, Kolter (2019). The limited multi-label projection layer. arXiv 1906.08707.
      (Binary entropy.)

    Examples
    --------
    >>> import numpy as np, rbgs
    >>> estimator = rbgs.GumbelRao(0.5, structure=rbgs.Subset(2))
    >>> draw = estimator.sample(np.asarray([0.5, 2.0, -1.0, 1.0]), rng=0)
    >>> draw.value
    array([0., 1., 0., 1.])
    >>> bool(np.allclose(draw.jacobian().sum(axis=-1), 0))
    True
    """

    k: int
    relaxation: Literal["gibbs", "binary_entropy"] = "gibbs"

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", check_count("k", self.k))
        check_option("relaxation", self.relaxation, _RELAXATIONS)

    def __repr__(self) -> str:
        further = "" if self.relaxation == "gibbs" else f", {self.relaxation!r}"
        return f"Subset({self.k}{further})"

    def check(self, n: int) -> None:
        """Raise unless there are k elements."""
        if n < self.k:
            raise ValueError(f"{self} takes {self.k} elements, but the logits have {n}")

    def rank(self, n: int) -> int:
        """Return k."""
        return self.k

    def count(self, n: int) -> int:
        """Return the number of subsets."""
        return math.comb(n, self.k)

    def outcomes(self, n: int) -> np.ndarray:
        """Return the elements of all subsets, numbers ``(count, k)``."""
        return np.asarray(list(itertools.combinations(range(n), self.k)))

    @property
    def unrelaxed(self) -> "Subset":
        """The subset with the relaxation that is taken by default."""
        return Subset(self.k)

    def size(self, n: int) -> int:
        """Return how many numbers `product` needs for a point."""
        return 4 * n

    def start(self, like: Array) -> State:
        """Return that nothing is taken yet, and how many elements are to come."""
        xp = array_namespace(like)
        number = xp.zeros(like.shape[1:], dtype=xp.int32, device=device(like)) + self.k
        return xp.zeros(like.shape, dtype=xp.bool, device=device(like)), number

    def active(self, state: State) -> Array:
        """Return what is not taken, until k elements are."""
        taken, left = state
        return ~taken & (left > 0)

    def take(self, state: State, element: Array) -> State:
        """Return the state after an element was taken."""
        taken, left = state
        xp = array_namespace(taken)
        numbers = xp.arange(taken.shape[0], dtype=element.dtype, device=device(taken))
        return taken | (numbers[:, None] == element), left - 1

    def greedy(self, log_times: Array) -> Trace:
        """Return what a race shows: by sorting, not one element after the other."""
        xp = array_namespace(log_times)
        order = argsort(log_times)
        step = clamp(xp.astype(argsort(order), xp.int32), high=self.k - 1)
        return Trace(order[: self.k, :], step)

    def race(self, rows: Rows, uniforms: Array) -> Race:
        """Draw an outcome, and keep the exponentials that are left once its trace is known."""
        engine = engine_for_numpy(rows.log_probs)
        if engine is None:
            return super().race(rows, uniforms)
        order, step, winner, remaining = engine.race_of_subset(rows.log_probs, uniforms, self.k)
        rows = rows.only(winner[0, :] == winner[0, :])
        return Race(rows, Trace(order, step), winner, remaining)

    def compiled_product(self, points: TraceSamples, vector: Array) -> Array | None:
        """Return the mean of `product` over points in one loop, None where there is none."""
        engine = engine_for_numpy(points.log_probs)
        if engine is None:
            return None
        compiled: Array = engine.product_of_subset(points, vector, self.relaxation)
        return compiled

    def log_totals(self, log_probs: Array, trace: Trace) -> Array:
        """Return the logarithms of the rates' sums: from the end, without a difference."""
        xp = array_namespace(log_probs)
        others = log_sum_exp(xp.where(trace.taken, -math.inf, log_probs))
        from_end = xp.flip(picked(log_probs, trace.order), axis=0)
        return log_add_exp(xp.flip(cumulative_log_sum_exp(from_end), axis=0), others)

    def point(self, utilities: Array, trace: Trace) -> Array:
        """Return the relaxed subset."""
        taken = trace.taken[:, None, :]
        if self.k == utilities.shape[0]:
            return array_namespace(utilities).ones_like(utilities)
        found = coins(utilities, taken)
        return found.heads if self.relaxation == "binary_entropy" else marginals(found, self.k)

    def product(self, utilities: Array, trace: Trace, vector: Array) -> Array:
        """Return the derivative of `point` times a vector."""
        if self.k == utilities.shape[0]:  # there is no choice
            return array_namespace(utilities).zeros_like(utilities)
        found = coins(utilities, trace.taken[:, None, :])
        if self.relaxation == "gibbs":
            return covariance_product(found, self.k, vector)
        return found.variances * centred(found, vector)
