"""The compiled engine inside JAX's programs for processors.

This module is imported only when it is used: see `rbgs.conditional.samples`.
"""

import ctypes
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numba as nb
import numpy as np
from jax.experimental.custom_partitioning import custom_partitioning

from rbgs.arrays.devices import explicit_sharding
from rbgs.arrays.loops import get_num_threads, part_size
from rbgs.arrays.tracing import is_traced_by_jax
from rbgs.arrays.typing import Array
from rbgs.compiled import kernels
from rbgs.compiled import numpy as compiled
from rbgs.compiled.math import HAS_CACHE, jit
from rbgs.compiled.xla import array, sharing, tells_version, words
from rbgs.conditional.race import whole_power

# Elements: XLA's threads wait without sleeping, for them less work is enough.
_WORTH_A_THREAD = 2**16

# The operands of the call, those of the rows first, and the numbers in one of them.
_LOG_PROBS, _VECTOR, _WINNER, _EXPONENTIALS, _TEMPERATURE, _KEY = range(6)
_LATTICE, _COUNTS, _MEANS, _RULE, _NUMBERS = range(6, 11)
_SAMPLES, _POWER, _LANES, _PART, _THREADS = range(5)


def product(points: Any, vector: Array) -> Array:
    """Return what `rbgs.conditional.samples.ConditionalSamples.product` does, for arrays of JAX."""
    n, rows = vector.shape
    dtype = np.dtype(vector.dtype)
    temperature = jnp.reshape(jnp.asarray(points.temperature, dtype), (-1,))
    key = jnp.zeros((2, rows), jnp.int32) if points.key is None else points.key
    of_rows = (points.log_probs, vector, points.winner, points.exponentials, temperature, key)
    is_shared = n * rows * points.samples >= _WORTH_A_THREAD
    lanes = compiled.lanes_at_once(n, rows, is_shared)
    part = part_size(rows, lanes) if is_shared else max(1, rows)
    counts = points.samples, whole_power(points.temperature), lanes, part, get_num_threads()
    constants = (
        compiled.lattice(points).astype(np.int32),
        np.asarray(counts, np.int32),
        *compiled.rules(points),
        np.asarray(compiled.numbers(dtype), dtype),
    )
    call = _over_batches if any(map(is_traced_by_jax, of_rows)) else _call
    return call(*of_rows, *constants)


def _call(*operands: Array) -> Array:
    """Call the compiled function; axes before those named above number a batch."""
    vector = operands[_VECTOR]
    sharding = explicit_sharding(vector)
    result = jax.ShapeDtypeStruct(vector.shape, vector.dtype, sharding=sharding)
    return jax.ffi.ffi_call(_target(vector.dtype.name), result)(*operands)


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
    rule = f"{of_rows}, l, c, i m, j k, u -> ... n r"
    whole = [axis for axis in "ntwlcimjku" if axis in rule]
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


@lru_cache
def _target(dtype: str) -> str:
    """Register the function for a dtype, and return its name."""
    name = f"rbgs_product_{dtype}"
    address = ctypes.c_void_p(_handler(dtype).address)
    jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(address), platform="cpu")
    return name


@jit
def _extent(frame):
    """Return the shape of the result: the batch as one axis, categories, rows."""
    result = words(words(frame[14], 1)[0], 6)
    sizes, batches = words(result[5], result[4]), 1
    for axis in range(result[4] - 2):
        batches *= sizes[axis]
    return batches, sizes[result[4] - 2], sizes[result[4] - 1]


@jit
def _counts(frame):
    return array(words(frame[9], frame[7]), _COUNTS, 1, 0, np.int32, 4)[0]


@lru_cache  # which keeps it, too: XLA has its address only
def _handler(name: str) -> Any:
    """Compile the function that XLA calls, for the dtype of that name."""
    dtype, width = np.dtype(name).type, np.dtype(name).itemsize

    @jit
    def run(address, part):
        frame = words(address, 15)
        given, results = words(frame[9], frame[7]), words(frame[14], 1)
        rows, counts = _extent(frame)[2], _counts(frame)
        parts = -(-rows // counts[_PART])
        i, begin = part // parts, part % parts * counts[_PART]
        out = array(results, 0, 2, i, dtype, width)
        numbers = array(given, _NUMBERS, 1, 0, dtype, width)[0]
        kernels.product(
            out,
            begin,
            min(begin + counts[_PART], rows),
            counts[_LANES],
            0,
            counts[_SAMPLES],
            array(given, _LOG_PROBS, 2, i, dtype, width),
            array(given, _VECTOR, 2, i, dtype, width),
            array(given, _WINNER, 2, i, dtype, width),
            array(given, _EXPONENTIALS, 2, i, dtype, width),
            array(given, _TEMPERATURE, 1, i, dtype, width)[0],
            counts[_POWER],
            array(given, _KEY, 2, i, np.uint32, 4),
            array(given, _LATTICE, 1, 0, np.int32, 4)[0],
            counts[_SAMPLES],
            array(given, _MEANS, 2, 0, dtype, width),
            array(given, _RULE, 2, 0, dtype, width),
            numbers[0],
            numbers[1],
            numbers[2],
            numbers[3],
        )

    share = sharing(run)

    def handler(address: Any) -> Any:
        frame = nb.carray(address, (15,))
        if tells_version(frame):
            return 0
        (batches, n, rows), counts = _extent(frame), _counts(frame)
        elements = batches * n * rows * counts[_SAMPLES]
        threads = counts[_THREADS] if elements >= _WORTH_A_THREAD else 1
        share(frame.ctypes.data, batches * -(-rows // counts[_PART]), threads)
        return 0

    signature = nb.types.int64(nb.types.CPointer(nb.types.int64))
    return nb.cfunc(signature, cache=HAS_CACHE)(handler)
