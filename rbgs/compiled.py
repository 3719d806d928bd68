"""The race and the product of `rbgs.samples` compiled by Numba, for NumPy arrays: extra ``fast``.

The same mathematics in one loop: for a few dozen rows at a time, one lane each, points are made,
used and forgotten in the first cache.

This module is imported only when it is used: see `rbgs.engine.set_compiled`.
"""

from functools import partial
from typing import Any

import numpy as np

from rbgs import control_variate
from rbgs._typing import Array
from rbgs.compiled_math import exp, jit, log, log1p, threefry, uniform_double, uniform_single
from rbgs.conditional import lowest_log_prob
from rbgs.engine import share_work
from rbgs.lattice import generators


@jit
def _fraction(x, one):
    return x - one if x >= one else x


@jit
def _pack(block, x, first):
    """Copy the lanes of some rows; behind the last row it is repeated."""
    rows = x.shape[1]
    for j in range(x.shape[0]):
        for lane in range(block.shape[1]):
            block[j, lane] = x[j, min(first + lane, rows - 1)]


@jit
def _lattice_winner(inverse, phase, shift):
    """Write 1 / E_i of a point of the lattice."""
    one = shift.dtype.type(1)
    least = shift.dtype.type(np.finfo(shift.dtype).eps / 4)
    for lane in range(shift.shape[0]):
        u = _fraction(phase + shift[lane], one)
        inverse[lane] = one / -log1p(-(least if u < least else u))


@jit
def _lattice(e, phases, column, shift):
    """Write all E_j of a point of the lattice."""
    one = shift.dtype.type(1)
    generator = 1
    for j in range(e.shape[0]):
        phase = phases[generator, column]
        generator = generator + 1 if generator + 1 < phases.shape[0] else 1
        for lane in range(e.shape[1]):
            e[j, lane] = -log1p(-_fraction(phase + shift[j, lane], one))


@jit
def _independent(e, k, key):
    """Write all E_j of sample k of the counter-based generator."""
    n, lanes = e.shape
    sample = np.uint32(k)
    if e.itemsize == 4:
        half = (n + 1) // 2
        for j in range(half):
            # With an odd n the last second word has no use: the first one overwrites it.
            other = j + half if j + half < n else j
            for lane in range(lanes):
                x, y = threefry(key[0, lane], key[1, lane], sample, np.uint32(j))
                e[other, lane] = -log1p(-e.dtype.type(uniform_single(y)))
                e[j, lane] = -log1p(-e.dtype.type(uniform_single(x)))
    else:
        for j in range(n):
            for lane in range(lanes):
                x, y = threefry(key[0, lane], key[1, lane], sample, np.uint32(j))
                e[j, lane] = -log1p(-e.dtype.type(uniform_double(x, y)))


@jit
def _inverse_of_winner(inverse, e, winner):
    inverse[:] = 0
    for j in range(e.shape[0]):
        for lane in range(e.shape[1]):
            inverse[lane] += e[j, lane] * winner[j, lane]
    for lane in range(e.shape[1]):
        inverse[lane] = e.dtype.type(1) / inverse[lane]


@jit
def _rates(rate, weight, winner, power, floor):
    """Turn log-probabilities into rates and weights: see `rbgs.conditional.race_rates`."""
    one, furthest = rate.dtype.type(1), rate.dtype.type(1000)
    for j in range(rate.shape[0]):
        for lane in range(rate.shape[1]):
            log_prob = rate[j, lane]
            clamped = floor if log_prob < floor else log_prob
            rival = one - winner[j, lane]
            rest = (log_prob - clamped) * rival * -power[lane]
            rest = -furthest if rest < -furthest else rest
            rate[j, lane] = exp(-clamped) * rival
            weight[j, lane] = exp(rest)


@jit
def _race(index, remaining, begin, end, log_probs, uniforms, low, high):
    n = log_probs.shape[0]
    dtype = log_probs.dtype
    lanes = 64 if n <= 1024 else 16
    e = np.empty((n, lanes), dtype)
    log_prob = np.empty((n, lanes), dtype)
    best = np.empty(lanes, dtype)
    winner = np.empty(lanes, np.int32)
    zero = dtype.type(0)
    for first in range(begin, end, lanes):
        _pack(e, uniforms, first)
        _pack(log_prob, log_probs, first)
        best[:] = -np.inf
        winner[:] = n
        for j in range(n):
            for lane in range(lanes):
                u = e[j, lane]
                u = low if u < low else u
                u = high if u > high else u
                e[j, lane] = -log1p(-u)
                score = log_prob[j, lane] - log(e[j, lane])
                better = score > best[lane]
                best[lane] = score if better else best[lane]
                winner[lane] = np.int32(j) if better else winner[lane]
        for lane in range(lanes):
            best[lane] = exp(-best[lane])
        for j in range(n):
            for lane in range(lanes):
                left = e[j, lane] - exp(log_prob[j, lane]) * best[lane]
                left = zero if left < zero else left
                e[j, lane] = best[lane] if winner[lane] == j else left
        for j in range(n):
            for lane in range(min(lanes, end - first)):
                remaining[j, first + lane] = e[j, lane]
        for lane in range(min(lanes, end - first)):
            index[first + lane] = winner[lane]


@jit
def _sums(
    out, begin, end, lanes, log_probs, vector, winner, inverse_temperature, others, shift,
    shift_winner, key, phases, start, first_sample, last_sample, floor,
):  # fmt: skip
    """Write sum_k (s v - s <s, v>) into out[0] and sum_k a into out[1], for some rows."""
    n, rows = vector.shape
    dtype = vector.dtype
    one = dtype.type(1)
    reduced, lattice = others.shape[0] > 0, phases.shape[0] > 0
    rate = np.empty((n, lanes), dtype)
    weight = np.empty((n, lanes), dtype)
    vec = np.empty((n, lanes), dtype)
    moved = np.empty((n, lanes), dtype)
    other = np.empty((n, lanes), dtype)
    r = np.empty((n, lanes), dtype)
    first_sum = np.empty((n, lanes), dtype)
    second_sum = np.empty((n, lanes), dtype)
    pairs = np.empty((n, lanes), dtype)
    moved_winner = np.empty(lanes, dtype)
    power = np.empty(lanes, dtype)
    inverse = np.empty(lanes, dtype)
    total = np.empty(lanes, dtype)
    dot = np.empty(lanes, dtype)
    keys = np.empty((2, lanes), np.uint32)
    won = np.empty((n, lanes), dtype)
    for first in range(begin, end, lanes):
        for lane in range(lanes):
            power[lane] = -inverse_temperature[min(first + lane, rows - 1)]
        _pack(vec, vector, first)
        _pack(won, winner, first)
        _pack(rate, log_probs, first)
        _rates(rate, weight, won, power, floor)
        if reduced:
            _pack(other, others, first)
        _pack(moved, shift, first)
        if key.shape[1] > 0:
            _pack(keys, key, first)
        for lane in range(lanes):
            moved_winner[lane] = shift_winner[min(first + lane, rows - 1)]
        first_sum[:] = 0
        second_sum[:] = 0
        pairs[:] = 0
        for k in range(first_sample, last_sample):
            if lattice:
                _lattice_winner(inverse, phases[0, k - start], moved_winner)
                _lattice(r, phases, k - start, moved)
            else:
                if k > 0:
                    _independent(r, k, keys)
                else:
                    r[:] = moved
                _inverse_of_winner(inverse, r, won)
            total[:] = 0
            dot[:] = 0
            for j in range(n):
                for lane in range(lanes):
                    ratio = r[j, lane] * inverse[lane] * rate[j, lane]
                    relative = exp(log1p(ratio) * power[lane]) * weight[j, lane]
                    r[j, lane] = relative
                    total[lane] += relative
                    dot[lane] += relative * vec[j, lane]
            for lane in range(lanes):
                total[lane] = one / total[lane]
                dot[lane] *= total[lane]
            for j in range(n):
                for lane in range(lanes):
                    s = r[j, lane] * total[lane]
                    first_sum[j, lane] += s
                    second_sum[j, lane] += s * dot[lane]
                if reduced:
                    for lane in range(lanes):
                        inverse_whole = one / (other[j, lane] + r[j, lane])
                        pairs[j, lane] += r[j, lane] * inverse_whole * inverse_whole
        for j in range(n):
            for lane in range(min(lanes, end - first)):
                out[0, j, first + lane] = first_sum[j, lane] * vec[j, lane] - second_sum[j, lane]
                out[1, j, first + lane] = pairs[j, lane]


@jit
def _constants(
    out, begin, end, lanes, probs, mean_powers, mean_weights, nodes, powers, weights, share
):  # fmt: skip
    """Write 1 + m_j and E[a_j] of `rbgs.control_variate` into out, for some rows."""
    n = probs.shape[0]
    one = probs.dtype.type(1)
    p = np.empty((n, lanes), probs.dtype)
    mean = np.empty((n, lanes), probs.dtype)
    total = np.empty(lanes, probs.dtype)
    sums = np.empty(lanes, probs.dtype)
    for first in range(begin, end, lanes):
        _pack(p, probs, first)
        total[:] = 0
        for j in range(n):
            sums[:] = 0
            for q in range(mean_powers.shape[0]):
                power, weight = mean_powers[q], mean_weights[q]
                for lane in range(lanes):
                    inverse = one / (power * (one - p[j, lane]) + p[j, lane])
                    sums[lane] += (weight * inverse) * (p[j, lane] * inverse)
            for lane in range(lanes):
                mean[j, lane] = sums[lane]
                total[lane] += sums[lane]
        for j in range(n):
            sums[:] = 0
            for lane in range(lanes):
                mean[j, lane] = one + share * (total[lane] - mean[j, lane])
            for q in range(nodes.shape[0]):
                power, weight, node = powers[q], weights[q], nodes[q]
                for lane in range(lanes):
                    whole = mean[j, lane] + node
                    inverse = one / ((power * (one - p[j, lane]) + p[j, lane]) * whole)
                    sums[lane] += (weight * inverse) * (p[j, lane] * inverse)
            for lane in range(min(lanes, end - first)):
                out[0, j, first + lane] = mean[j, lane]
                out[1, j, first + lane] = sums[lane]


def _lanes(n: int, rows: int) -> int:
    """Return how many rows are taken together: whole vectors, few enough for the cache."""
    return 64 if rows >= 256 and n <= 1024 else 16


def constants(probs: Array, temperature: float) -> Array:
    """Return what `rbgs.control_variate.constants` does, as one array, for one temperature."""
    single = probs.dtype == np.float32
    count = control_variate.node_count(temperature, single)
    _, *means = control_variate.quadrature(temperature, probs, control_variate.MEAN_NODES)
    rules = (*means, *control_variate.quadrature(temperature, probs, count))
    n, rows = probs.shape
    lanes = _lanes(n, rows)
    out = np.empty((2, n, rows), probs.dtype)
    arguments = (lanes, probs, *(x[:, 0] for x in rules), probs.dtype.type(control_variate.SHARE))
    tasks = [partial(_constants, out, *part, *arguments) for part in _parts(rows, lanes)]
    share_work(tasks, n * rows * count)
    return out


def race(log_probs: Array, uniforms: Array) -> tuple[Array, Array]:
    """Return what `rbgs.conditional.race` does."""
    n, rows = log_probs.shape
    index, remaining = np.empty(rows, np.int64), np.empty_like(log_probs)
    eps = np.finfo(log_probs.dtype).eps
    bounds = (log_probs.dtype.type(eps / 4), log_probs.dtype.type(1 - eps / 2))
    arrays = (log_probs, uniforms, *bounds)
    tasks = [partial(_race, index, remaining, *part, *arrays) for part in _parts(rows, 16)]
    share_work(tasks, 4 * n * rows)
    return index, remaining


def _parts(rows: int, lanes: int) -> list[tuple[int, int]]:
    """Divide the rows into at most four parts, of whole blocks of lanes."""
    part = max(1, -(-rows // (4 * lanes))) * lanes
    return [(begin, min(begin + part, rows)) for begin in range(0, rows, part)]


def sums(points: Any, vector: Array, others: Array) -> Array:
    """Return the sums over samples that `rbgs.samples` makes a product of, ``(2, n, rows)``."""
    n, rows = vector.shape
    dtype, samples = vector.dtype, points.samples
    inverse = np.broadcast_to(dtype.type(1) / points.temperature, (rows,)).astype(dtype)
    floor = dtype.type(lowest_log_prob(np.finfo(dtype).max))
    lattice = points.key is None and samples > 1
    shift, shift_winner, key = points.exponentials, points.exponentials[0], np.empty((2, 0), "u4")
    if lattice:
        shift = -np.expm1(-points.exponentials)
        shift_winner = np.sum(points.winner * shift, axis=0)
    elif points.key is not None:
        key = np.ascontiguousarray(points.key).view(np.uint32)
    lanes = _lanes(n, rows)
    given = (lanes, points.log_probs, vector, points.winner, inverse)
    arrays = (*given, others, shift, shift_winner, key)
    total = np.zeros((2, n, rows), dtype)
    for start in range(0, samples, _SAMPLES):
        stop = min(start + _SAMPLES, samples)
        phases = _phases(n, samples, start, stop, dtype) if lattice else np.empty((0, 0), dtype)
        # With few rows the samples are shared out as well, in parts that the shapes fix.
        segments = min(4, stop - start) if rows <= 2 * lanes else 1
        bounds = [start + (stop - start) * i // segments for i in range(segments + 1)]
        out = np.empty((segments, 2, n, rows), dtype)
        tasks = [
            partial(_sums, out[i], *part, *arrays, phases, start, bounds[i], bounds[i + 1], floor)
            for i in range(segments)
            for part in _parts(rows, lanes)
        ]
        share_work(tasks, n * rows * (stop - start))
        for segment in out:
            total += segment
    return total


# Samples whose phases are made at once.
_SAMPLES = 4096


def _phases(n: int, samples: int, start: int, stop: int, dtype: Any) -> Array:
    """Return frac(k z / K): the winner's in row 0, then those of the generators."""
    z = np.asarray([1, *generators(samples)[:n]])
    return (z[:, None] * np.arange(start, stop) % samples).astype(dtype) / dtype.type(samples)
