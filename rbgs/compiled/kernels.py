"""The compiled engine's normalisation, race and Jacobian: see `rbgs.compiled.numpy`.

Arrays are flat, rows are taken from ``begin`` to ``end``: see `rbgs.compiled.blocks`.
"""

import numpy as np

from rbgs.compiled.blocks import category_numbers, pack, pack_rows, sizes_of, sum_of, unpack
from rbgs.compiled.compiler import jit
from rbgs.compiled.math import exp, log, log1p
from rbgs.compiled.vectors import (
    lanes_of,
    largest_of_lanes,
    load,
    select,
    spread,
    store,
)


@jit
def normalise(log_probs, valid, begin, end, n, over_categories, logits):
    """Write what `rbgs.arrays.rows.normalise` returns."""
    lanes, zero = lanes_of(logits), spread(logits.dtype.type(0), logits)
    size, step = sizes_of(logits, n, over_categories)
    rows = logits.size // n
    block, totals = np.empty(size, logits.dtype), np.empty(lanes, logits.dtype)
    for first in range(begin, end, step):
        pack(block, logits, first, n, rows, over_categories, -np.inf)
        top = zero - np.inf
        for at in range(0, size, lanes):
            x = load(block, at)
            top = select(x > top, x, top)
        if over_categories:
            top = largest_of_lanes(top)
        total = zero
        for at in range(0, size, lanes):
            total = total + exp(load(block, at) - top)
        total = sum_of(total, over_categories)
        store(totals, 0, total)
        for lane in range(min(step, end - first)):
            # NaN if one of the logits is NaN or +inf, or all are -inf.
            valid[first + lane] = totals[lane] == totals[lane]
        logarithm = log(total) + (total - total)
        for at in range(0, size, lanes):
            # Not x - (top + log total): next to a large top the logarithm is lost.
            store(block, at, (load(block, at) - top) - logarithm)
        unpack(log_probs, block, first, end, n, rows, over_categories)


@jit
def race(index, winner, remaining, begin, end, n, over_categories, log_probs, uniforms, low, high):
    """Write what `rbgs.conditional.race` returns; the winner's vectors are row by row."""
    dtype, lanes = log_probs.dtype, lanes_of(log_probs)
    size, step = sizes_of(log_probs, n, over_categories)
    rows = log_probs.size // n
    probs, exponentials = np.empty(size, dtype), np.empty(size, dtype)
    places = np.empty(lanes, np.int32)
    zero = spread(dtype.type(0), log_probs)
    numbers, further = category_numbers(log_probs, over_categories)
    for first in range(begin, end, step):
        pack(probs, log_probs, first, n, rows, over_categories, -np.inf)
        pack(exponentials, uniforms, first, n, rows, over_categories, 0.5)
        best, place, number = zero - np.inf, numbers ^ numbers | n, numbers
        for at in range(0, size, lanes):
            u = load(exponentials, at)
            u = select(u < low, low, u)
            u = select(u > high, high, u)
            e, p = zero - log1p(zero - u), exp(load(probs, at))
            store(exponentials, at, e)
            store(probs, at, p)
            speed = p / e
            better = speed > best
            best, place = select(better, speed, best), select(better, number, place)
            number = number + further
        if over_categories:
            largest = largest_of_lanes(best)
            store(places, 0, select(best == largest, place, n))
            best, found = largest, n
            for lane in range(lanes):
                found = min(found, places[lane])
            place = place ^ place | found
        store(places, 0, place)
        for row in range(first, min(first + step, end)):
            place_of_row = places[row - first]
            index[row] = place_of_row
            # NaN where nothing is the best.
            value = dtype.type(0 if place_of_row < n else np.nan)
            for at in range(row * n, (row + 1) * n):
                winner[at] = value
            if place_of_row < n:
                winner[row * n + place_of_row] = 1
        arrival, number = 1 / best, numbers
        for at in range(0, size, lanes):
            left = load(exponentials, at) - load(probs, at) * arrival
            left = select(left < 0, 0, left)
            here = number == place
            store(exponentials, at, select(here, arrival, left))
            number = number + further
        unpack(remaining, exponentials, first, end, n, rows, over_categories)


@jit
def add_jacobian(out, begin, end, n, over_categories, points, vector, scales):
    """Add `rbgs.arrays.simplex.jacobian_product` at one point of each row.

    ``scales`` has one element or one for each row: a weight over the temperature.
    """
    dtype, lanes = vector.dtype, lanes_of(vector)
    size, step = sizes_of(vector, n, over_categories)
    rows = vector.size // n
    point, vec, total = np.empty(size, dtype), np.empty(size, dtype), np.empty(size, dtype)
    zero, of_lanes = spread(dtype.type(0), vector), np.empty(lanes, dtype)
    scale = zero
    for first in range(begin, end, step):
        pack(point, points, first, n, rows, over_categories, 0)
        pack(vec, vector, first, n, rows, over_categories, 0)
        pack(total, out, first, n, rows, over_categories, 0)
        if first == begin or scales.size > 1:
            pack_rows(of_lanes, scales, first, over_categories)
            scale = load(of_lanes, 0)
        for _ in range(2):  # the second time, what rounding left of the mean
            mean = zero
            for at in range(0, size, lanes):
                mean = mean + load(point, at) * load(vec, at)
            mean = sum_of(mean, over_categories)
            for at in range(0, size, lanes):
                store(vec, at, load(vec, at) - mean)
        for at in range(0, size, lanes):
            added = load(point, at) * load(vec, at) * scale
            store(total, at, load(total, at) + added)
        unpack(out, total, first, end, n, rows, over_categories)
