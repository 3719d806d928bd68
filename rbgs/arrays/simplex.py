r"""The simplex: softmax, one-hot vectors, and the one derivative rule of the library.

For a point :math:`s` on the simplex the Jacobian of the softmax at temperature :math:`\tau` is
:math:`J_\tau(s) = (\operatorname{diag}(s) - s s^\top) / \tau`. It is symmetric, so one product
serves as Jacobian-vector and as vector-Jacobian product.

Inside the library the category axis is the first one: a sum over categories then adds whole
vectors, one lane for each row.
"""

import math
import sys
from operator import truediv
from typing import Any

import numpy as np

from rbgs.arrays.devices import device
from rbgs.arrays.namespaces import array_namespace, is_torch_array
from rbgs.arrays.reuse import in_place
from rbgs.arrays.scalars import is_array
from rbgs.arrays.tracing import is_traced_by_torch
from rbgs.arrays.typing import Array, Temperature


def log_softmax(logits: Array) -> Array:
    """Return the log-probabilities of ``logits`` along the first axis."""
    xp = array_namespace(logits)
    shifted = logits - xp.max(logits, axis=0)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=0))


def softmax(logits: Array, temperature: Temperature = 1.0) -> Array:
    """Return ``softmax(logits / temperature)`` along the first axis, safe at any temperature."""
    xp = array_namespace(logits)
    shifted = logits - xp.max(logits, axis=0)
    # exp(-1000) is 0 in double precision: what lies lower would only overflow in the division.
    lowest = -1000.0 * temperature
    weights = xp.exp(in_place(truediv, clamp(shifted, low=lowest), temperature))
    return in_place(truediv, weights, xp.sum(weights, axis=0))


def log_of_largest(largest: float) -> float:
    """Return the logarithm of a dtype's largest number; wider than double precision it is that's.

    A Python float, which would be infinite, has no more.
    """
    return math.log(min(float(largest), sys.float_info.max))


def clamp(
    x: Array, *, low: float | Array | None = None, high: float | Array | None = None
) -> Array:
    """Return x within bounds; NaN stays NaN. Faster than ``where``, and one graph in a compiler."""
    xp = array_namespace(x)

    if low is not None:
        x = xp.maximum(x, scalar(low, x))
    return x if high is None else xp.minimum(x, scalar(high, x))


def scalar(x: float | Array, like: Array) -> Array:
    """Return a number as a 0-dimensional array like another one; an array as it is."""
    if isinstance(x, np.generic) or is_array(x):
        return x  # a number of NumPy has a dtype, and is not tied to a device
    xp = array_namespace(like)
    if is_traced_by_torch(like):
        # There a number may be symbolic, which the compiler follows through arithmetic alone.
        return xp.zeros((), dtype=like.dtype, device=device(like)) + x
    return xp.asarray(x, dtype=like.dtype, device=device(like))


def cumulative_sum(x: Array) -> Array:
    """Return the cumulative sums along the first axis.

    array-api-compat's function for PyTorch asks a cache, which PyTorch's compiler warns of.
    """
    if is_torch_array(x):
        return x.cumsum(0)
    return array_namespace(x).cumulative_sum(x, axis=0)


def one_hot(index: Array, n: int, dtype: Any) -> Array:
    """Return the one-hot vectors ``(n, rows)`` of ``index``; all 0 outside 0..n-1."""
    xp = array_namespace(index)
    categories = xp.arange(n, dtype=index.dtype, device=device(index))
    return xp.astype(categories[:, None] == index, dtype)


def first_largest(x: Array) -> Array:
    """Return ``argmax(x, axis=0)`` of ``(n, rows)``, vectorised over rows; n where it is NaN."""
    xp = array_namespace(x)
    n = x.shape[0]
    # Integers: float32 has no odd numbers above 2**24.
    backwards = xp.arange(n, 0, -1, dtype=xp.int32, device=device(x))
    found = xp.max(backwards[:, None] * xp.astype(x == xp.max(x, axis=0), xp.int32), axis=0)
    return xp.astype(n - found, xp.arange(1, device=device(x)).dtype)


def jacobian_product(points: Array, vector: Array, temperature: Temperature) -> Array:
    r"""Return :math:`J_\tau(s) v = s \circ (v - \langle s, v \rangle) / \tau`."""
    xp = array_namespace(points, vector)
    vector = vector - xp.sum(points * vector, axis=0)
    # What rounding left of the mean: it would count where the point is close to a corner.
    return points * (vector - xp.sum(points * vector, axis=0)) / temperature
