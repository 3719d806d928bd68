"""The compiled engine inside JAX's programs for processors.

This module is imported only when it is used: see `rbgs.arrays.engine`.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from rbgs.arrays.layout import is_row_by_row
from rbgs.arrays.loops import get_num_threads, part_size
from rbgs.arrays.typing import Array
from rbgs.compiled import kernels
from rbgs.compiled import numpy as compiled
from rbgs.compiled.compiler import inlined, jit
from rbgs.compiled.native import address_of
from rbgs.compiled.product import product as multiply
from rbgs.compiled.rows import RowFunction
from rbgs.compiled.xla import (
    WORK,
    WORTH_A_THREAD,
    argument,
    place,
    plan,
    result,
    serve,
    target,
    version,
)

_POWER = WORK + 1
_over_categories = inlined(is_row_by_row)


def normalise(logits: Array) -> tuple[Array, Array]:
    """Return what `rbgs.arrays.rows.normalise` does."""
    log_probs, valid = _normalise(logits, _plan(*logits.shape, logits.dtype, 1))
    return log_probs, valid


def race(log_probs: Array, uniforms: Array) -> tuple[Array, Array, Array]:
    """Return what `rbgs.conditional.race` does."""
    limits = compiled.uniform_bounds(np.dtype(log_probs.dtype))
    numbers = _plan(*log_probs.shape, log_probs.dtype, 2)
    winner, remaining, index = _race(log_probs, uniforms, limits, numbers)
    return index.astype(jnp.arange(1).dtype), winner, remaining


def product(points: Any, vector: Array) -> Array:
    """Return what `rbgs.conditional.samples.ConditionalSamples.product` does."""
    n, rows = vector.shape
    dtype = np.dtype(vector.dtype)
    temperature = jnp.reshape(jnp.asarray(points.temperature, dtype), (-1,))
    key = jnp.zeros((2, rows), jnp.int32) if points.key is None else points.key
    index = points.index.astype(jnp.int32)
    of_rows = (points.log_probs, points.exponentials, index, temperature, key)
    power, *constants = compiled.constants(points, dtype)
    numbers = _plan(n, rows, dtype, points.samples, power)
    return _multiplied(vector, (*of_rows, *constants, numbers))


@jax.custom_jvp
def _multiplied(vector: Array, others: Any) -> Array:
    log_probs, *others = others
    return _product(log_probs, vector, *others)[0]


@partial(_multiplied.defjvp, symbolic_zeros=True)
def _multiplied_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    """Multiply the tangent of the vector: the product is linear in it, and symmetric."""
    (vector, others), (tangent, of_others) = primals, tangents
    if not all(isinstance(x, SymbolicZero) for x in of_others):
        raise NotImplementedError(
            "the compiled engine has no derivative of a product for the temperature: call "
            "rbgs.set_compiled(False), or apply jax.lax.stop_gradient to it"
        )
    product = jax.lax.custom_linear_solve(
        lambda x: x, tangent, lambda _, x: _multiplied(x, others), symmetric=True
    )
    return _multiplied(vector, others), product


def _plan(n: int, rows: int, dtype: Any, work: int, *further: int) -> Array:
    """Return the plan of a call: see `rbgs.compiled.xla`."""
    step = compiled.step(np.dtype(dtype), is_row_by_row(n, rows))
    is_shared = n * rows * work >= WORTH_A_THREAD
    part = part_size(rows, step) if is_shared else max(1, rows)
    return np.asarray([part, get_num_threads(), work, *further], np.int32)


@jit
def _normalise_part(frame, part, dtype):
    i, begin, end, n, rows = place(frame, part)
    kernels.normalise(
        result(frame, 0, 2, i, dtype),
        result(frame, 1, 1, i, np.bool_),
        begin,
        end,
        n,
        _over_categories(n, rows),
        argument(frame, 0, 2, i, dtype),
    )


@jit
def _race_part(frame, part, dtype):
    i, begin, end, n, rows = place(frame, part)
    limits = argument(frame, 2, 1, 0, dtype)
    kernels.race(
        result(frame, 2, 1, i, np.int32),
        result(frame, 0, 2, i, dtype),
        result(frame, 1, 2, i, dtype),
        begin,
        end,
        n,
        _over_categories(n, rows),
        argument(frame, 0, 2, i, dtype),
        argument(frame, 1, 2, i, dtype),
        limits[0],
        limits[1],
    )


@jit
def _product_part(frame, part, dtype):
    i, begin, end, n, rows = place(frame, part)
    counts = plan(frame)
    samples, power = counts[WORK], counts[_POWER]
    numbers = argument(frame, 9, 1, 0, dtype)
    multiply(
        result(frame, 0, 2, i, dtype),
        begin,
        end,
        n,
        _over_categories(n, rows),
        np.int64(0),
        np.int64(samples),
        argument(frame, 0, 2, i, dtype),
        argument(frame, 1, 2, i, dtype),
        argument(frame, 2, 2, i, dtype),
        argument(frame, 3, 1, i, np.int32),
        argument(frame, 4, 1, i, dtype),
        np.int64(power),
        argument(frame, 5, 2, i, np.uint32),
        argument(frame, 6, 1, 0, np.int32),
        np.int64(samples),
        argument(frame, 7, 1, 0, dtype),
        argument(frame, 8, 1, 0, dtype),
        numbers[0],
        numbers[1],
        numbers[2],
        numbers[3],
    )


# What XLA calls. What is called here is at the top level of a file: see `rbgs.compiled.compiler`.
@jit
def normalise_float32(frame):
    """Normalise in single precision."""
    return serve(frame, address_of(_normalise_part, (np.float32,)))


@jit
def normalise_float64(frame):
    """Normalise in double precision."""
    return serve(frame, address_of(_normalise_part, (np.float64,)))


@jit
def race_float32(frame):
    """Run the race in single precision."""
    return serve(frame, address_of(_race_part, (np.float32,)))


@jit
def race_float64(frame):
    """Run the race in double precision."""
    return serve(frame, address_of(_race_part, (np.float64,)))


@jit
def product_float32(frame):
    """Compute the product in single precision."""
    return serve(frame, address_of(_product_part, (np.float32,)))


@jit
def product_float64(frame):
    """Compute the product in double precision."""
    return serve(frame, address_of(_product_part, (np.float64,)))


_normalise = RowFunction(
    ("nr", "c"),
    (("nr", None), ("r", np.bool_)),
    {"float32": normalise_float32, "float64": normalise_float64},
)
_race = RowFunction(
    ("nr", "nr", "u", "c"),
    (("rn", None), ("nr", None), ("r", np.int32)),
    {"float32": race_float32, "float64": race_float64},
)
_product = RowFunction(
    ("nr", "nr", "nr", "r", "r", "wr", "l", "m", "q", "u", "c"),
    (("nr", None),),
    {"float32": product_float32, "float64": product_float64},
)

# Called here, so that a JAX whose interface has another version fails the import.
target(version)
