"""What Numba's language lacks: addresses, memory, atomic addition, calls by address."""

from typing import Any

import numba as nb
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def pointer(_: Any, address: Any) -> Any:
    """Turn an address into a pointer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return nb.types.voidptr(nb.types.int64), generate


@intrinsic
def read_only(_: Any, array: Any) -> Any:
    """Return an array as one that cannot be written to: for such kernels are compiled."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return arguments[0]

    return array.copy(readonly=True)(array), generate


@intrinsic
def allocate(_: Any, size: Any) -> Any:
    """Return the address of new memory of a number of bytes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        found = context.nrt.allocate(builder, arguments[0])
        return builder.ptrtoint(found, context.get_value_type(signature.return_type))

    return nb.types.int64(nb.types.int64), generate


@intrinsic
def free(_: Any, address: Any) -> Any:
    """Give memory of `allocate` back."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        context.nrt.free(builder, builder.inttoptr(arguments[0], ir.IntType(8).as_pointer()))
        return context.get_dummy_value()

    return nb.types.void(nb.types.int64), generate


@intrinsic
def add(_: Any, address: Any, value: Any) -> Any:
    """Add to the word at an address, one thread at a time, and return what it was."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", place, arguments[1], "seq_cst")

    return nb.types.int64(nb.types.int64, nb.types.int64), generate


@intrinsic
def call(_: Any, function: Any, given: Any) -> Any:
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
