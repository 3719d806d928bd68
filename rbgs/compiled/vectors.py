"""Vectors of a processor as a type of Numba, so that no loop need be recognised as one.

A vector has 128 bytes: 32 numbers in single, 16 in double precision. The compiler takes several
registers for one, which the processor computes side by side. Operators work lane by lane; a number
beside a vector is taken to its type, and counts for all of its lanes.
"""

import operator
from collections.abc import Callable
from typing import Any

import numba as nb
from llvmlite import ir
from numba.core import cgutils
from numba.core.datamodel import PrimitiveModel
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, register_model

from rbgs.arrays.layout import LANES

BYTES = 4 * LANES
# Of a builder, the type of the vectors, and the operands.
Emit = Callable[[Any, Any, list[Any]], Any]


class Vector(nb.types.Type):
    """The type of ``lanes`` numbers of type ``scalar``; a mask has booleans."""

    def __init__(self, scalar: Any, lanes: int) -> None:
        self.scalar, self.lanes = scalar, lanes
        super().__init__(name=f"Vector({scalar}, {lanes})")

    def of(self, scalar: Any) -> "Vector":
        """Return the type of as many lanes of another type of number."""
        return Vector(scalar, self.lanes)


def _llvm(scalar: Any, lanes: int) -> Any:
    if isinstance(scalar, nb.types.Float):
        element = ir.FloatType() if scalar.bitwidth == 32 else ir.DoubleType()
    else:
        element = ir.IntType(1 if scalar == nb.types.boolean else scalar.bitwidth)
    return ir.VectorType(element, lanes)


@register_model(Vector)
class _Model(PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Vector) -> None:
        super().__init__(dmm, fe_type, _llvm(fe_type.scalar, fe_type.lanes))


def _spread(context: Any, builder: Any, x: Any, of: Any, vector: Vector) -> Any:
    """Return a vector as it is, and a number in all lanes of one."""
    if isinstance(of, Vector):
        return x
    x, kind = context.cast(builder, x, of, vector.scalar), _llvm(vector.scalar, vector.lanes)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), x, ir.IntType(32)(0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), lanes)


def _operation(function: Any, emit: Emit, *, compares: bool = False) -> None:
    """Teach Numba an operator of vectors, or of a vector and a number of its type."""

    @infer_global(function)
    class Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            found = [x for x in args if isinstance(x, Vector)]
            if not found:
                return None
            if any(x != found[0] and not isinstance(x, nb.types.Number) for x in args):
                return None
            return signature(found[0].of(nb.types.boolean) if compares else found[0], *args)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = next(x for x in sig.args if isinstance(x, Vector))
        given = [
            _spread(context, builder, x, of, kind) for x, of in zip(args, sig.args, strict=True)
        ]
        return emit(builder, kind, given)

    for pair in ((Vector, Vector), (Vector, nb.types.Number), (nb.types.Number, Vector)):
        lower_builtin(function, *pair)(lower)


def _arithmetic(of_floats: str, of_integers: str) -> Emit:
    def emit(builder: Any, kind: Vector, args: list[Any]) -> Any:
        name = of_floats if isinstance(kind.scalar, nb.types.Float) else of_integers
        return getattr(builder, name)(*args)

    return emit


def _shift_right(builder: Any, kind: Vector, args: list[Any]) -> Any:
    return (builder.ashr if kind.scalar.signed else builder.lshr)(*args)


def _comparison(sign: str) -> Emit:
    def emit(builder: Any, kind: Vector, args: list[Any]) -> Any:
        if isinstance(kind.scalar, nb.types.Float):
            return builder.fcmp_ordered(sign, *args)
        compare = builder.icmp_signed if kind.scalar.signed else builder.icmp_unsigned
        return compare(sign, *args)

    return emit


_operation(operator.add, _arithmetic("fadd", "add"))
_operation(operator.sub, _arithmetic("fsub", "sub"))
_operation(operator.mul, _arithmetic("fmul", "mul"))
_operation(operator.truediv, _arithmetic("fdiv", ""))
_operation(operator.xor, _arithmetic("", "xor"))
_operation(operator.or_, _arithmetic("", "or_"))
_operation(operator.and_, _arithmetic("", "and_"))
_operation(operator.lshift, _arithmetic("", "shl"))
_operation(operator.rshift, _shift_right)
for _sign, _operator in (("<", operator.lt), (">", operator.gt), ("==", operator.eq)):
    _operation(_operator, _comparison(_sign), compares=True)


def _vector_of(array: Any) -> Vector:
    return Vector(array.dtype, BYTES * 8 // array.dtype.bitwidth)


@intrinsic
def lanes_of(_: Any, array: Any) -> Any:
    """Return how many lanes a vector of an array's dtype has, a constant of the compiled code."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.get_constant(nb.types.intp, _vector_of(array).lanes)

    return nb.types.intp(array), generate


@intrinsic
def spread(_: Any, x: Any, like: Any) -> Any:
    """Return a number in as many lanes as a vector has, or in those of an array's dtype."""
    result = like.of(x) if isinstance(like, Vector) else _vector_of(like)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _spread(context, builder, args[0], x, result)

    return result(x, like), generate


def _place(context: Any, builder: Any, sig: Any, args: Any, vector: Any) -> Any:
    """Return a pointer to a vector of an array, the first argument, at a place, the second."""
    at = context.cast(builder, args[1], sig.args[1], nb.types.intp)
    structure = context.make_array(sig.args[0])(context, builder, args[0])
    first = builder.gep(structure.data, [at])
    return builder.bitcast(first, _llvm(vector.scalar, vector.lanes).as_pointer())


def _loading(array: Any, result: Vector) -> Any:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = _place(context, builder, sig, args, result)
        return builder.load(place, align=array.dtype.bitwidth // 8)

    return generate


@intrinsic
def load(_: Any, array: Any, at: Any) -> Any:
    """Return the vector from a place on of a contiguous array of one axis."""
    result = _vector_of(array)
    return result(array, at), _loading(array, result)


@intrinsic
def load_beside(_: Any, array: Any, at: Any, x: Any) -> Any:
    """Return as many numbers of an array of one axis as a vector has lanes."""
    result = x.of(array.dtype)
    return result(array, at, x), _loading(array, result)


@intrinsic
def store(_: Any, array: Any, at: Any, x: Any) -> Any:
    """Write a vector from a place on of a contiguous array of one axis."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = _place(context, builder, sig, args, x)
        builder.store(args[2], place, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return nb.types.void(array, at, x), generate


@intrinsic
def select(_: Any, mask: Any, x: Any, y: Any) -> Any:
    """Return x where the mask is true, otherwise y; one of them may be a number."""
    result = x if isinstance(x, Vector) else y

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        given = [
            _spread(context, builder, v, of, result)
            for v, of in zip(args[1:], sig.args[1:], strict=True)
        ]
        return builder.select(args[0], *given)

    return result(mask, x, y), generate


@intrinsic
def is_any(_: Any, mask: Any) -> Any:
    """Tell whether a mask is true in one of its lanes."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = ir.IntType(mask.lanes)
        return builder.icmp_unsigned("!=", builder.bitcast(args[0], bits), bits(0))

    return nb.types.boolean(mask), generate


@intrinsic
def as_bits_of(_: Any, x: Any, scalar: Any) -> Any:
    """Return the bits of a vector as numbers of another type of that size."""
    result = x.of(scalar.dtype)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], _llvm(result.scalar, result.lanes))

    return result(x, scalar), generate


@intrinsic
def convert(_: Any, x: Any, scalar: Any) -> Any:
    """Return a vector of signed integers as floating-point numbers, or the other way round."""
    result = x.of(scalar.dtype)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        to_float = isinstance(result.scalar, nb.types.Float)
        change = builder.sitofp if to_float else builder.fptosi
        return change(args[0], _llvm(result.scalar, result.lanes))

    return result(x, scalar), generate


def _function(name: str) -> Any:
    """Return a function that LLVM has for vectors."""

    @intrinsic
    def function(_: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            llvm = _llvm(x.scalar, x.lanes)
            kind = ir.FunctionType(llvm, [llvm])
            full = f"llvm.{name}.v{x.lanes}f{x.scalar.bitwidth}"
            return builder.call(cgutils.get_or_insert_function(builder.module, kind, full), args)

        return x(x), generate

    return function


floor, sqrt = _function("floor"), _function("sqrt")


def _over_lanes(combine: Callable[[Any, Any, Any], Any]) -> Any:
    @intrinsic
    def reduce(_: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            total, distance = args[0], x.lanes // 2
            while distance:
                order = [lane ^ distance for lane in range(x.lanes)]
                order = ir.Constant(ir.VectorType(ir.IntType(32), x.lanes), order)
                total = combine(builder, total, builder.shuffle_vector(total, total, order))
                distance //= 2
            return total

        return x(x), generate

    return reduce


# The sum, and the largest, of all lanes, in every lane.
sum_of_lanes = _over_lanes(lambda builder, x, y: builder.fadd(x, y))
largest_of_lanes = _over_lanes(
    lambda builder, x, y: builder.select(builder.fcmp_ordered(">", x, y), x, y)
)
