"""The compiled race for the first k elements: see `rbgs.structures.matroid`.

Arrays are flat, rows are taken from ``begin`` to ``end``: see `rbgs.compiled.blocks`.
"""

import numpy as np

from rbgs.compiled.blocks import pack, sizes_of, unpack
from rbgs.compiled.compiler import inlined, jit
from rbgs.compiled.math import exp, log, log1p
from rbgs.compiled.subset_blocks import slot, take, write_log_left
from rbgs.compiled.vectors import is_any, lanes_of, load, load_beside, select, spread, store


@inlined
def _sift(heap, i, size, utilities):
    """Move an element down a heap, whose first one is the last to arrive."""
    moved = heap[i]
    x = utilities[moved]
    while 2 * i + 1 < size:
        child = 2 * i + 1
        y = utilities[heap[child]]
        if child + 1 < size:
            other = utilities[heap[child + 1]]
            if other < y or (other == y and heap[child + 1] > heap[child]):
                child, y = child + 1, other
        if y > x or (y == x and heap[child] < moved):
            break
        heap[i] = heap[child]
        i = child
    heap[i] = moved


@inlined
def _sort(heap, utilities, n):
    """Write the elements of the largest utilities of a row, in order."""
    k = heap.size
    for i in range(k):
        heap[i] = i
    for i in range(k // 2 - 1, -1, -1):
        _sift(heap, i, k, utilities)
    for j in range(k, n):
        if utilities[j] > utilities[heap[0]]:
            heap[0] = j
            _sift(heap, 0, k, utilities)
    for size in range(k - 1, 0, -1):
        heap[0], heap[size] = heap[size], heap[0]
        _sift(heap, 0, size, utilities)


@inlined
def _insert(best, numbers, utilities):
    """Write the largest utilities of all lanes and the numbers of their elements, in order."""
    lanes = lanes_of(best)
    zero = spread(best.dtype.type(0), best)
    number = load_beside(numbers, 0, zero)
    number = number ^ number
    for at in range(0, best.size, lanes):
        store(best, at, zero - np.inf)
        store(numbers, at, number)
    for at in range(0, utilities.size, lanes):
        x, i = load(utilities, at), number
        if is_any(x > load(best, best.size - lanes)):
            is_first = x < x
            for place in range(0, best.size, lanes):
                y, j = load(best, place), load_beside(numbers, place, zero)
                # What it comes before moves on, also where that equals the next one.
                is_first = is_first | (x > y)
                store(best, place, select(is_first, x, y))
                store(numbers, place, select(is_first, i, j))
                x, i = select(is_first, y, x), select(is_first, j, i)
        number = number + 1


@jit
def race_of_subset(
    order, steps, subset, remaining, begin, end, n, over_categories, log_probs, uniforms, low, high
):
    """Write what `rbgs.structures.matroid.Matroid.race` finds.

    That is the order of the takings, row by row, and with the arrays of all elements laid out as
    the log-probabilities are: their steps, where they are not the last one; the subset, NaN in a
    row that has none; and the remaining exponentials.
    """
    dtype, lanes = log_probs.dtype, lanes_of(log_probs)
    size, step = sizes_of(log_probs, n, over_categories)
    rows = log_probs.size // n
    k = order.size // rows
    of_taken, _ = sizes_of(log_probs, k, over_categories)
    logs, exponentials, result = np.empty(size, dtype), np.empty(size, dtype), np.empty(size, dtype)
    places = np.empty(k * (1 if over_categories else lanes), np.int32)
    rates, left = np.empty(of_taken, dtype), np.empty(of_taken, dtype)
    # Before the first slot: an arrival so early that its time is 0.
    before = lanes - 1 if over_categories else 0
    log_times, log_rates = np.empty(lanes + of_taken, dtype), np.empty(lanes + of_taken, dtype)
    zero, lowest = spread(dtype.type(0), log_probs), -np.finfo(dtype).max
    for first in range(begin, end, step):
        pack(logs, log_probs, first, n, rows, over_categories, -np.inf)
        pack(exponentials, uniforms, first, n, rows, over_categories, 0.5)
        for at in range(0, size, lanes):
            u = load(exponentials, at)
            u = select(u < low, low, u)
            u = select(u > high, high, u)
            e = zero - log1p(zero - u)
            store(exponentials, at, e)
            # Also a forbidden element comes before none at all.
            utility = load(logs, at) - log(e)
            store(result, at, select(utility > lowest, utility, lowest))
        if over_categories:
            _sort(places, result, n)
        else:
            _insert(rates, places, result)
        for i in range(places.size):
            s, lane = (i, 0) if over_categories else (i // lanes, i % lanes)
            row, element = first + lane, places[i]
            if row < end:
                order[row * k + s] = element
                steps[row * n + element if over_categories else element * rows + row] = s
            places[i] = element if over_categories else element * lanes + lane
        take(log_rates, lanes, logs, places, 0)
        take(rates, 0, logs, places, 0)
        take(log_times, lanes, exponentials, places, 1)
        for i in range(lanes):
            log_rates[i], log_times[i] = 0, -np.inf
        for at in range(lanes, lanes + of_taken, lanes):
            store(log_times, at, log(load(log_times, at)))
        # The last one taken gives the time that counts for the others.
        rate = slot(log_rates[lanes:], k - 1, over_categories)
        time = slot(log_times[lanes:], k - 1, over_categories)
        # NaN where a forbidden element was taken.
        nothing = select(rate > lowest, zero, np.nan)
        for at in range(0, size, lanes):
            passed = exp((load(logs, at) - rate) + time)
            e = load(exponentials, at) - passed
            store(exponentials, at, select(e < 0, 0, e))
            store(result, at, nothing)
        for i in range(places.size):
            logs[places[i]] = -np.inf
            result[places[i]] += 1
        write_log_left(left, rates, logs, k, over_categories)
        for at in range(0, of_taken, lanes):
            total = load(left, at)
            now = exp(load(log_times, lanes + at) + (total - load(log_rates, lanes + at)))
            past = exp(load(log_times, before + at) + (total - load(log_rates, before + at)))
            e = now - past
            store(left, at, select(e < 0, 0, e))
        for i in range(places.size):
            exponentials[places[i]] = left[i]
        unpack(subset, result, first, end, n, rows, over_categories)
        unpack(remaining, exponentials, first, end, n, rows, over_categories)
