r"""The trace of a race, given the structure that came out.

A structure of r elements comes out in any order of them. With :math:`\Lambda(A)` the sum of the
rates of the elements that are neither in A nor spanned by it, the sum over the orders in which a
part A of the structure is taken first is

.. math:: m(A) = \sum_{b \in A} m(A \setminus b) \frac{\lambda_b}{\Lambda(A \setminus b)},

:math:`m(\emptyset) = 1`, and m of the whole is the probability of the structure. The terms are the
weights with which b is the last taken of A: so the order is drawn from its end.
"""

import itertools
from dataclasses import dataclass
from typing import Any, Protocol

from rbgs.arrays.devices import device
from rbgs.arrays.loops import over_rows
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.ordering import log_sum_exp, picked
from rbgs.arrays.simplex import clamp, first_largest, one_hot
from rbgs.arrays.typing import Array

# A table has a place for each part of a structure.
LARGEST = 12


class Greedy(Protocol):
    """What the law of the trace needs of a structure: see `rbgs.structures.matroid.Matroid`."""

    def start(self, like: Array) -> tuple[Array, ...]:
        """Return the state of a race before it begins."""

    def active(self, state: tuple[Array, ...]) -> Array:
        """Return which elements are neither taken nor spanned."""

    def take(self, state: tuple[Array, ...], element: Array) -> tuple[Array, ...]:
        """Return the state after an element was taken."""


def log_totals_of_parts(structure: Greedy, log_probs: Array, chosen: Array) -> Array:
    r"""Return :math:`\log \Lambda(A)` of all parts A ``(2 ** r, rows)``.

    The bits of the number of a part are its elements, numbers in ``chosen (r, rows)``.
    """
    xp = array_namespace(log_probs)
    rank, count = chosen.shape[0], 2 ** chosen.shape[0]
    if rank > LARGEST:
        raise ValueError(
            f"a structure of {rank} elements is given: its trace is known from a table of 2^{rank} "
            f"parts, and that is made for {LARGEST} elements at most. Draw the structure instead, "
            "or take an estimator that needs no trace, such as rbgs.StraightThrough"
        )

    def part(rows: slice) -> Array:
        log_rates, elements = log_probs[:, rows], chosen[:, rows]
        n, number = log_rates.shape
        state = structure.start(log_rates)
        for j in range(rank):
            repeated = xp.broadcast_to(elements[j, None, :], (2**j, number))
            further = structure.take(state, xp.reshape(repeated, (-1,)))
            state = tuple(xp.concat(pair, axis=-1) for pair in zip(state, further, strict=True))
        active = xp.reshape(structure.active(state), (n, count, number))
        return log_sum_exp(xp.where(active, log_rates[:, None, :], -xp.inf))

    size = max(1, 2**22 // (count * int(log_probs.shape[0])))
    return over_rows(xp, log_probs.shape[1], size, part)


@dataclass(frozen=True)
class Parts:
    """The table of all parts A of given structures.

    Attributes
    ----------
    chosen : integer array ``(r, rows)``
        The elements of the structure.
    log_totals, log_masses : arrays ``(2 ** r, rows)``
        log Λ(A) and log m(A).
    log_rates : array ``(r, rows)``
        log λ of the elements.
    """

    chosen: Array
    log_totals: Array
    log_masses: Array
    log_rates: Array

    @classmethod
    def of(cls, structure: Greedy, log_probs: Array, chosen: Array) -> "Parts":
        """Fill the table, the smaller parts first."""
        xp, here = array_namespace(log_probs), device(log_probs)
        log_totals = log_totals_of_parts(structure, log_probs, chosen)
        log_rates = picked(log_probs, chosen)
        rank = chosen.shape[0]
        levels = [xp.zeros_like(log_totals[:1, :])]
        for size in range(1, rank + 1):
            parts, before = _parts(rank, size), _parts(rank, size - 1)
            place = {part: at for at, part in enumerate(before)}
            last = [[j for j in range(rank) if part >> j & 1] for part in parts]
            shorter = [[p ^ (1 << j) for j in js] for p, js in zip(parts, last, strict=True)]
            count, rows = len(parts), log_probs.shape[1]

            def gathered(
                x: Array, numbers: Any, shape: tuple[int, ...] = (count, size, rows)
            ) -> Array:
                flat = list(itertools.chain.from_iterable(numbers))
                return xp.reshape(xp.take(x, xp.asarray(flat, device=here), axis=0), shape)

            at_shorter = [[place[p] for p in row] for row in shorter]
            terms = gathered(levels[-1], at_shorter) + gathered(log_rates, last)
            terms = terms - gathered(log_totals, shorter)
            levels.append(log_sum_exp(xp.moveaxis(terms, 1, 0)))
        sorted_by_size = [part for size in range(rank + 1) for part in _parts(rank, size)]
        back = sorted(range(2**rank), key=sorted_by_size.__getitem__)
        masses = xp.take(xp.concat(levels, axis=0), xp.asarray(back, device=here), axis=0)
        return cls(chosen, log_totals, masses, log_rates)

    def log_weights(self, part: Array) -> Array:
        """Return how each element weighs as the last one of a part ``(rows,)``: ``(r, rows)``.

        -inf for those that are not in it.
        """
        xp, bits = array_namespace(part), _bits(self.chosen)
        is_in = (part // bits) % 2 == 1
        shorter = clamp(part - bits, low=0)
        weights = (
            picked(self.log_masses, shorter) + self.log_rates - picked(self.log_totals, shorter)
        )
        return xp.where(is_in, weights, -xp.inf)


def _parts(rank: int, size: int) -> list[int]:
    return [part for part in range(2**rank) if part.bit_count() == size]


def order_given(
    structure: Greedy, log_probs: Array, chosen: Array, exponentials: Array
) -> tuple[Array, Array]:
    """Draw the order in which the elements of a given structure are taken.

    Parameters
    ----------
    structure : Matroid
        The structure.
    log_probs : array ``(n, rows)``
        Normalised log-rates.
    chosen : integer array ``(r, rows)``
        The elements.
    exponentials : array ``(r, rows)``
        iid standard ones.

    Returns
    -------
    place : integer array ``(r, rows)``
        The step at which each of them is taken.
    remaining : array ``(r, rows)``
        iid standard exponentials independent of that: each choice is a race of its own.
    """
    xp, rank = array_namespace(log_probs), chosen.shape[0]
    parts = Parts.of(structure, log_probs, chosen)
    place = xp.zeros_like(chosen)
    part = xp.zeros_like(chosen[0, :]) + (2**rank - 1)
    for step in range(rank - 1, -1, -1):
        log_weights = parts.log_weights(part)
        weights = xp.exp(log_weights - log_sum_exp(log_weights))
        speeds = weights / exponentials
        last = one_hot(clamp(first_largest(speeds), high=rank - 1), rank, chosen.dtype)
        arrival = 1 / xp.max(speeds, axis=0)
        is_left = log_weights > -xp.inf
        left = clamp(exponentials - weights * arrival, low=0.0)
        left = xp.where(last == 1, arrival, left)
        exponentials = xp.where(is_left, left, exponentials)
        place = place + last * step
        part = part - xp.sum(last * _bits(last), axis=0)
    return place, exponentials


def _bits(like: Array) -> Array:
    xp = array_namespace(like)
    rank = like.shape[0]
    return xp.asarray([1 << j for j in range(rank)], dtype=like.dtype, device=device(like))[:, None]
