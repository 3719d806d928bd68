"""Blocks of what is taken: k slots of each row, beside the n elements of `rbgs.compiled.blocks`.

The lanes are rows, or the takings of one row. Where they are rows, slot s of lane l lies at
``s * lanes + l``.
"""

import numpy as np

from rbgs.compiled.blocks import sum_of
from rbgs.compiled.compiler import inlined
from rbgs.compiled.math import exp, log, log1p
from rbgs.compiled.vectors import lanes_of, largest_of_lanes, load, select, spread, store


@inlined
def write_places(places, order, first, n, k, rows, over_categories):
    """Write where in a block of n elements those lie that were taken.

    ``order`` is row by row, and anything in a row that cannot be answered.
    """
    lanes = 1 if over_categories else places.size // k
    for lane in range(lanes):
        row = min(first + lane, rows - 1)
        for s in range(k):
            places[s * lanes + lane] = min(max(order[row * k + s], 0), n - 1) * lanes + lane


@inlined
def take(taken, begin, block, places, beyond):
    """Copy what was taken out of a block to the slots of another one from a place on."""
    for i in range(places.size):
        taken[begin + i] = block[places[i]]
    for i in range(begin + places.size, taken.size):
        taken[i] = beyond


@inlined
def slot(taken, s, over_categories):
    """Return one slot in all lanes."""
    return spread(taken[s], taken) if over_categories else load(taken, s * lanes_of(taken))


@inlined
def write_log_left(left, log_taken, log_others, k, over_categories):
    """Write the logarithm of the sum of rates that are in the race before each taking.

    ``log_others`` is the block of all elements, -inf at those that were taken.
    """
    lanes = lanes_of(left)
    zero, of_lanes = spread(left.dtype.type(0), left), np.empty(lanes, left.dtype)
    top = zero - np.finfo(left.dtype).max
    for at in range(0, log_others.size, lanes):
        x = load(log_others, at)
        top = select(x > top, x, top)
    if over_categories:
        top = largest_of_lanes(top)
    total = zero
    for at in range(0, log_others.size, lanes):
        total = total + exp(load(log_others, at) - top)
    total = top + log(sum_of(total, over_categories))
    for s in range(k - 1, -1, -1):
        x = slot(log_taken, s, over_categories)
        larger = select(x > total, x, total)
        smaller = select(x > total, total, x)
        # A logarithm of NaN is none.
        total = select(x == x, larger + log1p(exp(smaller - larger)), np.nan)
        store(of_lanes, 0, total)
        for lane in range(1 if over_categories else lanes):
            left[s * (1 if over_categories else lanes) + lane] = of_lanes[lane]
