"""Threefry-2x32, a counter-based random number generator, on the array API.

A counter-based generator is a pure function of a key and a counter. So the many draws of a
Gumbel-Rao estimate need not be stored: they are computed again, block by block, from one key a row.

References
----------
Salmon, Moraes, Dror, Shaw (2011). Parallel random numbers: as easy as 1, 2, 3. SC '11.
"""

from typing import Any

from rbgs.arrays.devices import device
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.typing import Array

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA
_ROUNDS = 20
# Odd multipliers that spread the bits of a word, as int32: of Weyl's sequence and of MurmurHash3.
SPREAD = (-0x61C88647, -0x7A143595, -0x3D4D51CB)


def _shift_right(x: Array, bits: int) -> Array:
    # `>>` on a signed integer copies the sign: the mask makes it a logical shift.
    return (x >> bits) & ((1 << (32 - bits)) - 1)


def _rotate_left(x: Array, bits: int) -> Array:
    return (x << bits) | _shift_right(x, 32 - bits)


def threefry2x32(key: tuple[Array, Array], counter: tuple[Array, Array]) -> tuple[Array, Array]:
    """Encrypt ``counter`` under ``key`` with the 20 rounds of Threefry-2x32.

    All four words are int32 arrays, read as bits, of shapes that broadcast. Signed integers are
    used because every library has their shifts and their wrapping addition, on every device.
    The arrays need at least one axis: NumPy warns when a scalar wraps.

    Parameters
    ----------
    key, counter : tuple of two int32 arrays
        The two words of the key and of the counter.

    Returns
    -------
    tuple of two int32 arrays
        64 random bits for each pair of key and counter.
    """
    keys = (key[0], key[1], key[0] ^ key[1] ^ _PARITY)
    x, y = counter[0] + keys[0], counter[1] + keys[1]
    for group in range(_ROUNDS // 4):
        for bits in _ROTATIONS[group % 2]:
            x = x + y
            y = _rotate_left(y, bits) ^ x
        x = x + keys[(group + 1) % 3]
        y = y + keys[(group + 2) % 3] + (group + 1)
    return x, y


def further_bits(key: tuple[Array, Array], counter: tuple[Array, Array]) -> Array:
    """Return a cheap hash of key and counter: bits behind those of `threefry2x32`.

    They show in one number of 2^24 only, so a few rounds of multiplication are random enough.

    Parameters
    ----------
    key, counter : tuple of two int32 arrays
        As in `threefry2x32`.

    Returns
    -------
    int32 array
        32 bits for each pair of key and counter.
    """
    x = (counter[0] * SPREAD[0] + counter[1]) * SPREAD[1] + key[0]
    x = (x ^ _shift_right(x, 16)) * SPREAD[1] + key[1]
    x = (x ^ _shift_right(x, 13)) * SPREAD[2]
    return x ^ _shift_right(x, 16)


def single_precision(bits: Array, further: Array, dtype: Any) -> Array:
    r"""Return uniforms in (0, 1] of two words each, int32 or uint32 arrays, in float32.

    .. math:: u = 2^{-32} (b + f), \quad f = 2^{-23} (\lfloor c / 2^9 \rfloor + 1/2)

    rounded to the nearest float: so small ones are as fine as floats are, down to 2^{-56}.
    """
    xp = array_namespace(bits)
    fraction = (xp.astype((further >> 9) & 0x7FFFFF, dtype) + 0.5) * 2.0**-23
    high = xp.astype((bits >> 8) & 0xFFFFFF, dtype) * 2.0**-24
    return high + (xp.astype(bits & 0xFF, dtype) + fraction) * 2.0**-32


def uniforms(key: Array, samples: Array, n: int, dtype: Any) -> Array:
    """Return the uniforms of the given sample numbers, a pure function of the key.

    Parameters
    ----------
    key : int32 array ``(2, rows)``
        A key per row.
    samples : int32 array ``(m,)``
        The numbers of the samples wanted; each has its own random numbers.
    n : int
        How many categories.
    dtype : float32 or wider, of the key's library
        Single precision takes one word and `further_bits`, double precision 52 bits of two words.

    Returns
    -------
    array ``(n, m, rows)``
        Uniforms above 0; in single precision the largest is rounded to 1.
    """
    xp = array_namespace(key, samples)
    double = dtype != xp.float32
    counters = n if double else (n + 1) // 2
    category = xp.arange(counters, dtype=xp.int32, device=device(samples))
    counter = (samples[None, :, None], category[:, None, None])
    x, y = threefry2x32((key[0, :], key[1, :]), counter)
    if double:
        high = xp.astype((x >> 6) & 0x3FFFFFF, dtype)
        low = xp.astype((y >> 6) & 0x3FFFFFF, dtype)
        return (high * 2.0**26 + low + 0.5) * 2.0**-52
    bits = xp.concat([x, y], axis=0)[:n, ...]
    category = xp.arange(n, dtype=xp.int32, device=device(samples))
    counter = (samples[None, :, None], category[:, None, None])
    return single_precision(bits, further_bits((key[0, :], key[1, :]), counter), dtype)
