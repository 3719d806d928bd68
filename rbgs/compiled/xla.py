"""XLA's foreign function interface, for functions that Numba compiles.

XLA calls a function with one argument, the call frame, whose layout is part of its stable binary
interface: ``xla/ffi/api/c_api.h``, version 0. As words of 64 bits, with what is used here:

====  ====================================================  ====  ================================
word  of the frame                                          word  of the interface
====  ====================================================  ====  ================================
1     extension, if XLA asks for the version                4     version: major, minor
2     address of the interface                              8     function that frees an error
3     context of the execution                              17    function that schedules a task
7, 9  number of arguments, address of their addresses
14    address of the addresses of the results
====  ====================================================  ====  ================================

The version is asked for once, when the function is registered.
"""

import os
from typing import Any

import numba as nb
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from rbgs.compiled.math import jit

_let_others_run = nb.types.ExternalFunction(
    "SwitchToThread" if os.name == "nt" else "sched_yield", nb.types.int32()
)
_METADATA = 1  # the type of the extension

# Words of what the threads share: two counters, the number of parts, the frame, the threads that
# still look at it, and the arguments of a call to XLA.
_NEXT, _DONE, _PARTS, _FRAME, _USERS, _CALL, _SIZE = 0, 1, 2, 3, 4, 5, 10


@intrinsic
def pointer(_: Any, address: Any) -> Any:
    """Turn an address into a pointer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return nb.types.voidptr(nb.types.int64), generate


@jit
def words(address, count):
    """Return the words of 64 bits at an address."""
    return nb.carray(pointer(address), (count,), np.int64)


@jit
def tells_version(frame):
    """Answer XLA's question for the version, if that is what it asks."""
    if frame[1] == 0:
        return False
    extension = words(frame[1], 4)
    if np.int32(extension[1]) != _METADATA:
        return False
    metadata = nb.carray(pointer(extension[3]), (9,), np.int32)
    minor = nb.carray(pointer(frame[2]), (10,), np.int32)[9]
    metadata[6], metadata[7] = 0, minor  # another major version would be another layout
    metadata[8] = 0
    return True


@jit
def array(addresses, number, rank, batch, dtype, size):
    """Return one array of a batch: its buffer's axes before the last ``rank`` number the batch."""
    buffer = words(addresses[number], 6)
    sizes = words(buffer[5], buffer[4])
    columns = sizes[buffer[4] - 1]
    rows = sizes[buffer[4] - 2] if rank == 2 else 1
    offset = batch * rows * columns * size
    return nb.carray(pointer(buffer[3] + offset), (rows, columns), dtype)


@intrinsic
def _allocate(_: Any, size: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        found = context.nrt.allocate(builder, arguments[0])
        return builder.ptrtoint(found, context.get_value_type(signature.return_type))

    return nb.types.int64(nb.types.int64), generate


@intrinsic
def _free(_: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        context.nrt.free(builder, builder.inttoptr(arguments[0], ir.IntType(8).as_pointer()))
        return context.get_dummy_value()

    return nb.types.void(nb.types.int64), generate


@intrinsic
def _add(_: Any, address: Any, value: Any) -> Any:
    """Add to the word at an address, one thread at a time, and return what it was."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", place, arguments[1], "seq_cst")

    return nb.types.int64(nb.types.int64, nb.types.int64), generate


@intrinsic
def _call(_: Any, function: Any, arguments: Any) -> Any:
    """Call a function of the interface, given the address of its arguments."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        function = builder.inttoptr(arguments[0], ir.FunctionType(word, [word]).as_pointer())
        return builder.call(function, [arguments[1]])

    return nb.types.int64(nb.types.int64, nb.types.int64), generate


@intrinsic
def _task(typing: Any, function: Any) -> Any:
    """Return the address of a compiled function of one word, as C calls it."""
    function.get_call_type(typing, (nb.types.int64,), {})

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        compiled = function.dispatcher.overloads[(nb.types.int64,)]
        context.active_code_library.add_linking_library(compiled.library)
        word, kind = ir.IntType(64), ir.FunctionType(ir.VoidType(), [ir.IntType(64)])
        outer = ir.Function(builder.module, kind, f"{compiled.fndesc.mangled_name}.task")
        outer.linkage = "internal"
        inside = ir.IRBuilder(outer.append_basic_block())
        inner = context.declare_function(builder.module, compiled.fndesc)
        context.call_conv.call_function(
            inside, inner, compiled.fndesc.restype, compiled.fndesc.argtypes, outer.args
        )
        inside.ret_void()
        return builder.ptrtoint(outer, word)

    return nb.types.int64(function), generate


def sharing(run: Any) -> Any:
    """Return a compiled function that runs the parts of a call, also on the threads of XLA.

    Each thread takes the next part until none is left. The one that was called does so too, so it
    never waits for a thread that has not begun; a thread that comes too late finds nothing to do.

    Parameters
    ----------
    run : compiled function
        Called with the address of the frame and the number of a part.

    Returns
    -------
    compiled function
        Of the address of the frame, the number of parts and the number of threads.
    """

    @jit
    def take(state):
        shared = words(state, _SIZE)
        while True:
            part = _add(state + 8 * _NEXT, 1)
            if part >= shared[_PARTS]:
                return
            run(shared[_FRAME], part)
            _add(state + 8 * _DONE, 1)

    @jit
    def leave(state):
        if _add(state + 8 * _USERS, -1) == 1:
            _free(state)

    @jit
    def assist(state):
        take(state)
        leave(state)

    @jit
    def share(address, parts, threads):
        frame = words(address, 15)
        interface = words(frame[2], 18)
        helpers = min(parts, threads) - 1
        if helpers < 1:
            for part in range(parts):
                run(address, part)
            return
        state = _allocate(8 * _SIZE)
        shared = words(state, _SIZE)
        shared[_NEXT] = shared[_DONE] = 0
        shared[_PARTS], shared[_FRAME], shared[_USERS] = parts, address, helpers + 1
        call = shared[_CALL:]
        for _ in range(helpers):
            call[0], call[1], call[2], call[3], call[4] = 40, 0, frame[3], _task(assist), state
            error = _call(interface[17], state + 8 * _CALL)
            if error != 0:  # there are no threads
                call[0], call[1], call[2] = 24, 0, error
                _call(interface[8], state + 8 * _CALL)
                leave(state)
        take(state)
        while _add(state + 8 * _DONE, 0) < parts:
            _let_others_run()
        leave(state)

    return share
