"""The compiled engine inside JAX's programs for processors.

This module is imported only when it is used: see `rbgs.conditional.samples`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.custom_partitioning import custom_partitioning

from rbgs.arrays.devices import explicit_sharding
from rbgs.arrays.loops import get_num_threads, part_size
from rbgs.arrays.tracing import is_traced_by_jax
from rbgs.arrays.typing import Array
from rbgs.compiled import kernels
from rbgs.compiled import numpy as compiled
from rbgs.compiled.compiler import jit
from rbgs.compiled.native import address_of
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
from rbgs.conditional.race import whole_power

# The operands of the call, those of the rows first, the plan last, and what it holds besides.
_LOG_PROBS, _VECTOR, _WINNER, _EXPONENTIALS, _TEMPERATURE, _KEY = range(6)
_LATTICE, _MEANS, _RULE, _NUMBERS = range(6, 10)
_POWER, _LANES = WORK + 1, WORK + 2


def product(points: Any, vector: Array) -> Array:
    """Return what `rbgs.conditional.samples.ConditionalSamples.product` does, for arrays of JAX."""
    n, rows = vector.shape
    dtype = np.dtype(vector.dtype)
    temperature = jnp.reshape(jnp.asarray(points.temperature, dtype), (-1,))
    key = jnp.zeros((2, rows), jnp.int32) if points.key is None else points.key
    of_rows = (points.log_probs, vector, points.winner, points.exponentials, temperature, key)
    is_shared = n * rows * points.samples >= WORTH_A_THREAD
    lanes = compiled.lanes_at_once(n, rows, is_shared)
    part = part_size(rows, lanes) if is_shared else max(1, rows)
    numbers = part, get_num_threads(), points.samples, whole_power(points.temperature), lanes
    constants = (
        compiled.lattice(points).astype(np.int32),
        *compiled.rules(points),
        np.asarray(compiled.numbers(dtype), dtype),
        np.asarray(numbers, np.int32),
    )
    call = _over_batches if any(map(is_traced_by_jax, of_rows)) else _call
    return call(*of_rows, *constants)


def _call(*operands: Array) -> Array:
    """Call the compiled function; axes before those named above number a batch."""
    vector = operands[_VECTOR]
    sharding = explicit_sharding(vector)
    shape = jax.ShapeDtypeStruct(vector.shape, vector.dtype, sharding=sharding)
    return jax.ffi.ffi_call(target(_PRODUCTS[vector.dtype.name]), shape)(*operands)


def _partition(mesh: Any, operands: Any, result: Any) -> tuple[Any, ...]:
    """Return what each device computes, and which part: of batches and rows that of the result."""
    *batch, _, rows = result.sharding.spec
    shardings = []
    for number, x in enumerate((*operands, result)):
        spec: tuple[Any, ...] = ()
        if number < _LATTICE or x is result:
            between = (None,) * (len(x.shape) - len(batch) - 1)
            spec = (*batch, *between, rows if x.shape[-1] > 1 else None)
        shardings.append(jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec)))
    return mesh, _call, shardings.pop(), tuple(shardings)


def _sharding_rule(mesh: Any, operands: Any, results: Any) -> tuple[str, dict[str, Any]]:
    """Return which axes are spread together: those of batches, and that of the rows ``r``."""
    temperature = "t" if operands[_TEMPERATURE].shape[-1] == 1 else "r"
    of_rows = f"{'... n r,' * 4} ... {temperature}, ... w r"
    rule = f"{of_rows}, l, i m, j k, u, c -> ... n r"
    whole = [axis for axis in "ntwlimjkuc" if axis in rule]
    return rule, {"need_replication_factors": tuple(whole)}


# XLA knows nothing of the function: without a rule it would gather all rows on each device.
_over_devices = custom_partitioning(_call)
_over_devices.def_partition(_partition, sharding_rule=_sharding_rule)


@jax.custom_batching.custom_vmap
def _over_batches(*operands: Array) -> Array:
    # Under shard_map the rows are those of one device.
    is_shard = jax.sharding.AxisType.Manual in jax.sharding.get_abstract_mesh().axis_types
    return (_call if is_shard else _over_devices)(*operands)


@_over_batches.def_vmap
def _(size: int, is_batched: list[bool], *operands: Array) -> tuple[Array, bool]:
    of_rows = [
        x if batched else jnp.broadcast_to(x, (size, *x.shape))
        for x, batched in zip(operands[:_LATTICE], is_batched, strict=False)
    ]
    return _over_batches(*of_rows, *operands[_LATTICE:]), True


@jit
def _part(frame, part, dtype):
    i, begin, end = place(frame, part)
    counts = plan(frame)
    samples, power, lanes = counts[WORK], counts[_POWER], counts[_LANES]
    numbers = argument(frame, _NUMBERS, 1, 0, dtype)[0]
    kernels.product(
        result(frame, 0, 2, i, dtype),
        begin,
        end,
        np.int64(lanes),
        np.int64(0),
        np.int64(samples),
        argument(frame, _LOG_PROBS, 2, i, dtype),
        argument(frame, _VECTOR, 2, i, dtype),
        argument(frame, _WINNER, 2, i, dtype),
        argument(frame, _EXPONENTIALS, 2, i, dtype),
        argument(frame, _TEMPERATURE, 1, i, dtype)[0],
        np.int64(power),
        argument(frame, _KEY, 2, i, np.uint32),
        argument(frame, _LATTICE, 1, 0, np.int32)[0],
        np.int64(samples),
        argument(frame, _MEANS, 2, 0, dtype),
        argument(frame, _RULE, 2, 0, dtype),
        numbers[0],
        numbers[1],
        numbers[2],
        numbers[3],
    )


# What XLA calls. What is called here is at the top level of a file: see `rbgs.compiled.compiler`.
@jit
def product_float32(frame):
    """Compute the product in single precision."""
    return serve(frame, address_of(_part, (np.float32,)))


@jit
def product_float64(frame):
    """Compute the product in double precision."""
    return serve(frame, address_of(_part, (np.float64,)))


_PRODUCTS = {"float32": product_float32, "float64": product_float64}

# Called here, so that a JAX whose interface has another version fails the import.
target(version)
