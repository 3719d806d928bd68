"""The compiled engine inside JAX's programs for processors.

XLA calls a compiled function with one argument, the call frame of its foreign function interface,
whose layout is part of its stable binary interface: ``xla/ffi/api/c_api.h``, version 0. Read as
words of 64 bits it holds

====  ==============================================
word
====  ==============================================
0     size of the frame in bytes
1     extension, if XLA asks for the version
2     the interface of XLA, with its version
7, 9  number of arguments, address of their addresses
14    address of the addresses of the results
====  ==============================================

The version is asked for once, when the function is registered. This module is imported only when it
is used: see `rbgs.samples`.
"""

import ctypes
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numba as nb
import numpy as np
from numba.extending import intrinsic

from rbgs import compiled
from rbgs import compiled_kernels as kernels
from rbgs._typing import Array
from rbgs.compiled_math import jit
from rbgs.conditional import whole_power
from rbgs.engine import get_num_threads, is_worth_threads

_METADATA = 1  # the type of the extension


def product(points: Any, vector: Array) -> Array:
    """Return what `rbgs.samples.ConditionalSamples.product` does, for arrays of JAX."""
    n, rows = vector.shape
    dtype = np.dtype(vector.dtype)
    temperature = jnp.reshape(jnp.asarray(points.temperature, dtype), (-1,))
    key = jnp.zeros((2, rows), jnp.int32) if points.key is None else points.key
    of_rows = (points.log_probs, vector, points.winner, points.exponentials, temperature, key)
    is_shared = is_worth_threads(n * rows * points.samples)
    lanes = compiled.lanes_at_once(n, rows, is_shared)
    constants = (
        compiled.lattice(points).astype(np.int32),
        np.asarray([points.samples, whole_power(points.temperature), lanes], np.int32),
        *compiled.rules(points),
        np.asarray(compiled.numbers(dtype), dtype),
    )
    # XLA runs calls that do not depend on one another side by side.
    parts = get_num_threads() if is_shared else 1
    size = max(1, -(-rows // (parts * lanes))) * lanes
    results = []
    for start in range(0, max(1, rows), size):
        # One temperature may be that of all rows.
        taken = [x if x.shape[-1] == 1 else x[..., start : start + size] for x in of_rows]
        shape = jax.ShapeDtypeStruct(taken[1].shape, dtype)
        call = jax.ffi.ffi_call(_target(dtype.name), shape, vmap_method="broadcast_all")
        results.append(call(*taken, *constants))
    return jnp.concat(results, axis=-1)


@lru_cache
def _target(dtype: str) -> str:
    """Register the function for a dtype, and return its name."""
    name = f"rbgs_product_{dtype}"
    address = ctypes.c_void_p(_handler(dtype).address)
    jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(address), platform="cpu")
    return name


@intrinsic
def _pointer(_: Any, address: Any) -> Any:
    """Turn an address into a pointer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return nb.types.voidptr(nb.types.int64), generate


@jit
def _words(address, count):
    return nb.carray(_pointer(address), (count,), np.int64)


@jit
def _tells_version(frame):
    """Answer XLA's question for the version, if that is what it asks."""
    if frame[1] == 0:
        return False
    extension = _words(frame[1], 4)
    if np.int32(extension[1]) != _METADATA:
        return False
    metadata = nb.carray(_pointer(extension[3]), (9,), np.int32)
    minor = nb.carray(_pointer(frame[2]), (10,), np.int32)[9]
    metadata[6], metadata[7] = 0, minor  # another major version would be another layout
    metadata[8] = 0
    return True


@jit
def _array(addresses, number, rank, batch, dtype, size):
    """Return one array of a batch: its buffer's axes before the last ``rank`` number the batch."""
    buffer = _words(addresses[number], 6)
    sizes = _words(buffer[5], buffer[4])
    columns = sizes[buffer[4] - 1]
    rows = sizes[buffer[4] - 2] if rank == 2 else 1
    offset = batch * rows * columns * size
    return nb.carray(_pointer(buffer[3] + offset), (rows, columns), dtype)


@lru_cache  # which keeps it, too: XLA has its address only
def _handler(name: str) -> Any:
    """Compile the function that XLA calls, for the dtype of that name."""
    dtype, size = np.dtype(name).type, np.dtype(name).itemsize

    def handler(address: Any) -> Any:
        frame = nb.carray(address, (15,))
        if _tells_version(frame):
            return 0
        given, results = _words(frame[9], frame[7]), _words(frame[14], 1)
        result = _words(results[0], 6)
        sizes, batches = _words(result[5], result[4]), 1
        for axis in range(result[4] - 2):
            batches *= sizes[axis]
        for i in range(batches):
            out = _array(results, 0, 2, i, dtype, size)
            counts = _array(given, 7, 1, i, np.int32, 4)[0]
            numbers = _array(given, 10, 1, i, dtype, size)[0]
            kernels.product(
                out,
                0,
                out.shape[1],
                counts[2],
                0,
                counts[0],
                _array(given, 0, 2, i, dtype, size),
                _array(given, 1, 2, i, dtype, size),
                _array(given, 2, 2, i, dtype, size),
                _array(given, 3, 2, i, dtype, size),
                _array(given, 4, 1, i, dtype, size)[0],
                counts[1],
                _array(given, 5, 2, i, np.uint32, 4),
                _array(given, 6, 1, i, np.int32, 4)[0],
                counts[0],
                _array(given, 8, 2, i, dtype, size),
                _array(given, 9, 2, i, dtype, size),
                numbers[0],
                numbers[1],
                numbers[2],
                numbers[3],
            )
        return 0

    signature = nb.types.int64(nb.types.CPointer(nb.types.int64))
    return nb.cfunc(signature, cache=True)(handler)
