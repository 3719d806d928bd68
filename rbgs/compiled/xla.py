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
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from rbgs.compiled.compiler import inlined, jit

# Of the plan: rows in a part, the threads that may share it, and the work for an element.
PART, THREADS, WORK = range(3)

# Elements times work: XLA's threads wait without sleeping, for them less is enough.
WORTH_A_THREAD = 2**16

MAJOR = 0  # the version of the interface with this layout
_METADATA = 1  # the type of the extension
_RESOURCE_EXHAUSTED = 8
_MESSAGE = np.frombuffer(b"rbgs: no memory is left for the compiled engine\0", np.uint8)

# Words of what the threads share: counters, the number of parts, the function and its frame, the
# threads that still look at it, and the arguments of a call to XLA.
_NEXT, _DONE, _FAILED, _PARTS, _FUNCTION, _FRAME, _USERS, _CALL, _SIZE = 0, 1, 2, 3, 4, 5, 6, 7, 12

_let_others_run = nb.types.ExternalFunction(
    "SwitchToThread" if os.name == "nt" else "sched_yield", nb.types.int32()
)


@intrinsic
def _pointer(_: Any, address: Any) -> Any:
    """Turn an address into a pointer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return nb.types.voidptr(nb.types.int64), generate


@intrinsic
def _read_only(_: Any, array: Any) -> Any:
    """Return an array as one that cannot be written to: for such kernels are compiled."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return arguments[0]

    return array.copy(readonly=True)(array), generate


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
def _call(_: Any, function: Any, given: Any) -> Any:
    """Call the function at an address with a tuple of words, and return the word it returns."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word, values = ir.IntType(64), cgutils.unpack_tuple(builder, arguments[1])
        kind = ir.FunctionType(word, [word] * len(values))
        return builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), values)

    return nb.types.int64(nb.types.int64, nb.types.UniTuple(nb.types.int64, len(given))), generate


@intrinsic
def address_of(typing: Any, function: Any, types: Any) -> Any:
    """Return the address of a compiled function, as C calls it with words.

    Parameters
    ----------
    function : compiled function
        Of words, and of ``types`` behind them.
    types : tuple
        Dtypes.

    Returns
    -------
    int
        The function there returns 1 if ``function`` raises, otherwise 0.
    """
    words = function.dispatcher.py_func.__code__.co_argcount - len(types)
    given = (*[nb.types.int64] * words, *types)
    function.get_call_type(typing, given, {})

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        compiled = function.dispatcher.overloads[given]
        context.active_code_library.add_linking_library(compiled.library)
        word = ir.IntType(64)
        name = f"{compiled.fndesc.mangled_name}.called_by_c"
        outer = ir.Function(builder.module, ir.FunctionType(word, [word] * words), name)
        outer.linkage = "internal"
        inside = ir.IRBuilder(outer.append_basic_block())
        inner = context.declare_function(builder.module, compiled.fndesc)
        empty = [ir.Constant(context.get_value_type(x), None) for x in types]
        status, _ = context.call_conv.call_function(
            inside,
            inner,
            compiled.fndesc.restype,
            compiled.fndesc.argtypes,
            [*outer.args, *empty],
        )
        inside.ret(inside.zext(status.is_error, word))
        return builder.ptrtoint(outer, word)

    return nb.types.int64(function, types), generate


@inlined
def _words(address, count):
    """Return the words of 64 bits at an address."""
    return nb.carray(_pointer(address), (count,), np.int64)


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
    return _read_only(nb.carray(_pointer(buffer[3]), (batches, n * rows), dtype)[batch])


@inlined
def result(frame, number, rank, batch, dtype):
    """Return the numbers of a result, as those of an argument."""
    buffer = _result(frame, number)
    batches, n, rows = _shape(buffer, rank)
    return nb.carray(_pointer(buffer[3]), (batches, n * rows), dtype)[batch]


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
        part = _add(state + 8 * _NEXT, 1)
        if part >= shared[_PARTS]:
            return
        _add(state + 8 * _FAILED, _call(shared[_FUNCTION], (shared[_FRAME], part)))
        _add(state + 8 * _DONE, 1)


@inlined
def _leave(state):
    if _add(state + 8 * _USERS, -1) == 1:
        _free(state)


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
    state = _allocate(8 * _SIZE)
    shared = _words(state, _SIZE)
    shared[_NEXT] = shared[_DONE] = shared[_FAILED] = 0
    shared[_PARTS], shared[_FUNCTION], shared[_FRAME] = parts, function, frame
    shared[_USERS] = helpers + 1
    call = shared[_CALL:]
    for _ in range(helpers):
        call[0], call[1], call[2], call[3], call[4] = 40, 0, context, address_of(_assist, ()), state
        error = _call(interface[17], (state + 8 * _CALL,))
        if error != 0:  # there are no threads
            call[0], call[1], call[2] = 24, 0, error
            _call(interface[8], (state + 8 * _CALL,))
            _leave(state)
    _take(state)
    while _add(state + 8 * _DONE, 0) < parts:
        _let_others_run()
    error = 0
    if shared[_FAILED] != 0:
        call[0], call[1], call[2], call[3] = 32, 0, _MESSAGE.ctypes.data, _RESOURCE_EXHAUSTED
        error = _call(interface[6], (state + 8 * _CALL,))
    _leave(state)
    return error


@inlined
def _tells_version(frame):
    """Answer XLA's question for the version, if that is what it asks."""
    extension = _words(frame, 2)[1]
    if extension == 0 or np.int32(_words(extension, 2)[1]) != _METADATA:
        return False
    metadata = nb.carray(_pointer(_words(extension, 4)[3]), (9,), np.int32)
    minor = nb.carray(_pointer(_words(frame, 3)[2]), (10,), np.int32)[9]
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
