"""What the compiled engine computes with: logarithms, an exponential and random words, on vectors.

All are polynomials on the bit pattern: relative error below 4e-7 in single and 1e-15 in double
precision, where the result matters.
"""

import math
from fractions import Fraction
from typing import Any

import numba as nb
import numpy as np
from numpy.polynomial import Chebyshev, Polynomial

from rbgs.compiled.compiler import inlined, jit, precise
from rbgs.compiled.vectors import BYTES, as_bits_of, convert, floor, load, select, store
from rbgs.random.threefry import SPREAD


def _polynomial(
    function: Any, domain: tuple[float, float], degree: int, dtype: Any
) -> tuple[Any, ...]:
    fitted = Chebyshev.interpolate(function, degree, domain).convert(kind=Polynomial)
    return tuple(dtype(c) for c in fitted.coef)


def _quotient(above: Any, below: Any, at_zero: float) -> Any:
    """Return a quotient that tends to a known number where the divisor is 0."""
    return np.where(np.abs(below) < 1e-9, at_zero, above / np.where(below == 0, 1, below))


def _series_of_atanh(z: Any) -> Any:
    """Return (atanh(s) / s - 1) / z, z the square of s."""
    return sum(z**k / (2 * k + 3) for k in range(14))


def _series_of_exp(t: Any) -> Any:
    """Return (exp(t) - 1 - t) / t^2."""
    return sum(t**k / math.factorial(k + 2) for k in range(18))


_LN2 = math.log(2)
# The logarithm of 2 in two parts, of which the first has few digits: its multiples are exact.
_HIGH = math.ldexp(round(math.ldexp(_LN2, 32)), -32)
_LOW = float(Fraction("0.69314718055994530941723212145818") - Fraction(_HIGH))
_L = _polynomial(lambda t: _quotient(np.log1p(t), t, 1.0), (2**-0.5 - 1, 2**0.5 - 1), 8, np.float32)
_X = _polynomial(lambda t: _quotient(np.expm1(t * _LN2), t, _LN2), (-0.5, 0.5), 5, np.float32)
_A = _polynomial(_series_of_atanh, (0.0, (3 - 2 * 2**0.5) ** 2), 8, np.float64)
_E = _polynomial(_series_of_exp, (-_LN2 / 2, _LN2 / 2), 10, np.float64)
# The last bits of this number plus a whole one are those of an integer.
_WHOLE = 1.5 * 2**52
_WHOLE_BITS = int(np.float64(_WHOLE).view(np.int64))


def _parts(x):
    """Split x into a mantissa between sqrt(1/2) and sqrt(2) and an exponent of 2."""
    raise NotImplementedError


@precise(_parts)
def _(x):
    def single(x):
        bits = as_bits_of(x, np.int32)
        exponent = (bits - 0x3F3504F3) >> 23
        return as_bits_of(bits - (exponent << 23), np.float32), convert(exponent, np.float32)

    def double(x):
        bits = as_bits_of(x, np.int64)
        exponent = (bits - 0x3FE6A09E667F3BCD) >> 52
        mantissa = as_bits_of(bits - (exponent << 52), np.float64)
        return mantissa, as_bits_of(exponent + _WHOLE_BITS, np.float64) - _WHOLE

    return single if x.scalar == nb.float32 else double


def _log_of_parts(t, exponent):
    """Return log((1 + t) * 2^exponent)."""
    raise NotImplementedError


# Sums in parts, which the processor computes side by side.
@precise(_log_of_parts)
def _(t, exponent):
    def single(t, exponent):
        square = t * t
        low = (t * _L[3] + _L[2]) * square + (t * _L[1] + _L[0])
        high = ((t * _L[8] + _L[7]) * t + _L[6]) * square + (t * _L[5] + _L[4])
        return (high * (square * square) + low) * t + exponent * _LN2

    def double(t, exponent):
        s = t / (t + 2)  # log(1 + t) is 2 atanh(s)
        z = s * s
        square = z * z
        low = (z * _A[3] + _A[2]) * square + (z * _A[1] + _A[0])
        high = ((z * _A[8] + _A[7]) * z + _A[6]) * square + (z * _A[5] + _A[4])
        series = (high * (square * square) + low) * z
        return exponent * _HIGH + ((s + s) + ((s + s) * series + exponent * _LOW))

    return single if t.scalar == nb.float32 else double


def _exp_parts(x):
    """Return f, s and a mask, with exp(x) = (1 + f) s, s a power of 2, unless the mask is true.

    Then x is so low that its exponential is no normal number.
    """
    raise NotImplementedError


@precise(_exp_parts)
def _(x):
    def single(x):
        y = x * (1 / _LN2)
        y = select(y < -126, -126, y)
        whole = floor(y + 0.5)
        t = y - whole
        above = (((((t * _X[5] + _X[4]) * t + _X[3]) * t + _X[2]) * t + _X[1]) * t + _X[0]) * t
        scale = as_bits_of((convert(whole, np.int32) + 127) << 23, np.float32)
        return above, scale, x < -126 * _LN2

    def double(x):
        y = select(x < -1022 * _LN2, -1022 * _LN2, x)
        shifted = y * (1 / _LN2) + _WHOLE
        whole = shifted - _WHOLE
        t = (y - whole * _HIGH) - whole * _LOW
        square = t * t
        low = (t * _E[3] + _E[2]) * square + (t * _E[1] + _E[0])
        high = (t * _E[7] + _E[6]) * square + (t * _E[5] + _E[4])
        rest = (t * _E[10] + _E[9]) * t + _E[8]
        series = ((rest * (square * square)) + high) * (square * square) + low
        biased = as_bits_of(shifted, np.int64) - _WHOLE_BITS + 1023
        return series * square + t, as_bits_of(biased << 52, np.float64), x < -1022 * _LN2

    return single if x.scalar == nb.float32 else double


@inlined
def log1p(x):
    """Return log(1 + x)."""
    mantissa, exponent = _parts(x + 1)
    # Near 1 the sum has lost the last digits of x: take x itself.
    return _log_of_parts(select(exponent == 0, x, mantissa - 1), exponent)


@inlined
def log(x):
    """Return the logarithm of a positive x."""
    mantissa, exponent = _parts(x)
    return _log_of_parts(mantissa - 1, exponent)


@inlined
def exp(x):
    """Return the exponential of x; 0 where it is below the normal numbers."""
    above, scale, is_low = _exp_parts(x)
    return select(is_low, 0, above * scale + scale)


@inlined
def expm1(x):
    """Return exp(x) - 1 for a negative x."""
    above, scale, _ = _exp_parts(x)
    return above * scale + (scale - 1)


@inlined
def _round(x, y, bits):
    x = x + y
    return x, ((y << bits) | (y >> (32 - bits))) ^ x


@inlined
def _four_rounds(x, y, r0, r1, r2, r3):
    x, y = _round(x, y, r0)
    x, y = _round(x, y, r1)
    x, y = _round(x, y, r2)
    return _round(x, y, r3)


@inlined
def threefry(k0, k1, x, y):
    """Return two random words: see `rbgs.random.threefry`."""
    k2 = k0 ^ k1 ^ 0x1BD11BDA
    x, y = x + k0, y + k1
    x, y = _four_rounds(x, y, 13, 15, 26, 6)
    x, y = x + k1, y + k2 + 1
    x, y = _four_rounds(x, y, 17, 29, 16, 24)
    x, y = x + k2, y + k0 + 2
    x, y = _four_rounds(x, y, 13, 15, 26, 6)
    x, y = x + k0, y + k1 + 3
    x, y = _four_rounds(x, y, 17, 29, 16, 24)
    x, y = x + k1, y + k2 + 4
    x, y = _four_rounds(x, y, 13, 15, 26, 6)
    return x + k2, y + k0 + 5


@inlined
def further_bits(k0, k1, x, y):
    """Return what `rbgs.random.threefry.further_bits` does."""
    x = (x * SPREAD[0] + y) * SPREAD[1] + k0
    x = (x ^ (x >> 16)) * SPREAD[1] + k1
    x = (x ^ (x >> 13)) * SPREAD[2]
    return x ^ (x >> 16)


@inlined
def _as_float(words, dtype):
    """Return unsigned words below 2^31 as floating-point numbers."""
    return convert(as_bits_of(words, np.int32), dtype)


@inlined
def uniform_single(word, further):
    """Return what `rbgs.random.threefry.single_precision` does, below 1."""
    low = _as_float(word & 0xFF, np.float32)
    low = low + (_as_float(further >> 9, np.float32) + 0.5) * 2.0**-23
    drawn = _as_float(word >> 8, np.float32) * 2.0**-24 + low * 2.0**-32
    return select(drawn < 1, drawn, 1 - 2.0**-24)


@inlined
def uniform_double(x, y):
    """Return the uniform of two random words: see `rbgs.random.threefry.uniforms`."""
    high, low = _as_float(x >> 6, np.float64), _as_float(y >> 6, np.float64)
    return (high * 2.0**26 + low + 0.5) * 2.0**-52


@jit
def check(x):
    """Compute something with vectors."""
    store(x, 0, exp(log1p(load(x, 0))))


# Called here, so that a Numba that cannot compile fails the import.
check(np.zeros(BYTES // 4, np.float32))
