"""Orders along the first axis: sorting, picking by index, and cumulative sums of exponentials."""

import math

from rbgs.arrays.devices import device
from rbgs.arrays.namespaces import array_namespace, is_torch_array
from rbgs.arrays.simplex import clamp
from rbgs.arrays.typing import Array


def argsort(x: Array) -> Array:
    """Return the indices that sort along the first axis, equal numbers in their order."""
    if is_torch_array(x):  # array-api-compat's function asks a cache: see `cumulative_sum`
        return x.argsort(dim=0, stable=True)
    return array_namespace(x).argsort(x, axis=0, stable=True)


def picked(x: Array, index: Array) -> Array:
    """Return ``x[index[i, ...], ...]`` for each i: one index for each place of the other axes.

    Those broadcast.
    """
    xp = array_namespace(x)
    index = xp.astype(index, xp.arange(1, device=device(x)).dtype, copy=False)
    rest = [b if a == 1 else a for a, b in zip(x.shape[1:], index.shape[1:], strict=True)]
    x = xp.broadcast_to(x, (x.shape[0], *rest))
    index = xp.broadcast_to(index, (index.shape[0], *rest))
    return x.gather(0, index) if is_torch_array(x) else xp.take_along_axis(x, index, axis=0)


def log_sum_exp(x: Array) -> Array:
    """Return the logarithm of the sum of ``exp(x)`` along the first axis; -inf for no summand."""
    xp = array_namespace(x)
    largest = clamp(xp.max(x, axis=0), low=-_far(x))
    return largest + xp.log(xp.sum(xp.exp(x - largest), axis=0))


def cumulative_log_sum_exp(x: Array) -> Array:
    """Return the logarithms of the cumulative sums of ``exp(x)`` along the first axis."""
    xp = array_namespace(x)
    step = 1
    while step < x.shape[0]:  # each place has the sum over the `step` places up to it
        absent = xp.full((step, *x.shape[1:]), -math.inf, dtype=x.dtype, device=device(x))
        x = log_add_exp(x, xp.concat([absent, x[:-step, ...]], axis=0))
        step *= 2
    return x


def log_add_exp(x: Array, y: Array) -> Array:
    """Return ``log(exp(x) + exp(y))``."""
    xp = array_namespace(x)
    largest = clamp(xp.maximum(x, y), low=-_far(x))
    return largest + xp.log1p(xp.exp(clamp(xp.minimum(x, y), low=-_far(x)) - largest))


def _far(x: Array) -> float:
    """Return a number whose negative stands for -inf where a difference would be NaN."""
    return float(array_namespace(x).finfo(x.dtype).max) / 4
