"""The compiled engine, for NumPy arrays: normalisation, race and product in one loop each.

The extra ``fast``, which is Numba. The mathematics is that of the functions named beside each, with
nothing between the steps written to memory.

This module is imported only when it is used: see `rbgs.engine.set_compiled`.
"""

from functools import lru_cache, partial
from typing import Any

import numpy as np

from rbgs import compiled_kernels as kernels
from rbgs import control_variate
from rbgs._typing import Array
from rbgs.conditional import lowest_log_prob
from rbgs.engine import share_work
from rbgs.lattice import generators


def normalise(logits: Array) -> tuple[Array, Array]:
    """Return what `rbgs.inputs.normalise` does."""
    log_probs, valid = np.empty_like(logits), np.empty(logits.shape[1], np.bool_)
    tasks = [
        partial(kernels.normalise, log_probs, valid, *part, logits)
        for part in _parts(*logits.shape)
    ]
    share_work(tasks, logits.size)
    return log_probs, valid


def race(log_probs: Array, uniforms: Array) -> tuple[Array, Array, Array]:
    """Return what `rbgs.conditional.race` does."""
    index = np.empty(log_probs.shape[1], np.int64)
    winner, remaining = np.empty_like(log_probs), np.empty_like(log_probs)
    eps = np.finfo(log_probs.dtype).eps
    bounds = (log_probs.dtype.type(eps / 4), log_probs.dtype.type(1 - eps / 2))
    tasks = [
        partial(kernels.race, index, winner, remaining, *part, log_probs, uniforms, *bounds)
        for part in _parts(*log_probs.shape)
    ]
    share_work(tasks, 2 * log_probs.size)
    return index, winner, remaining


def product(points: Any, vector: Array) -> Array:
    """Return what `rbgs.samples.ConditionalSamples.product` does."""
    n, rows = vector.shape
    dtype, samples = vector.dtype, points.samples
    lattice = points.key is None and samples > 1
    z = np.asarray(generators(samples) if lattice else (), np.int64)
    key = np.empty((2, rows), "u4")
    if points.key is not None:
        key = np.ascontiguousarray(points.key).view(np.uint32)
    counts = (0, 0)
    if points.control_variate:
        single = dtype == np.float32
        counts = (
            control_variate.MEAN_NODES,
            control_variate.node_count(points.temperature, single),
        )
    arguments = (
        points.log_probs,
        vector,
        points.winner,
        points.exponentials,
        np.asarray(points.temperature, dtype).reshape(-1),
        key,
        z,
        samples,
        *(_rule(count, dtype) for count in counts),
        *_numbers(dtype),
    )
    parts = _parts(n, rows)
    # With few rows the samples are shared out as well, in parts that the shapes fix.
    segments = min(4, samples) if len(parts) < 3 else 1
    bounds = [samples * i // segments for i in range(segments + 1)]
    out = np.empty((segments, n, rows), dtype)
    tasks = [
        partial(kernels.product, out[i], *part, bounds[i], bounds[i + 1], *arguments)
        for i in range(segments)
        for part in parts
    ]
    share_work(tasks, n * rows * samples)
    return out[0] if segments == 1 else np.sum(out, axis=0)


def _parts(n: int, rows: int) -> list[tuple[int, int, int]]:
    """Divide the rows into at most four parts, and say how many make a block.

    A block is whole vectors, few enough for the cache.
    """
    lanes = 64 if rows >= 256 and n <= 1024 else 16
    part = max(1, -(-rows // (4 * lanes))) * lanes
    return [(begin, min(begin + part, rows), lanes) for begin in range(0, rows, part)]


@lru_cache
def _rule(count: int, dtype: Any) -> Array:
    """Return nodes, their logarithms and weights of a quadrature, ``(3, count)``."""
    nodes, weights = control_variate.RULES[count] if count else ((), ())
    return np.asarray([nodes, np.log(nodes), weights], dtype)


@lru_cache
def _numbers(dtype: Any) -> tuple[Any, ...]:
    """Return the numbers that the product depends on."""
    limits = np.finfo(dtype)
    numbers = (
        control_variate.SHARE,
        limits.smallest_normal**control_variate.LEAST_POWER,
        lowest_log_prob(limits.max),
        control_variate.HIGHEST_TEMPERATURE,
    )
    return tuple(dtype.type(x) for x in numbers)
