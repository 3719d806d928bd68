"""What the compiled engine computes with: logarithms, an exponential and random words.

In single precision logarithm and exponential are polynomials on the bit pattern (relative error
below 4e-7 where the result matters), because calls to them do not vectorise; in double precision
they are the C library's.
"""

import math
from typing import Any

import numba as nb
import numpy as np
from numba.extending import overload
from numpy.polynomial import Chebyshev, Polynomial

from rbgs.compiled.compiler import jit
from rbgs.random.threefry import SPREAD


def _polynomial(function: Any, domain: tuple[float, float], degree: int) -> tuple[np.float32, ...]:
    fitted = Chebyshev.interpolate(function, degree, domain).convert(kind=Polynomial)
    return tuple(np.float32(c) for c in fitted.coef)


_L = _polynomial(
    lambda t: np.where(np.abs(t) < 1e-9, 1.0, np.log1p(t) / np.where(t == 0, 1, t)),
    (2**-0.5 - 1, 2**0.5 - 1),
    8,
)
_X = _polynomial(
    lambda t: np.where(
        np.abs(t) < 1e-9, math.log(2), np.expm1(t * math.log(2)) / np.where(t == 0, 1, t)
    ),
    (-0.5, 0.5),
    5,
)
_SPREAD = tuple(np.uint32(x % 2**32) for x in SPREAD)
_LN2, _LOG2E = np.float32(math.log(2)), np.float32(1 / math.log(2))
_LOWEST = np.float32(-126 * math.log(2))


@jit
def _parts(x):
    """Split x into a mantissa between sqrt(1/2) and sqrt(2) and an exponent of 2."""
    # Numba widens integers in every operation: the casts keep 32 bits.
    bits = np.float32(x).view(np.int32)
    exponent = np.int32(np.int32(bits - np.int32(0x3F3504F3)) >> np.int32(23))
    shifted = np.int32(exponent << np.int32(23))
    return np.int32(bits - shifted).view(np.float32), exponent


@jit
def _log_of_parts(t, exponent):
    """Return log((1 + t) * 2^exponent)."""
    # In two halves, which the processor computes side by side.
    square = t * t
    low = (_L[3] * t + _L[2]) * square + (_L[1] * t + _L[0])
    high = ((_L[8] * t + _L[7]) * t + _L[6]) * square + (_L[5] * t + _L[4])
    return (high * (square * square) + low) * t + np.float32(exponent) * _LN2


def log1p(x):
    """Return log(1 + x)."""
    raise NotImplementedError


def exp(x):
    """Return the exponential of x, 0 below 2^-126 in single precision."""
    raise NotImplementedError


@overload(log1p)
def _log1p_of(x):
    if x != nb.float32:
        return lambda x: math.log1p(x)

    def single(x):
        mantissa, exponent = _parts(np.float32(1) + x)
        # Near 1 the sum has lost the last digits of x: take x itself.
        t = x if exponent == 0 else mantissa - np.float32(1)
        return _log_of_parts(t, exponent)

    return single


def log(x):
    """Return the logarithm of a positive x."""
    raise NotImplementedError


@overload(log)
def _log_of(x):
    if x != nb.float32:
        return lambda x: math.log(x)

    def single(x):
        mantissa, exponent = _parts(x)
        return _log_of_parts(mantissa - np.float32(1), exponent)

    return single


@jit
def _exp_parts(x):
    """Split exp(x) into 2^t, t between -1/2 and 1/2, and a power of 2."""
    y = x * _LOG2E
    y = np.float32(-126) if y < np.float32(-126) else y
    whole = np.floor(y + np.float32(0.5))
    biased = np.int32(np.int32(whole) + np.int32(127))
    return y - whole, np.int32(biased << np.int32(23)).view(np.float32)


@jit
def _exp2m1(t):
    """Return 2^t - 1."""
    return (((((_X[5] * t + _X[4]) * t + _X[3]) * t + _X[2]) * t + _X[1]) * t + _X[0]) * t


@overload(exp)
def _exp_of(x):
    if x != nb.float32:
        return lambda x: math.exp(x)

    def single(x):
        t, scale = _exp_parts(x)
        value = _exp2m1(t) * scale + scale
        return np.float32(0) if x < _LOWEST else value

    return single


def expm1(x):
    """Return exp(x) - 1 for a negative x."""
    raise NotImplementedError


@overload(expm1)
def _expm1_of(x):
    if x != nb.float32:
        return lambda x: math.expm1(x)

    def single(x):
        t, scale = _exp_parts(x)
        return _exp2m1(t) * scale + (scale - np.float32(1))

    return single


@jit
def _round(x, y, bits):
    # Numba widens integers in every operation: the casts keep 32 bits.
    x = np.uint32(x + y)
    left = np.uint32(y << np.uint32(bits))
    right = np.uint32(y >> np.uint32(32 - bits))
    return x, np.uint32(np.uint32(left | right) ^ x)


@jit
def _four_rounds(x, y, r0, r1, r2, r3):
    x, y = _round(x, y, r0)
    x, y = _round(x, y, r1)
    x, y = _round(x, y, r2)
    return _round(x, y, r3)


@jit
def threefry(k0, k1, x, y):
    """Return two random words: see `rbgs.random.threefry`."""
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


@jit
def further_bits(k0, k1, x, y):
    """Return what `rbgs.random.threefry.further_bits` does."""
    x = np.uint32(np.uint32(np.uint32(x * _SPREAD[0]) + y) * _SPREAD[1]) + k0
    x = np.uint32(np.uint32(np.uint32(x) ^ np.uint32(np.uint32(x) >> np.uint32(16))) * _SPREAD[1])
    x = np.uint32(x + k1)
    x = np.uint32(np.uint32(x ^ np.uint32(x >> np.uint32(13))) * _SPREAD[2])
    return np.uint32(x ^ np.uint32(x >> np.uint32(16)))


@jit
def uniform_single(word, further):
    """Return what `rbgs.random.threefry.single_precision` does, below 1."""
    fraction = np.float32(np.int32(further >> np.uint32(9))) + np.float32(0.5)
    low = np.float32(np.int32(word & np.uint32(0xFF))) + fraction * np.float32(2**-23)
    high = np.float32(np.int32(word >> np.uint32(8))) * np.float32(2**-24)
    drawn = high + low * np.float32(2**-32)
    return drawn if drawn < np.float32(1) else np.float32(1 - 2**-24)


@jit
def uniform_double(x, y):
    """Return the uniform of two random words: see `rbgs.random.threefry.uniforms`."""
    high, low = np.float64(x >> np.uint32(6)), np.float64(y >> np.uint32(6))
    return (high * 2.0**26 + low + 0.5) * 2.0**-52


# Called here, so that a Numba that cannot compile fails the import.
uniform_single(np.uint32(0), np.uint32(0))
