"""The compiled engine, for NumPy arrays: normalisation, race and products in one loop each.

The extra ``fast``, which is Numba. The mathematics is that of the functions named beside each, with
nothing between the steps written to memory.

This module is imported only when it is used: see `rbgs.arrays.engine.set_compiled`.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from rbgs.arrays.layout import is_row_by_row
from rbgs.arrays.loops import is_worth_threads, share_work
from rbgs.arrays.typing import Array
from rbgs.compiled import kernels
from rbgs.compiled.compiler import COMPILER_LOCK, HAS_CACHE
from rbgs.compiled.product import product as multiply
from rbgs.compiled.subset_product import product_of_subset as run_product_of_subset
from rbgs.compiled.subset_race import race_of_subset as run_race_of_subset
from rbgs.compiled.vectors import BYTES
from rbgs.conditional import control_variate
from rbgs.conditional.lattice import GENERATORS, generators
from rbgs.conditional.race import lowest_log_prob, whole_power
from rbgs.random.noise import bounds

# Parts that threads share, of rows or of samples.
_PARTS = 4

__all__ = ["COMPILER_LOCK", "HAS_CACHE", "normalise", "product", "product_of_points", "race"]


def normalise(logits: Array) -> tuple[Array, Array]:
    """Return what `rbgs.arrays.rows.normalise` does."""
    n, rows = logits.shape
    over_categories = is_row_by_row(n, rows)
    logits = _flat(logits, logits.dtype.type, over_categories)
    log_probs, valid = np.empty_like(logits), np.empty(rows, np.bool_)

    def task(begin: int, end: int) -> None:
        kernels.normalise(log_probs, valid, begin, end, n, over_categories, logits)

    share_work(task, rows, step(logits.dtype, over_categories), logits.size)
    return _shaped(log_probs, n, over_categories), valid


def race(log_probs: Array, uniforms: Array) -> tuple[Array, Array, Array]:
    """Return what `rbgs.conditional.race` does."""
    n, rows = log_probs.shape
    over_categories = is_row_by_row(n, rows)
    dtype = log_probs.dtype.type
    given = (
        *(_flat(x, dtype, over_categories) for x in (log_probs, uniforms)),
        *uniform_bounds(log_probs.dtype),
    )
    index = np.empty(rows, np.int32)
    winner, remaining = np.empty(n * rows, dtype), np.empty(n * rows, dtype)

    def task(begin: int, end: int) -> None:
        kernels.race(index, winner, remaining, begin, end, n, over_categories, *given)

    share_work(task, rows, step(winner.dtype, over_categories), 2 * winner.size)
    return index.astype(np.int64), _shaped(winner, n, True), _shaped(remaining, n, over_categories)


def product(points: Any, vector: Array) -> Array:
    """Return what `rbgs.conditional.samples.ConditionalSamples.product` does."""
    n, rows = vector.shape
    over_categories = is_row_by_row(n, rows)
    dtype, samples = points.log_probs.dtype.type, points.samples
    key = np.empty(0, np.int32) if points.key is None else points.key
    of_rows = (points.log_probs, vector, points.exponentials)
    power, generators, means, rule, numbers = constants(points, points.log_probs.dtype)
    given = (
        *(_flat(x, dtype, over_categories) for x in of_rows),
        _given(points.index, np.int32),
        _given(points.temperature, dtype).reshape(-1),
        power,
        _given(key, np.int32).reshape(-1).view(np.uint32),
        generators,
        samples,
        means,
        rule,
        *numbers,
    )
    return _shared(multiply, given, vector, samples)


def race_of_subset(log_probs: Array, uniforms: Array, k: int) -> tuple[Array, Array, Array, Array]:
    """Return the order and the steps of the trace, the subset, and the remaining exponentials.

    See `rbgs.structures.matroid.Matroid.race`. The subset is NaN in a row that has none.
    """
    n, rows = log_probs.shape
    over_categories = is_row_by_row(n, rows)
    dtype = log_probs.dtype.type
    given = (
        *(_flat(x, dtype, over_categories) for x in (log_probs, uniforms)),
        *uniform_bounds(log_probs.dtype),
    )
    order, step_of = np.empty(k * rows, np.int32), np.full(n * rows, k - 1, np.int32)
    subset, remaining = np.empty(n * rows, dtype), np.empty(n * rows, dtype)

    def task(begin: int, end: int) -> None:
        run_race_of_subset(
            order, step_of, subset, remaining, begin, end, n, over_categories, *given
        )

    share_work(task, rows, step(subset.dtype, over_categories), 2 * subset.size)
    of_elements = (_shaped(x, n, over_categories) for x in (step_of, subset, remaining))
    return order.reshape(rows, k).T.astype(np.int64), *of_elements


def product_of_subset(points: Any, vector: Array, relaxation: str) -> Array:
    """Return what `rbgs.structures.points.TraceSamples.product` does for k-subsets."""
    n, rows = vector.shape
    k = points.order.shape[0]
    over_categories = is_row_by_row(n, rows)
    dtype, samples = points.log_probs.dtype.type, points.samples
    key = np.empty(0, np.int32) if points.key is None else points.key
    of_rows = (points.log_probs, vector, points.exponentials)
    is_lattice = points.key is None and samples > 1
    generators = _generators_of_subset(samples, k) if is_lattice else _given([], np.int32)
    temperature = points.temperature
    given = (
        *(_flat(x, dtype, over_categories) for x in of_rows),
        _given(points.order.T, np.int32).reshape(-1),
        _given(temperature, dtype).reshape(-1),
        _given(key, np.int32).reshape(-1).view(np.uint32),
        generators,
        samples,
        dtype(lowest_log_prob(np.finfo(dtype).max)),
        relaxation == "gibbs",
    )
    return _shared(run_product_of_subset, given, vector, samples)


@lru_cache(maxsize=64)
def _generators_of_subset(samples: int, k: int) -> Array:
    """Return the generators of the others, over and over again, and those of the takings."""
    found = generators(samples)
    of_others = [found[(j + k - 1) % len(found)] for j in range(GENERATORS)]
    return _given([*of_others, *(1, *found)[:k]], np.int32)


def _shared(kernel: Any, given: Any, vector: Array, samples: int) -> Array:
    """Return a product, of which threads share the rows or the samples."""
    n, rows = vector.shape
    over_categories = is_row_by_row(n, rows)
    dtype = given[0].dtype
    elements = n * rows * samples
    block = step(dtype, over_categories)
    if rows >= _PARTS * block or not is_worth_threads(elements):
        result = np.empty(n * rows, dtype)

        def take_rows(begin: int, end: int) -> None:
            kernel(result, begin, end, n, over_categories, 0, samples, *given)

        share_work(take_rows, rows, block, elements)
        return _shaped(result, n, over_categories)
    # With few rows the samples are shared out instead. The parts do not depend on the number of
    # threads: neither does the rounding.
    parts = min(_PARTS, samples)
    results = np.empty((parts, n * rows), dtype)

    def take_samples(begin: int, end: int) -> None:
        for i in range(begin, end):
            first, last = samples * i // parts, samples * (i + 1) // parts
            kernel(results[i], 0, rows, n, over_categories, first, last, *given)

    share_work(take_samples, parts, 1, elements)
    return _shaped(np.sum(results, axis=0), n, over_categories)


def product_of_points(fixed: Any, vector: Array) -> Array:
    """Return what `rbgs.draw.FixedPoints.product` does."""
    n, rows = vector.shape
    over_categories = is_row_by_row(n, rows)
    dtype = fixed.points[0].dtype.type
    flat, result = _flat(vector, dtype, over_categories), np.zeros(n * rows, dtype)
    of_points = [
        (_flat(x, dtype, over_categories), _given(weight / fixed.temperature, dtype).reshape(-1))
        for weight, x in zip(fixed.weights, fixed.points, strict=True)
    ]

    def task(begin: int, end: int) -> None:
        for points, scales in of_points:
            kernels.add_jacobian(result, begin, end, n, over_categories, points, flat, scales)

    share_work(task, rows, step(flat.dtype, over_categories), flat.size * len(of_points))
    return _shaped(result, n, over_categories)


def step(dtype: Any, over_categories: bool) -> int:
    """Return how many rows a block has."""
    return 1 if over_categories else BYTES // dtype.itemsize


def _flat(x: Any, dtype: Any, over_categories: bool) -> Array:
    """Return an array ``(n, rows)`` as a kernel reads it."""
    return _given(x.T if over_categories else x, dtype).reshape(-1)


def _shaped(x: Array, n: int, over_categories: bool) -> Array:
    """Return what a kernel has written as an array ``(n, rows)``."""
    return x.reshape(-1, n).T if over_categories else x.reshape(n, -1)


def _given(x: Any, dtype: Any) -> Array:
    """Return what a kernel reads as an array of one type, for which alone it is compiled.

    It is contiguous, aligned, in native byte order, and cannot be written to.
    """
    x = np.ascontiguousarray(x, dtype)
    x = x[...] if x.flags.aligned else x.copy()
    x.setflags(write=False)
    return x


def constants(points: Any, dtype: Any) -> tuple[Any, ...]:
    """Return what the product depends on besides arrays of the rows.

    That is `rbgs.conditional.race.whole_power`; the generators of the lattice, none where the
    samples are independent; the two quadratures of the control variate, without it empty; and
    numbers.
    """
    temperature = points.temperature if isinstance(points.temperature, float) else None
    is_lattice = points.key is None and points.samples > 1
    samples = points.samples if is_lattice else None
    return _constants(temperature, samples, points.control_variate, dtype)


@lru_cache(maxsize=64)
def _constants(
    temperature: float | None, samples: int | None, reduced: bool, dtype: Any
) -> tuple[Any, ...]:
    highest, limits = control_variate.HIGHEST_TEMPERATURE, np.finfo(dtype)
    # Over and over again, so that each category has a place.
    found = () if samples is None else np.resize(generators(samples), GENERATORS)
    counts = (0, 0)
    if reduced:
        nodes = control_variate.node_count(temperature or highest, dtype == np.float32)
        counts = (control_variate.MEAN_NODES, nodes)
    numbers = (
        control_variate.SHARE,
        limits.smallest_normal**control_variate.LEAST_POWER,
        lowest_log_prob(limits.max),
        highest,
    )
    return (
        whole_power(highest if temperature is None else temperature),
        _given(found, np.int32),
        *(_rule(count, dtype) for count in counts),
        np.asarray(numbers, dtype),
    )


def _rule(count: int, dtype: Any) -> Array:
    """Return nodes, their logarithms and the roots of the weights, one after the other."""
    nodes, weights = control_variate.RULES[count] if count else ((), ())
    return _given([nodes, np.log(nodes), np.sqrt(weights)], dtype).reshape(-1)


@lru_cache
def uniform_bounds(dtype: Any) -> Array:
    """Return what uniforms are kept within: see `rbgs.random.noise.exponential`."""
    return np.asarray(bounds(float(np.finfo(dtype).eps)), dtype)
