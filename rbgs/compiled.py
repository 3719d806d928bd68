"""The product of `rbgs.samples` compiled for NumPy arrays by Numba: the extra ``fast``.

The same mathematics in one loop: for a few dozen rows at a time, one lane each, points are made,
used and forgotten in the first cache. In single precision logarithm and exponential are polynomials
on the bit pattern (relative error below 4e-7), because calls to them do not vectorise; in double
precision they are the C library's.

This module is imported only when it is used: see `rbgs.engine.set_compiled`.
"""

import math
from typing import Any

import numba as nb
import numpy as np
from numba.extending import overload
from numpy.polynomial import Chebyshev, Polynomial

from rbgs import control_variate
from rbgs._typing import Array
from rbgs.conditional import race_rates
from rbgs.engine import share_rows
from rbgs.lattice import generators

# Rows taken together: whole vectors, and few enough for the first cache.
LANES = 64
# No "nnan" and "ninf": a row that cannot be answered is NaN.
_jit = nb.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "arcp", "nsz"})


def _polynomial(function: Any, domain: tuple[float, float], degree: int) -> tuple[np.float32, ...]:
    fitted = Chebyshev.interpolate(function, degree, domain).convert(kind=Polynomial)
    return tuple(np.float32(c) for c in fitted.coef)


_L = _polynomial(
    lambda t: np.where(np.abs(t) < 1e-9, 1.0, np.log1p(t) / np.where(t == 0, 1, t)),
    (2**-0.5 - 1, 2**0.5 - 1),
    9,
)
_X = _polynomial(np.exp2, (-0.5, 0.5), 6)
_LN2, _LOG2E = np.float32(math.log(2)), np.float32(1 / math.log(2))


def _log1p(x):
    raise NotImplementedError


def _exp(x):
    raise NotImplementedError


@overload(_log1p)
def _log1p_of(x):
    if x != nb.float32:
        return lambda x: math.log1p(x)

    def single(x):
        bits = np.float32(np.float32(1) + x).view(np.int32)
        exponent = (bits - np.int32(0x3F3504F3)) >> np.int32(23)
        mantissa = np.int32(bits - (exponent << np.int32(23))).view(np.float32)
        # Near 1 the sum has lost the last digits of x: take x itself.
        t = x if exponent == 0 else mantissa - np.float32(1)
        high = ((((_L[9] * t + _L[8]) * t + _L[7]) * t + _L[6]) * t + _L[5]) * t + _L[4]
        high = (((high * t + _L[3]) * t + _L[2]) * t + _L[1]) * t + _L[0]
        return high * t + np.float32(exponent) * _LN2

    return single


@overload(_exp)
def _exp_of(x):
    if x != nb.float32:
        return lambda x: math.exp(x)

    def single(x):
        y = x * _LOG2E
        y = np.float32(-126) if y < np.float32(-126) else y
        whole = np.floor(y + np.float32(0.5))
        t = y - whole
        high = ((((_X[6] * t + _X[5]) * t + _X[4]) * t + _X[3]) * t + _X[2]) * t + _X[1]
        high = high * t + _X[0]
        scale = np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)
        return high * scale

    return single


@_jit
def _four_rounds(x, y, r0, r1, r2, r3):
    # Numba widens integers in every operation: the casts keep 32 bits.
    for r in (np.uint32(r0), np.uint32(r1), np.uint32(r2), np.uint32(r3)):
        x = np.uint32(x + y)
        y = np.uint32(np.uint32(y << r) | np.uint32(y >> np.uint32(32 - r))) ^ x
    return x, y


@_jit
def _threefry(k0, k1, x, y):
    """Return two random words: see `rbgs.threefry`."""
    k2 = np.uint32(k0 ^ k1 ^ np.uint32(0x1BD11BDA))
    x, y = np.uint32(x + k0), np.uint32(y + k1)
    x, y = _four_rounds(x, y, 13, 15, 26, 6)
    x, y = np.uint32(x + k1), np.uint32(y + k2 + np.uint32(1))
    x, y = _four_rounds(x, y, 17, 29, 16, 24)
    x, y = np.uint32(x + k2), np.uint32(y + k0 + np.uint32(2))
    x, y = _four_rounds(x, y, 13, 15, 26, 6)
    x, y = np.uint32(x + k0), np.uint32(y + k1 + np.uint32(3))
    x, y = _four_rounds(x, y, 17, 29, 16, 24)
    x, y = np.uint32(x + k1), np.uint32(y + k2 + np.uint32(4))
    x, y = _four_rounds(x, y, 13, 15, 26, 6)
    return np.uint32(x + k2), np.uint32(y + k0 + np.uint32(5))


@_jit
def _fraction(x, one):
    return x - one if x >= one else x


@_jit
def _uniform_single(word):
    return (np.float32(np.int32(word >> np.uint32(9))) + np.float32(0.5)) * np.float32(2**-23)


@_jit
def _uniform_double(x, y):
    high, low = np.float64(x >> np.uint32(6)), np.float64(y >> np.uint32(6))
    return (high * 2.0**26 + low + 0.5) * 2.0**-52


@_jit
def _lattice(e, of_winner, k, turns, samples, shift, shift_winner, first, lanes):
    """Write the exponentials of point k of a lattice, for some lanes."""
    one = shift.dtype.type(1)
    least = shift.dtype.type(np.finfo(shift.dtype).eps / 4)
    phase = shift.dtype.type(shift.dtype.type(k) / samples)
    for lane in range(lanes):
        u = _fraction(phase + shift_winner[first + lane], one)
        of_winner[lane] = -_log1p(-(least if u < least else u))
    for j in range(e.shape[0]):
        phase = shift.dtype.type(shift.dtype.type((turns[j] * k) % np.int64(samples)) / samples)
        for lane in range(lanes):
            e[j, lane] = -_log1p(-_fraction(phase + shift[j, first + lane], one))


@_jit
def _independent(e, of_winner, k, key, winner, first, lanes):
    """Write the exponentials of sample k of the counter-based generator, for some lanes."""
    n = e.shape[0]
    sample = np.uint32(k)
    if e.itemsize == 4:
        half = (n + 1) // 2
        for j in range(half):
            paired = j + half < n
            for lane in range(lanes):
                x, y = _threefry(key[0, first + lane], key[1, first + lane], sample, np.uint32(j))
                e[j, lane] = -_log1p(-e.dtype.type(_uniform_single(x)))
                if paired:
                    e[j + half, lane] = -_log1p(-e.dtype.type(_uniform_single(y)))
    else:
        for j in range(n):
            for lane in range(lanes):
                x, y = _threefry(key[0, first + lane], key[1, first + lane], sample, np.uint32(j))
                e[j, lane] = -_log1p(-e.dtype.type(_uniform_double(x, y)))
    _of_winner(e, of_winner, winner, first, lanes)


@_jit
def _of_winner(e, of_winner, winner, first, lanes):
    for lane in range(lanes):
        of_winner[lane] = 0
    for j in range(e.shape[0]):
        for lane in range(lanes):
            if winner[first + lane] == j:
                of_winner[lane] = e[j, lane]


@_jit
def _sums(
    out, begin, end, rates, weights, vector, winner, exponentials, shift, shift_winner, key, turns,
    samples, inverse_temperature, others,
):  # fmt: skip
    """Write sum_k (s v - s <s, v>) into out[0] and sum_k a into out[1], for some rows."""
    n = vector.shape[0]
    dtype = vector.dtype
    e = np.empty((n, LANES), dtype)
    first_sum = np.empty((n, LANES), dtype)
    second_sum = np.empty((n, LANES), dtype)
    pairs = np.empty((n, LANES), dtype)
    of_winner = np.empty(LANES, dtype)
    total = np.empty(LANES, dtype)
    dot = np.empty(LANES, dtype)
    one = dtype.type(1)
    for first in range(begin, end, LANES):
        lanes = min(LANES, end - first)
        first_sum[:] = 0
        second_sum[:] = 0
        pairs[:] = 0
        for k in range(samples):
            if turns.shape[0] > 0:
                _lattice(e, of_winner, k, turns, samples, shift, shift_winner, first, lanes)
            elif k > 0:
                _independent(e, of_winner, k, key, winner, first, lanes)
            else:
                for j in range(n):
                    for lane in range(lanes):
                        e[j, lane] = exponentials[j, first + lane]
                _of_winner(e, of_winner, winner, first, lanes)
            for lane in range(lanes):
                of_winner[lane] = one / of_winner[lane]
                total[lane] = 0
                dot[lane] = 0
            for j in range(n):
                for lane in range(lanes):
                    ratio = e[j, lane] * of_winner[lane] * rates[j, first + lane]
                    r = _exp(-_log1p(ratio) * inverse_temperature[first + lane])
                    r = r * weights[j, first + lane]
                    e[j, lane] = r
                    total[lane] += r
                    dot[lane] += r * vector[j, first + lane]
            for lane in range(lanes):
                total[lane] = one / total[lane]
                dot[lane] *= total[lane]
            for j in range(n):
                for lane in range(lanes):
                    s = e[j, lane] * total[lane]
                    first_sum[j, lane] += s
                    second_sum[j, lane] += s * dot[lane]
                if others.shape[0] > 0:
                    for lane in range(lanes):
                        whole = others[j, first + lane] + e[j, lane]
                        pairs[j, lane] += e[j, lane] / (whole * whole)
        for j in range(n):
            for lane in range(lanes):
                v = vector[j, first + lane]
                out[0, j, first + lane] = first_sum[j, lane] * v - second_sum[j, lane]
                out[1, j, first + lane] = pairs[j, lane]


@_jit
def _constants(out, begin, end, probs, nodes, powers, weights, share):
    """Write 1 + m_j and E[a_j] of `rbgs.control_variate` into out, for some rows."""
    n = probs.shape[0]
    dtype = probs.dtype
    one = dtype.type(1)
    total = np.empty(LANES, dtype)
    sums = np.empty(LANES, dtype)
    for first in range(begin, end, LANES):
        lanes = min(LANES, end - first)
        total[:] = 0
        for j in range(n):
            sums[:] = 0
            for q in range(nodes.shape[0]):
                power, weight = powers[q], weights[q]
                for lane in range(lanes):
                    p = probs[j, first + lane]
                    inverse = one / (power * (one - p) + p)
                    sums[lane] += (weight * inverse) * (p * inverse)
            for lane in range(lanes):
                out[0, j, first + lane] = sums[lane]
                total[lane] += sums[lane]
        for j in range(n):
            sums[:] = 0
            for lane in range(lanes):
                mean = out[0, j, first + lane]
                out[0, j, first + lane] = one + share * (total[lane] - mean)
            for q in range(nodes.shape[0]):
                power, weight, node = powers[q], weights[q], nodes[q]
                for lane in range(lanes):
                    p = probs[j, first + lane]
                    whole = out[0, j, first + lane] + node
                    inverse = one / ((power * (one - p) + p) * whole)
                    sums[lane] += (weight * inverse) * (p * inverse)
            for lane in range(lanes):
                out[1, j, first + lane] = sums[lane]


def constants(probs: Array, temperature: float) -> Array:
    """Return what `rbgs.control_variate.constants` does, as one array, for one temperature."""
    nodes, powers, weights = (x[:, 0] for x in control_variate.quadrature(temperature, probs))
    out = np.empty((2, *probs.shape), probs.dtype)
    share = probs.dtype.type(control_variate.SHARE)
    share_rows(
        probs.shape[1],
        LANES,
        lambda a, b: _constants(out, a, b, probs, nodes, powers, powers * weights, share),
    )
    return out


def sums(points: Any, vector: Array, others: Array) -> Array:
    """Return the sums over samples that `rbgs.samples` makes a product of, ``(2, n, rows)``."""
    n, rows = vector.shape
    dtype, samples = vector.dtype, points.samples
    rates, weights = race_rates(points.log_probs, points.winner, points.temperature)
    winner = np.where(points.winner.any(axis=0), points.winner.argmax(axis=0), -1)
    shift, turns = np.empty((n, 0), dtype), np.empty(0, np.int64)
    key = np.empty((2, 0), np.uint32)
    if points.key is not None:
        key = np.ascontiguousarray(points.key).view(np.uint32)
    elif samples > 1:
        shift = -np.expm1(-points.exponentials)
        found = generators(samples)
        turns = np.asarray([found[j % len(found)] for j in range(n)], np.int64)
    shift_winner = np.sum(np.where(points.winner, shift, 0), axis=0) if shift.size else shift[0]
    inverse = np.ascontiguousarray(np.broadcast_to(dtype.type(1) / points.temperature, (rows,)))
    arrays = (rates, weights, vector, winner, points.exponentials, shift, shift_winner, key, turns)
    out = np.empty((2, n, rows), dtype)
    share_rows(
        rows,
        LANES,
        lambda a, b: _sums(out, a, b, *arrays, samples, inverse.astype(dtype), others),
    )
    return out
