"""Coins that stand for k-subsets in the compiled engine: see `rbgs.structures.gibbs`.

An element that was taken counts by the probability that its coin does not show it, so that no
digits are lost.
"""

from typing import Any, NamedTuple

import numpy as np

from rbgs.compiled.blocks import sum_of
from rbgs.compiled.compiler import inlined
from rbgs.compiled.math import exp, log
from rbgs.compiled.vectors import is_any, lanes_of, load, select, spread, sqrt, store

# Newton steps at most, and what tilt may be left where the coins need only show about k.
_STEPS, _ENOUGH = 30, 0.1


class Coins(NamedTuple):
    """Arrays of one block: first the n elements that were not taken, then the k that were.

    Each kind has an even number of vectors, the last of them with odds of 0. ``relative`` are the
    odds before the tilt; ``p``, ``q``, ``t``, ``w`` and ``wt`` of those after it. In the end, ``p``
    has sums and products of two.
    """

    relative: Any
    p: Any
    q: Any
    t: Any
    w: Any
    wt: Any
    vec: Any
    total: Any


@inlined
def _toss(coins, begin, end, factor, over_categories):
    """Write p and q of odds times a factor; return their sums, and that of q times the vector."""
    zero = factor - factor
    p_total, q_total, dot = zero, zero, zero
    for at in range(begin, end, lanes_of(coins.p)):
        odds = load(coins.relative, at) * factor
        inverse = 1 / (1 + odds)
        p = odds * inverse
        q = p * inverse
        store(coins.p, at, p)
        store(coins.q, at, q)
        p_total, q_total = p_total + p, q_total + q
        dot = dot + q * load(coins.vec, at)
    return (
        sum_of(p_total, over_categories),
        sum_of(q_total, over_categories),
        sum_of(dot, over_categories),
    )


@inlined
def toss(coins, size, tilt, precise, over_categories):
    """Write p and q of coins of which k show 1 on average.

    Nearly k, unless ``precise``. As many of those taken are to be wrong as of the others: the ratio
    falls with the tilt by 1 to 2 in logarithm, so Newton's method needs no safeguard. It starts
    from where it ended in the sample before, beside what is exact if all odds are small. Returned
    are the tilt, the sums of q of both kinds, and the mean of the vector with the weights q.
    """
    lanes = lanes_of(coins.p)
    zero = spread(coins.p.dtype.type(0), coins.p)
    tiny = np.finfo(coins.p.dtype).tiny
    enough = coins.p.dtype.type(np.sqrt(np.finfo(coins.p.dtype).eps) if precise else _ENOUGH)
    others, taken = zero, zero
    for at in range(0, size, lanes):
        others = others + load(coins.relative, at)
    for at in range(size, coins.p.size, lanes):
        taken = taken + load(coins.relative, at)
    others, taken = sum_of(others, over_categories), sum_of(taken, over_categories)
    start = sqrt(taken / others)
    # Without others there is no choice.
    is_open = others > tiny
    inverse, start = select(is_open, 1 / start, zero), select(is_open, start, zero)
    settled = False
    q0, q1, dot = zero, zero, zero
    for _ in range(_STEPS):
        p0, q0, dot0 = _toss(coins, 0, size, start * exp(tilt), over_categories)
        p1, q1, dot1 = _toss(coins, size, coins.p.size, inverse * exp(zero - tilt), over_categories)
        dot = dot0 + dot1
        p0, p1 = select(p0 > tiny, p0, tiny), select(p1 > tiny, p1, tiny)
        step = log(p1 / p0) / (q0 / p0 + q1 / p1)
        square = step * step
        # NaN in a row that cannot be answered.
        step = select(square > 0, step, 0)
        if settled:
            break
        settled = not is_any(square > enough * enough)
        tilt = tilt + step
        if settled and not precise:
            break
    q_total = q0 + q1
    mean = dot / select(q_total > tiny, q_total, tiny)
    return tilt, q0, q1, mean


@inlined
def add_binary_entropy(coins, mean):
    """Add the Jacobian of the coins themselves times the vector."""
    for at in range(0, coins.p.size, lanes_of(coins.p)):
        added = load(coins.q, at) * (load(coins.vec, at) - mean)
        store(coins.total, at, load(coins.total, at) + added)
