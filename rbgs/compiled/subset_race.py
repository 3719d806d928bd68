"""The compiled race for the first k elements: see `rbgs.structures.matroid`.

Arrays are flat, rows are taken from ``begin`` to ``end``: see `rbgs.compiled.blocks`.
"""

import numpy as np

from rbgs.compiled.blocks import pack, sizes_of, unpack
from rbgs.compiled.compiler import inlined, jit
from rbgs.compiled.math import exp, log, log1p
from rbgs.compiled.subset_blocks import slot, take, write_log_left, write_places
from rbgs.compiled.vectors import lanes_of, load, select, spread, store


@inlined
def _sift(heap, i, size, utilities, start, step):
    """Move an element down a heap, whose first one is the last to arrive."""
    moved = heap[i]
    x = utilities[start + moved * step]
    while 2 * i + 1 < size:
        child = 2 * i + 1
        y = utilities[start + heap[child] * step]
        if child + 1 < size:
            other = utilities[start + heap[child + 1] * step]
            if other < y or (other == y and heap[child + 1] > heap[child]):
                child, y = child + 1, other
        if y > x or (y == x and heap[child] < moved):
            break
        heap[i] = heap[child]
        i = child
    heap[i] = moved


@jit
def first_arrivals(heap, utilities, start, step, n):
    """Fill an array with the elements of the largest utilities, the largest first.

    Of equal ones the first counts. The utilities lie ``step`` apart, from ``start`` on.
    """
    k = heap.size
    for i in range(k):
        heap[i] = i
    for i in range(k // 2 - 1, -1, -1):
        _sift(heap, i, k, utilities, start, step)
    for j in range(k, n):
        if utilities[start + j * step] > utilities[start + heap[0] * step]:
            heap[0] = j
            _sift(heap, 0, k, utilities, start, step)
    for size in range(k - 1, 0, -1):
        heap[0], heap[size] = heap[size], heap[0]
        _sift(heap, 0, size, utilities, start, step)


@jit
def race_of_subset(
    order, value, remaining, begin, end, n, over_categories, log_probs, uniforms, low, high
):
    """Write the order of the takings, row by row, the subset and the remaining exponentials."""
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
    zero = spread(dtype.type(0), log_probs)
    for first in range(begin, end, step):
        pack(logs, log_probs, first, n, rows, over_categories, -np.inf)
        pack(exponentials, uniforms, first, n, rows, over_categories, 0.5)
        for at in range(0, size, lanes):
            u = load(exponentials, at)
            u = select(u < low, low, u)
            u = select(u > high, high, u)
            e = zero - log1p(zero - u)
            store(exponentials, at, e)
            store(result, at, load(logs, at) - log(e))
        for lane in range(1 if over_categories else min(lanes, end - first)):
            row = first + lane
            heap = order[row * k : (row + 1) * k]
            first_arrivals(heap, result, lane, 1 if over_categories else lanes, n)
        write_places(places, order, first, n, k, rows, over_categories)
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
        for at in range(0, size, lanes):
            passed = exp((load(logs, at) - rate) + time)
            e = load(exponentials, at) - passed
            store(exponentials, at, select(e < 0, 0, e))
            # NaN where a rate is.
            store(result, at, passed - passed)
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
        unpack(value, result, first, end, n, rows, over_categories)
        unpack(remaining, exponentials, first, end, n, rows, over_categories)
