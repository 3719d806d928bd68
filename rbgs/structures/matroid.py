r"""Structures that a greedy algorithm finds: the bases of a matroid, as the race takes them.

Elements e arrive at the times :math:`T_e = E_e / \lambda_e`, with :math:`\lambda = e^\theta` and
iid standard exponentials E. An element that arrives is taken, unless those taken before *span* it.
What comes out is the best structure for the perturbed logits :math:`-\log T`. The order of takings
:math:`b_1, \dots, b_r` is the trace. With :math:`\Lambda_s` the sum of the rates of the elements
that are neither taken nor spanned before step s,

.. math:: p(b) = \prod_s \frac{\lambda_{b_s}}{\Lambda_s},

and given the trace, with fresh iid exponentials,

.. math::

    t_s = \sum_{q \le s} \frac{E_{b_q}}{\Lambda_q}, \qquad
    T_e = t_{s(e)} + [e \text{ not taken}] \frac{E_e}{\lambda_e},

where s(e) is the step at which e is taken or becomes spanned (Struminsky, Gadetsky, Rakitin,
Karpushkin, Vetrov 2021. Leveraging recursive gradient estimators for combinatorial structures.
arXiv 2110.15072). A categorical variable is the case of one taking.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import numpy as np

from rbgs.arrays.devices import device
from rbgs.arrays.inputs import check_like, check_shape
from rbgs.arrays.loops import over_samples
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.ordering import argsort, cumulative_log_sum_exp, log_sum_exp, picked
from rbgs.arrays.rows import Rows, categories_first, categories_restored, nan_unless
from rbgs.arrays.simplex import clamp, cumulative_sum, first_largest
from rbgs.arrays.typing import Array, Temperature
from rbgs.random.noise import exponential
from rbgs.structures.categorical import default_samples
from rbgs.structures.given import LARGEST, order_given, probs_and_drains
from rbgs.structures.points import TraceSamples
from rbgs.structures.structure import Law, Outcome, Race, Structure
from rbgs.structures.trace import Trace

# What a race has come to: arrays whose last axis is that of the rows.
State: TypeAlias = tuple[Array, ...]


@dataclass(frozen=True)
class Matroid(Structure):
    """A structure by what a greedy algorithm needs to know, and by its relaxation."""

    def check_number(self, index: int, n: int) -> NoReturn:
        """Raise: a number is no structure."""
        raise TypeError(
            f"index is the number {index}, but of {self} the outcome is a structure: an integer "
            "array of the logits' shape is wanted, 1 for each of its elements and 0 for the others"
        )

    @abstractmethod
    def rank(self, n: int) -> int:
        """Return how many elements are taken."""

    @abstractmethod
    def start(self, like: Array) -> State:
        """Return the state of a race before it begins, for log-rates ``(n, rows)``."""

    @abstractmethod
    def active(self, state: State) -> Array:
        """Return which elements are neither taken nor spanned, bool ``(n, rows)``."""

    @abstractmethod
    def take(self, state: State, element: Array) -> State:
        """Return the state after an element ``(rows,)`` was taken."""

    @abstractmethod
    def point(self, utilities: Array, trace: Trace) -> Array:
        """Return the relaxed structure ``(n, count, rows)`` at utilities of that shape.

        The trace is that of a greedy algorithm at these utilities. -inf forbids an element.
        """

    @abstractmethod
    def product(self, utilities: Array, trace: Trace, vector: Array) -> Array:
        """Return the derivative of `point` times a vector ``(n, 1, rows)``."""

    @abstractmethod
    def size(self, n: int) -> int:
        """Return how many numbers `product` needs for a point."""

    def compiled_product(self, points: TraceSamples, vector: Array) -> Array | None:
        """Return the mean of `product` over points in one loop, None where there is none."""
        return None

    def greedy(self, log_times: Array) -> Trace:
        """Return what a race shows whose elements arrive at times ``(n, rows)``."""
        xp, here = array_namespace(log_times), device(log_times)
        rank = self.rank(log_times.shape[0])
        numbers = xp.arange(rank, dtype=xp.arange(1, device=here).dtype, device=here)[:, None]
        # Made of the times: JAX then spreads them likewise.
        order = xp.zeros_like(numbers) + xp.astype(xp.zeros_like(log_times[:1, :]), numbers.dtype)
        step = xp.astype(xp.zeros_like(log_times), xp.int32)

        # Also a forbidden element comes before one that is spanned: what is taken is a structure.
        earliness = clamp(-log_times, low=-xp.finfo(log_times.dtype).max)

        def body(number: Any, _: int, carry: State) -> State:
            order, step, *state = carry
            active = self.active(tuple(state))
            first = first_largest(xp.where(active, earliness, -math.inf))
            order = xp.where(numbers == number, first, order)
            step = xp.where(active, xp.asarray(number, dtype=xp.int32, device=here), step)
            return (order, step, *self.take(tuple(state), first))

        carry = over_samples(log_times, 0, rank, 1, body, (order, step, *self.start(log_times)))
        return Trace(carry[0], carry[1])

    def log_totals(self, log_probs: Array, trace: Trace) -> Array:
        r"""Return :math:`\log \Lambda_s`, ``(r, rows)``."""
        xp = array_namespace(log_probs)
        rank = trace.order.shape[0]
        numbers = xp.arange(rank, dtype=xp.int32, device=device(log_probs))[:, None]
        is_active = trace.step[:, None, :] >= numbers
        return log_sum_exp(xp.where(is_active, log_probs[:, None, :], -math.inf))

    def race(self, rows: Rows, uniforms: Array) -> Race:
        """Draw an outcome, and keep the exponentials that are left once its trace is known."""
        xp, exponentials = array_namespace(uniforms), exponential(uniforms)
        log_probs = xp.where(rows.valid, rows.log_probs, 0.0)
        trace = self.greedy(xp.log(exponentials) - log_probs)
        log_totals = self.log_totals(log_probs, trace)
        # When a taking arrives, at E_q / λ_q, λ times that has passed of an active exponential.
        # The rates first: far logits have no digits left for an exponential.
        log_taken = picked(xp.log(exponentials), trace.order)
        of_taken = picked(log_probs, trace.order)
        passed = picked(log_taken, trace.step) + (log_probs - picked(of_taken, trace.step))
        until = xp.exp(log_taken + (log_totals - of_taken))
        since = xp.exp(log_taken[:-1, :] + (log_totals[1:, :] - of_taken[:-1, :]))
        since = xp.concat([xp.zeros_like(until[:1, :]), since], axis=0)
        others = exponentials - xp.exp(passed)
        taken, left = trace.taken, picked(until - since, trace.step)
        remaining = clamp(xp.where(taken, left, others), low=0.0)
        return self._race(rows, trace, taken, remaining)

    def given(self, rows: Rows, index: Array | int, exponentials: Array | None) -> Race:
        """Return a given structure, with a trace drawn from those that lead to it."""
        taken, chosen, possible = self._chosen(rows, index)
        rows = rows.only(possible)
        if exponentials is None:
            return self._race(rows, None, taken, None)
        xp = array_namespace(exponentials)
        log_probs = xp.where(rows.valid, rows.log_probs, 0.0)
        place, left = order_given(self, log_probs, chosen, picked(exponentials, chosen))
        at = clamp(cumulative_sum(xp.astype(taken, xp.int32)) - 1, low=0, high=chosen.shape[0] - 1)
        times = xp.where(taken, picked(place, at), place.shape[0])
        trace = self.greedy(xp.astype(times, log_probs.dtype))
        return self._race(rows, trace, taken, xp.where(taken, picked(left, at), exponentials))

    def _chosen(self, rows: Rows, index: Array | int) -> tuple[Array, Array, Array]:
        """Return which elements a given structure has, their numbers, and where it is one."""
        if isinstance(index, (int, np.integer)):
            self.check_number(int(index), rows.n)
        check_like("index", index, rows.log_probs, ("bool", "integral"))
        check_shape("index", index.shape, rows.shape(rows.n))
        index = categories_first(index, rows.axis, rows.sharding)
        xp, rank = array_namespace(index), self.rank(rows.n)
        index = xp.astype(index, xp.int32)
        taken = index == 1
        possible = xp.all(taken | (index == 0), axis=0)
        possible = possible & (xp.sum(xp.astype(taken, xp.int32), axis=0) == rank)
        chosen = argsort(xp.astype(~taken, xp.int32))[:rank, ...]
        state = self.start(rows.log_probs)
        for j in range(rank):  # none spans another
            active = xp.astype(self.active(state), xp.int32)
            possible = possible & (picked(active, chosen[j : j + 1, :])[0, :] == 1)
            state = self.take(state, chosen[j, :])
        return taken, chosen, possible

    def _race(
        self, rows: Rows, trace: Trace | None, taken: Array, exponentials: Array | None
    ) -> Race:
        """Return the end of a race; a row is not valid where a forbidden element was taken."""
        xp = array_namespace(taken)
        happens = ~taken | (rows.log_probs > -math.inf)
        rows = rows.only(xp.all(happens, axis=0))
        winner = xp.astype(taken, rows.log_probs.dtype)
        return Race(rows, trace, winner + nan_unless(rows.valid, winner), exponentials)

    def restored_index(self, rows: Rows, outcome: Outcome) -> Array:
        """Return the structure as integers 0 and 1, shaped like the logits."""
        winner = outcome.winner  # NaN in rows that are not valid
        xp = array_namespace(winner)
        taken = xp.where(xp.isnan(winner), -1.0, winner)
        taken = categories_restored(taken, rows.batch, rows.axis, rows.sharding)
        return xp.astype(taken, xp.arange(1, device=device(winner)).dtype)

    def relaxed(self, rows: Rows, temperature: Temperature) -> TraceSamples:
        """Return the Jacobian of the relaxation at the logits themselves."""
        xp, log_probs = array_namespace(rows.log_probs), rows.log_probs
        # Where all exponentials are 1, nothing is perturbed.
        race = self.race(rows, xp.full_like(log_probs, -math.expm1(-1.0)))
        order, step = race.index.order, race.index.step
        return TraceSamples(self, temperature, 1, log_probs, order, step, race.exponentials)

    def drawn(self, outcome: Outcome) -> TraceSamples:
        """Return the Jacobian at the perturbed logits of the race."""
        return self.samples(outcome, 1, None)

    def samples(
        self, outcome: Outcome, samples: int | None, control_variate: bool | None
    ) -> TraceSamples:
        """Return the mean Jacobian over points drawn given the trace."""
        log_probs, trace = outcome.rows.log_probs, outcome.index
        return TraceSamples(
            self,
            outcome.temperature,
            samples or default_samples(log_probs.shape[0]),
            log_probs,
            trace.order,
            trace.step,
            outcome.exponentials,
            outcome.key,
        )

    def score(self, outcome: Outcome) -> Array:
        r"""Return :math:`[e \text{ taken}] - \sum_{s \le s(e)} \lambda_e / \Lambda_s`."""
        xp, trace = array_namespace(outcome.winner), outcome.index
        log_probs = outcome.rows.log_probs
        passed = cumulative_log_sum_exp(-self.log_totals(log_probs, trace))
        return outcome.winner - xp.exp(log_probs + picked(passed, trace.step))

    def has_law(self, n: int) -> bool:
        """Tell whether a structure is so small that there is a table of its parts."""
        return self.rank(n) <= LARGEST

    def outcomes(self, n: int) -> np.ndarray:
        """Return the elements of all structures, numbers ``(count, r)`` in ascending order.

        One element after the other is taken, where it may be, or left, where the later ones
        complete the structure without it: so no beginning of a structure is in vain.
        """
        state, taken = self.start(np.zeros((n, 1))), np.zeros((n, 1), dtype=bool)
        for element in range(n):
            rest = state
            for later in range(element + 1, n):
                rest = self._grown(rest, later)
            left = np.flatnonzero(~np.any(self.active(rest), axis=0))
            added = np.flatnonzero(self.active(state)[element, :])
            grown = self._grown(state, element)
            state = tuple(
                np.concatenate([x[..., left], y[..., added]], axis=-1)
                for x, y in zip(state, grown, strict=True)
            )
            taken = np.concatenate([taken[:, left], taken[:, added]], axis=-1)
            taken[element, len(left) :] = True
        return np.nonzero(taken.T)[1].reshape(-1, self.rank(n))

    def _grown(self, state: State, element: int) -> State:
        """Return states of NumPy after an element was taken where it may be."""
        is_active = self.active(state)[element, :]
        grown = self.take(state, np.full(is_active.shape, element))
        return tuple(np.where(is_active, y, x) for x, y in zip(state, grown, strict=True))

    def law(self, log_probs: Array, elements: np.ndarray) -> Law:
        """Return the law of structures: by the table of the parts of each."""
        xp, (count, rank), (n, rows) = array_namespace(log_probs), elements.shape, log_probs.shape
        of_structures = xp.asarray(elements.T, device=device(log_probs))[:, :, None]
        chosen = xp.reshape(
            xp.broadcast_to(of_structures, (rank, count, rows)), (rank, count * rows)
        )
        log_rates = xp.reshape(
            xp.broadcast_to(log_probs[:, None, :], (n, count, rows)), (n, count * rows)
        )
        happens = xp.all(picked(log_rates, chosen) > -math.inf, axis=0)
        probs, drains = probs_and_drains(self, xp.where(happens, log_rates, 0.0), chosen)
        probs = xp.reshape(xp.where(happens, probs, 0.0), (count, rows))
        return Law(probs, xp.moveaxis(xp.reshape(drains, (n, count, rows)), 0, 1))
