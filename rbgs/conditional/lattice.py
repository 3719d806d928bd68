r"""Rank-1 lattices: sample points that spread evenly, moved by one random shift for each row.

The point number k of K has the coordinates :math:`\operatorname{frac}(k z_j / K + \Delta_j)`. With
a uniform shift :math:`\Delta` every point is uniform, so a mean over them is unbiased for every K;
each coordinate alone takes K equidistant values.
"""

from functools import cache
from math import gcd, pi
from operator import sub

import numpy as np

from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.reuse import in_place
from rbgs.arrays.simplex import clamp
from rbgs.arrays.tracing import constant_when_compiled
from rbgs.arrays.typing import Array

# Generators looked for among; past the last one found they are used again from the first.
_CANDIDATES, GENERATORS = 512, 32
# What a pair of rivals counts against the pair of a rival and the winner.
_RIVALS = 0.2


@constant_when_compiled
def generators(samples: int) -> tuple[int, ...]:
    r"""Return generators :math:`z_1, z_2, \dots` for the rivals; the winner's is 1.

    The Jacobian hangs on the winner's coordinate more than on any other, so the lattice is built
    around it: one after the other, the generator is taken that minimises the sum of
    :math:`\frac{1}{K} \sum_k B(k z / K) B(k z' / K)`, with :math:`B(x) = 2 \pi^2 (x^2 - x + 1/6)`,
    over :math:`z' = 1` with weight 1 and over the rivals before it with weight 0.2. That sum is the
    squared worst-case error of a shifted lattice for a function of two coordinates (Sloan and Joe
    1994). All generators are prime to K, and small enough for :math:`k z` to fit an int32.

    Parameters
    ----------
    samples : int
        The number of points, K.

    Returns
    -------
    tuple of int
        At most 32 generators.
    """
    return _search(samples)


@cache
def _search(samples: int) -> tuple[int, ...]:
    largest = min(samples - 1, (2**31 - 1) // max(1, samples - 1))
    prime = np.asarray([z for z in range(1, min(largest, 2**16) + 1) if gcd(z, samples) == 1])
    if prime.size <= 1:
        return (1,)
    count = max(8, min(_CANDIDATES, 2**22 // samples))
    chosen = np.unique(np.linspace(0, prime.size - 1, count).round().astype(int))
    prime = prime[chosen]
    x = np.outer(prime, np.arange(samples, dtype=np.int64)) % samples / samples
    kernel = 2 * pi**2 * (x * x - x + 1 / 6)
    pairs = kernel @ kernel.T / samples
    score, found = pairs[0].copy(), []
    for _ in range(GENERATORS):
        best = int(np.argmin(score))
        found.append(int(prime[best]))
        score += _RIVALS * pairs[best]
    return tuple(found)


def minus_coordinates(z: Array | int, shift: Array, numbers: Array, samples: int) -> Array:
    r"""Return :math:`-\operatorname{frac}(k z / K + \Delta)`.

    Parameters
    ----------
    z : int32 array ``(n, rows)`` or ``(n, 1)``, or int
        The generators.
    shift : array ``(n, rows)``
        :math:`\Delta`, in [0, 1].
    numbers : int32 array ``(count,)``
        The numbers k of the points.
    samples : int
        K.

    Returns
    -------
    array ``(n, count, rows)``
        The coordinates with a minus, in (-1, 0].
    """
    xp = array_namespace(shift)
    multiples = (numbers[:, None] * (z if isinstance(z, int) else z[:, None, :])) % samples
    total = xp.astype(multiples, shift.dtype) / samples + shift[:, None, :]
    return in_place(sub, xp.floor(total), total)


def lattice_exponentials(z: Array, shift: Array, numbers: Array, samples: int) -> Array:
    """Return the exponentials ``-log(1 - u)`` of the points of a lattice."""
    xp, eps = array_namespace(shift), array_namespace(shift).finfo(shift.dtype).eps
    below = minus_coordinates(z, shift, numbers, samples)
    # The digits that the sum has lost, from another element: small ones hang on them.
    below = in_place(sub, below, (xp.roll(shift, 1, axis=0) * (eps / 2))[:, None, :])
    return -xp.log1p(clamp(below, low=eps / 2 - 1))
