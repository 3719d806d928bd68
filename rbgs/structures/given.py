r"""The trace of a race, given the structure that came out.

A structure S of r elements comes out in any order of them. With :math:`\Lambda(A)` the sum of the
rates of the elements that are neither in A nor spanned by it, and 1 for the whole, the probability
that a part A of the structure is taken first, in any order, is :math:`m(A) \Lambda(A)` with

.. math:: m(A) = \frac{1}{\Lambda(A)} \sum_{b \in A} m(A \setminus b) \lambda_b, \qquad
    m(\emptyset) = \frac{1}{\Lambda(\emptyset)},

and m(S) is the probability of the structure. The terms are the weights with which b is the last
taken of A: so the order is drawn from its end. The probability v(A) that the rest follows is the
same recursion from the other end, :math:`v(A) = \sum_{b \in S \setminus A} v(A \cup b) \lambda_b /
\Lambda(A)`, v(S) = 1. Both together give the derivative,

.. math:: \frac{\partial \log m(S)}{\partial \theta_e} = [e \in S] - \lambda_e
    \sum_{A : e \text{ neither in nor spanned}} \frac{m(A) v(A)}{m(S)}.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

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


def active_given_parts(structure: Greedy, log_probs: Array, chosen: Array) -> Array:
    """Return which elements are neither in a part nor spanned by it, bool ``(n, 2 ** r, rows)``.

    The bits of the number of a part are its elements, numbers in ``chosen (r, rows)``.
    """
    xp, (rank, rows) = array_namespace(log_probs), chosen.shape
    if rank > LARGEST:
        raise ValueError(
            f"a structure of {rank} elements is given: its trace is known from a table of 2^{rank} "
            f"parts, and that is made for {LARGEST} elements at most. Draw the structure instead, "
            "or take an estimator that needs no trace, such as rbgs.StraightThrough"
        )
    state = structure.start(log_probs)
    for j in range(rank):
        repeated = xp.broadcast_to(chosen[j, None, :], (2**j, rows))
        further = structure.take(state, xp.reshape(repeated, (-1,)))
        state = tuple(xp.concat(pair, axis=-1) for pair in zip(state, further, strict=True))
    return xp.reshape(structure.active(state), (log_probs.shape[0], 2**rank, rows))


def _over_rows(log_probs: Array, chosen: Array, part: Callable[[Array, Array], Array]) -> Array:
    """Return ``part`` of log-rates and elements, block by block of rows."""
    size = max(1, 2**22 // (2 ** chosen.shape[0] * int(log_probs.shape[0])))
    return over_rows(
        array_namespace(log_probs),
        log_probs.shape[1],
        size,
        lambda rows: part(log_probs[:, rows], chosen[:, rows]),
    )


@dataclass(frozen=True)
class Parts:
    """The table of all parts A of given structures.

    Attributes
    ----------
    log_totals, log_masses : arrays ``(2 ** r, rows)``
        log Λ(A) and log m(A).
    log_rates : array ``(r, rows)``
        log λ of the elements.
    """

    log_totals: Array
    log_masses: Array
    log_rates: Array

    @classmethod
    def of(cls, structure: Greedy, log_probs: Array, chosen: Array) -> "Parts":
        """Fill the table for elements ``chosen (r, rows)``."""

        def totals(log_probs: Array, chosen: Array) -> Array:
            active = active_given_parts(structure, log_probs, chosen)
            return _log_totals(active, log_probs)

        log_totals = _over_rows(log_probs, chosen, totals)
        log_rates = picked(log_probs, chosen)
        return cls(log_totals, _log_masses(log_totals, log_rates), log_rates)

    @property
    def log_rests(self) -> Array:
        """Log v(A): the recursion of m for what is left of the structure, numbered backwards."""
        xp = array_namespace(self.log_totals)
        of_rest = xp.flip(self.log_totals, axis=0)
        return xp.flip(_log_masses(of_rest, self.log_rates), axis=0)

    def log_weights(self, part: Array) -> Array:
        """Return how each element weighs as the last one of a part ``(rows,)``: ``(r, rows)``.

        -inf for those that are not in it.
        """
        xp = array_namespace(part)
        bits = _bits(self.log_rates.shape[0], part)
        is_in = (part // bits) % 2 == 1
        shorter = clamp(part - bits, low=0)
        return xp.where(is_in, picked(self.log_masses, shorter) + self.log_rates, -math.inf)


def _log_totals(active: Array, log_probs: Array) -> Array:
    xp = array_namespace(log_probs)
    log_totals = log_sum_exp(xp.where(active, log_probs[:, None, :], -math.inf))
    return xp.concat([log_totals[:-1, :], xp.zeros_like(log_totals[:1, :])], axis=0)


def _log_masses(log_totals: Array, log_rates: Array) -> Array:
    """Return log m(A) of all parts, the smaller ones first."""
    xp, here = array_namespace(log_totals), device(log_totals)
    rank, rows = log_rates.shape
    levels = [-log_totals[:1, :]]
    for size in range(1, rank + 1):
        parts, before = _parts(rank, size), _parts(rank, size - 1)
        place = {part: at for at, part in enumerate(before)}
        last = [[j for j in range(rank) if part >> j & 1] for part in parts]
        shorter = [[place[p ^ (1 << j)] for j in js] for p, js in zip(parts, last, strict=True)]

        def gathered(x: Array, numbers: list[list[int]]) -> Array:
            flat = xp.asarray(list(itertools.chain.from_iterable(numbers)), device=here)
            return xp.reshape(xp.take(x, flat, axis=0), (len(numbers), len(numbers[0]), rows))

        terms = gathered(levels[-1], shorter) + gathered(log_rates, last)
        totals = xp.take(log_totals, xp.asarray(parts, device=here), axis=0)
        levels.append(log_sum_exp(xp.moveaxis(terms, 1, 0)) - totals)
    sorted_by_size = [part for size in range(rank + 1) for part in _parts(rank, size)]
    back = sorted(range(2**rank), key=sorted_by_size.__getitem__)
    return xp.take(xp.concat(levels, axis=0), xp.asarray(back, device=here), axis=0)


def _parts(rank: int, size: int) -> list[int]:
    return [part for part in range(2**rank) if part.bit_count() == size]


def probs_and_drains(structure: Greedy, log_probs: Array, chosen: Array) -> tuple[Array, Array]:
    r"""Return the probabilities of structures, and what their score has subtracted.

    Parameters
    ----------
    structure : Matroid
        The structure.
    log_probs : array ``(n, rows)``
        Normalised log-rates, those of the elements chosen finite.
    chosen : integer array ``(r, rows)``
        The elements.

    Returns
    -------
    arrays ``(rows,)`` and ``(n, rows)``
        m(S), and the mean over the traces of S of :math:`\sum_{s \le s(e)} \lambda_e / \Lambda_s`.
    """
    xp = array_namespace(log_probs)

    def part(log_probs: Array, chosen: Array) -> Array:
        active = active_given_parts(structure, log_probs, chosen)
        log_totals, log_rates = _log_totals(active, log_probs), picked(log_probs, chosen)
        parts = Parts(log_totals, _log_masses(log_totals, log_rates), log_rates)
        whole = parts.log_masses[-1:, :]
        visits = log_probs[:, None, :] + (parts.log_masses + parts.log_rests - whole)
        drains = xp.sum(xp.exp(xp.where(active, visits, -math.inf)), axis=1)
        return xp.concat([xp.exp(whole), drains], axis=0)

    found = _over_rows(log_probs, chosen, part)
    return found[0, :], found[1:, :]


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
        is_left = log_weights > -math.inf
        left = clamp(exponentials - weights * arrival, low=0.0)
        left = xp.where(last == 1, arrival, left)
        exponentials = xp.where(is_left, left, exponentials)
        place = place + last * step
        part = part - xp.sum(last * _bits(rank, last), axis=0)
    return place, exponentials


def _bits(rank: int, like: Array) -> Array:
    xp = array_namespace(like)
    return xp.asarray([1 << j for j in range(rank)], dtype=like.dtype, device=device(like))[:, None]
