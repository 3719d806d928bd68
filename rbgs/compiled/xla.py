"""XLA's foreign function interface, for functions that Numba compiles.

XLA calls a function with one argument, the call frame, whose layout is part of its stable binary
interface: ``xla/ffi/api/c_api.h``, version 0. As words of 64 bits, with what is used here:

====  ====================================================  ====  ================================
word  of the frame                                          word  of the interface
====  ====================================================  ====  ================================
1     extension, if XLA asks for the version                4     version: major, minor
2     address of the interface                              6     function that makes an error
3     context of the execution                              8     function that frees an error
7, 9  number of arguments, address of their addresses       17    function that schedules a task
14    address of the addresses of the results
====  ====================================================  ====  ================================

A compiled function takes its share of a call in parts of the rows of the first result, whose axes
before the last two number a batch: it is called with the address of the frame, the number of a part
and a dtype. The last argument of the call is the plan, 32-bit integers: `PART`, `THREADS`, `WORK`,
and what else the function needs.
"""

import ctypes
import os
from functools import lru_cache
from typing import Any

import jax
import numba as nb
import numpy as np

from rbgs.compiled.compiler import inlined, jit
from rbgs.compiled.native import add, address_of, allocate, call, free, pointer, read_only

# Of the plan: rows in a part, the threads that may share it, and the work for an element.
PART, THREADS, WORK = range(3)

# Elements times work: XLA's threads wait without sleeping, for them less is enough.
WORTH_A_THREAD = 2**16

MAJOR = 0  # the version of the interface with this layout
_MINOR = np.int32(1)  # where XLA asks without the address of its interface, as for JAX 0.6
_METADATA = 1  # the type of the extension
_RESOURCE_EXHAUSTED = 8
_MESSAGE = np.frombuffer(b"rbgs: no memory is left for the compiled engine\0", np.uint8)

# Words of what the threads share: counters, the number of parts, the function and its frame, the
# threads that still look at it, and the arguments of a call to XLA.
_NEXT, _DONE, _FAILED, _PARTS, _FUNCTION, _FRAME, _USERS, _CALL, _SIZE = 0, 1, 2, 3, 4, 5, 6, 7, 12

_let_others_run = nb.types.ExternalFunction(
    "SwitchToThread" if os.name == "nt" else "sched_yield", nb.types.int32()
)


@inlined
def _words(address, count):
    """Return the words of 64 bits at an address."""
    return nb.carray(pointer(address), (count,), np.int64)


@inlined
def _shape(buffer, rank):
    """Return the shape of a buffer: the axes before the last ``rank`` as one, and two."""
    axes = buffer[4]
    sizes, batches = _words(buffer[5], axes), 1
    for axis in range(axes - rank):
        batches *= sizes[axis]
    return batches, sizes[axes - 2] if rank == 2 else 1, sizes[axes - 1]


@inlined
def _argument(frame, number):
    return _words(_words(_words(frame, 10)[9], number + 1)[number], 6)


@inlined
def _result(frame, number):
    return _words(_words(_words(frame, 15)[14], number + 1)[number], 6)


@inlined
def argument(frame, number, rank, batch, dtype):
    """Return the numbers of an argument: of its last ``rank`` axes, those before number a batch."""
    buffer = _argument(frame, number)
    batches, n, rows = _shape(buffer, rank)
    return read_only(nb.carray(pointer(buffer[3]), (batches, n * rows), dtype)[batch])


@inlined
def result(frame, number, rank, batch, dtype):
    """Return the numbers of a result, as those of an argument."""
    buffer = _result(frame, number)
    batches, n, rows = _shape(buffer, rank)
    return nb.carray(pointer(buffer[3]), (batches, n * rows), dtype)[batch]


@inlined
def plan(frame):
    """Return the numbers that the last argument holds."""
    return argument(frame, _words(frame, 10)[7] - 1, 1, 0, np.int32)


@inlined
def place(frame, part):
    """Return where a part is: the number in the batch, its first and last row; and the sizes."""
    (_, n, rows), size = _shape(_result(frame, 0), 2), plan(frame)[PART]
    parts = -(-rows // size)
    begin = part % parts * size
    return part // parts, begin, min(begin + size, rows), n, rows


@jit
def _take(state):
    """Call the function for the next part, until none is left."""
    shared = _words(state, _SIZE)
    while True:
        part = add(state + 8 * _NEXT, 1)
        if part >= shared[_PARTS]:
            return
        add(state + 8 * _FAILED, call(shared[_FUNCTION], (shared[_FRAME], part)))
        add(state + 8 * _DONE, 1)


@inlined
def _leave(state):
    if add(state + 8 * _USERS, -1) == 1:
        free(state)


@jit
def _assist(state):
    _take(state)
    _leave(state)


@jit
def _share(frame, function, parts, threads):
    """Call a function for the parts of a call, also on the threads of XLA; return an error.

    Each thread takes the next part until none is left. The one that was called does so too, so it
    never waits for a thread that has not begun; a thread that comes too late finds nothing to do.
    """
    context, interface = _words(frame, 4)[3], _words(_words(frame, 4)[2], 18)
    helpers = max(0, min(parts, threads) - 1)
    state = allocate(8 * _SIZE)
    shared = _words(state, _SIZE)
    shared[_NEXT] = shared[_DONE] = shared[_FAILED] = 0
    shared[_PARTS], shared[_FUNCTION], shared[_FRAME] = parts, function, frame
    shared[_USERS] = helpers + 1
    request = shared[_CALL:]
    for _ in range(helpers):
        request[0], request[1], request[2] = 40, 0, context
        request[3], request[4] = address_of(_assist, ()), state
        error = call(interface[17], (state + 8 * _CALL,))
        if error != 0:  # there are no threads
            request[0], request[1], request[2] = 24, 0, error
            call(interface[8], (state + 8 * _CALL,))
            _leave(state)
    _take(state)
    while add(state + 8 * _DONE, 0) < parts:
        _let_others_run()
    error = 0
    if shared[_FAILED] != 0:
        request[0], request[1] = 32, 0
        request[2], request[3] = _MESSAGE.ctypes.data, _RESOURCE_EXHAUSTED
        error = call(interface[6], (state + 8 * _CALL,))
    _leave(state)
    return error


@inlined
def _tells_version(frame):
    """Answer XLA's question for the version, if that is what it asks."""
    extension = _words(frame, 2)[1]
    if extension == 0 or np.int32(_words(extension, 2)[1]) != _METADATA:
        return False
    metadata = nb.carray(pointer(_words(extension, 4)[3]), (9,), np.int32)
    interface, minor = _words(frame, 3)[2], _MINOR
    if interface != 0:
        minor = nb.carray(pointer(interface), (10,), np.int32)[9]
    metadata[6], metadata[7] = MAJOR, minor  # XLA refuses what it does not speak
    metadata[8] = 0
    return True


@jit
def serve(frame, function):
    """Answer a call of XLA by the function at an address: see `address_of`."""
    if _tells_version(frame):
        return 0
    (batches, n, rows), numbers = _shape(_result(frame, 0), 2), plan(frame)
    is_shared = batches * n * rows * numbers[WORK] >= WORTH_A_THREAD
    parts = batches * -(-rows // numbers[PART])
    return _share(frame, function, parts, numbers[THREADS] if is_shared else 1)


@lru_cache
def target(handler: Any) -> str:
    """Register a compiled function of the address of a frame with XLA, and return its name."""
    signature = nb.types.int64(nb.types.int64)
    handler.compile(signature)
    compiled = handler.overloads[signature.args]
    address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_cfunc_wrapper_name)
    name = f"rbgs_{handler.__name__}"
    capsule = jax.ffi.pycapsule(ctypes.c_void_p(address))
    jax.ffi.register_ffi_target(name, capsule, platform="cpu")
    return name


@jit
def version(frame):
    """Do nothing but tell the version, to be refused."""
    _tells_version(frame)
    return 0
