"""The compiled engine, for NumPy arrays: normalisation, race and product in one loop each.

The extra ``fast``, which is Numba. The mathematics is that of the functions named beside each, with
nothing between the steps written to memory.

This module is imported only when it is used: see `rbgs.arrays.engine.set_compiled`.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from rbgs.arrays.loops import is_worth_threads, share_work
from rbgs.arrays.typing import Array
from rbgs.compiled import kernels
from rbgs.compiled.compiler import COMPILER_LOCK, HAS_CACHE
from rbgs.conditional import control_variate
from rbgs.conditional.lattice import generators
from rbgs.conditional.race import lowest_log_prob, whole_power
from rbgs.random.noise import bounds

__all__ = ["COMPILER_LOCK", "HAS_CACHE", "normalise", "product", "race"]

_MOST_LANES = 256


def normalise(logits: Array) -> tuple[Array, Array]:
    """Return what `rbgs.arrays.rows.normalise` does."""
    n, rows = logits.shape
    lanes = lanes_at_once(n, rows, is_worth_threads(logits.size))
    logits = _given(logits, logits.dtype.type)
    log_probs, valid = np.empty((n, rows), logits.dtype), np.empty(rows, np.bool_)

    def task(begin: int, end: int) -> None:
        kernels.normalise(log_probs, valid, begin, end, lanes, logits)

    share_work(task, rows, lanes, logits.size)
    return log_probs, valid


def race(log_probs: Array, uniforms: Array) -> tuple[Array, Array, Array]:
    """Return what `rbgs.conditional.race` does."""
    n, rows = log_probs.shape
    elements = 2 * log_probs.size
    lanes = lanes_at_once(n, rows, is_worth_threads(elements))
    dtype = log_probs.dtype.type
    index = np.empty(rows, np.int64)
    winner, remaining = np.empty((n, rows), dtype), np.empty((n, rows), dtype)
    given = (
        *(_given(x, dtype) for x in (log_probs, uniforms)),
        *(dtype(x) for x in bounds(float(np.finfo(dtype).eps))),
    )

    def task(begin: int, end: int) -> None:
        kernels.race(index, winner, remaining, begin, end, lanes, *given)

    share_work(task, rows, lanes, elements)
    return index, winner, remaining


def product(points: Any, vector: Array) -> Array:
    """Return what `rbgs.conditional.samples.ConditionalSamples.product` does."""
    n, rows = vector.shape
    dtype, samples = points.log_probs.dtype.type, points.samples
    key = np.empty((2, rows), np.int32) if points.key is None else points.key
    of_rows = (points.log_probs, vector, points.winner, points.exponentials)
    given = (
        *(_given(x, dtype) for x in of_rows),
        _given(points.temperature, dtype).reshape(-1),
        whole_power(points.temperature),
        _given(key, np.int32).view(np.uint32),
        lattice(points),
        samples,
        *rules(points),
        *numbers(np.dtype(dtype)),
    )
    elements = n * rows * samples
    is_shared = is_worth_threads(elements)
    # With few rows the samples are shared out instead.
    lanes = lanes_at_once(n, rows, is_shared and rows > _MOST_LANES)
    if rows > 2 * lanes or not is_shared:
        result = np.empty((n, rows), dtype)

        def take_rows(begin: int, end: int) -> None:
            kernels.product(result, begin, end, lanes, 0, samples, *given)

        share_work(take_rows, rows, lanes, elements)
        return result
    # The parts do not depend on the number of threads: neither does the rounding.
    parts = min(4, samples)
    results = np.empty((parts, n, rows), dtype)

    def take_samples(begin: int, end: int) -> None:
        for i in range(begin, end):
            first, last = samples * i // parts, samples * (i + 1) // parts
            kernels.product(results[i], 0, rows, lanes, first, last, *given)

    share_work(take_samples, parts, 1, elements)
    return np.sum(results, axis=0)


def _given(x: Any, dtype: Any) -> Array:
    """Return what a kernel reads as an array of one type, for which alone it is compiled.

    It is contiguous, aligned, in native byte order, and cannot be written to.
    """
    x = np.ascontiguousarray(x, dtype)
    x = x[...] if x.flags.aligned else x.copy()
    x.setflags(write=False)
    return x


def lanes_at_once(n: int, rows: int, is_shared: bool) -> int:
    """Return how many rows are taken together: many make long loops, but they fill the cache.

    Where threads share the rows, it leaves at least four parts.
    """
    most = min(_MOST_LANES, 2**16 // max(1, n))
    blocks = max(4 if is_shared else 1, -(-rows // max(1, most)))
    return max(16, -(-rows // (8 * blocks)) * 8)


def lattice(points: Any) -> Array:
    """Return the generators of the lattice; none where the samples are independent."""
    one_point = points.key is not None or points.samples == 1
    return _lattice(1 if one_point else points.samples)


@lru_cache
def _lattice(samples: int) -> Array:
    return _given(() if samples == 1 else generators(samples), np.int32)


def rules(points: Any) -> tuple[Array, Array]:
    """Return the two quadratures of the control variate; without it they have no nodes."""
    dtype, counts = np.dtype(points.log_probs.dtype), (0, 0)
    if points.control_variate:
        count = control_variate.node_count(points.temperature, dtype == np.float32)
        counts = (control_variate.MEAN_NODES, count)
    return _rule(counts[0], dtype), _rule(counts[1], dtype)


@lru_cache
def _rule(count: int, dtype: Any) -> Array:
    """Return nodes, their logarithms and weights of a quadrature, ``(3, count)``."""
    nodes, weights = control_variate.RULES[count] if count else ((), ())
    return _given([nodes, np.log(nodes), weights], dtype)


@lru_cache
def numbers(dtype: Any) -> tuple[Any, ...]:
    """Return the numbers that the product depends on."""
    limits = np.finfo(dtype)
    found = (
        control_variate.SHARE,
        limits.smallest_normal**control_variate.LEAST_POWER,
        lowest_log_prob(limits.max),
        control_variate.HIGHEST_TEMPERATURE,
    )
    return tuple(dtype.type(x) for x in found)
