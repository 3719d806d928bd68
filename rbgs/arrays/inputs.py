"""What a call may be given: libraries, dtypes, shapes, masks, axes. Every error message is here.

A mistake that shapes and types show raises. One that only values show (a NaN, a fully masked row,
an index out of range, noise outside [0, 1]) makes that row NaN, because a branch on values can
neither be traced nor run on a device without waiting for it.
"""

import sys
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np

from rbgs.arrays.devices import device
from rbgs.arrays.namespaces import array_namespace, is_torch_array
from rbgs.arrays.scalars import as_float, as_int, check_ordinary
from rbgs.arrays.tracing import at_compile_time, is_traced, is_traced_by_jax
from rbgs.arrays.typing import Array, Namespace, Temperature

_SMALLEST, _LARGEST = 1e-30, 1e30
_RANGE = f"between {_SMALLEST} and {_LARGEST}"


def library(xp: Namespace) -> str:
    """Return the name users know a namespace by."""
    return str(xp.__name__).removeprefix("array_api_compat.").split(".")[0]


def namespace(name: str, x: Array) -> Namespace:
    """Return the array namespace of ``x`` or explain why it has none."""
    check_ordinary(name, x)
    try:
        return array_namespace(x)
    except TypeError:
        raise TypeError(
            f"{name} is a {type(x).__name__}; it must be an array of a library that follows the "
            "Python array API standard (NumPy, CuPy, PyTorch, JAX, ...): convert it first, "
            "for example with numpy.asarray"
        ) from None


def _has_kind(x: Array, xp: Namespace, kind: str | tuple[str, ...]) -> bool:
    try:
        return bool(xp.isdtype(x.dtype, kind))
    except TypeError:  # a dtype that NumPy does not know, such as one of ml_dtypes
        return False


def check_like(name: str, x: Array, like: Array, kind: str | tuple[str, ...]) -> None:
    """Raise unless ``x`` has the library and device of ``like`` and a dtype of the given kind."""
    wanted, came = array_namespace(like), namespace(name, x)
    if came is not wanted:
        raise ValueError(
            f"{name} is an array of {library(came)}, but the logits are of {library(wanted)}: "
            f"convert {name} to {library(wanted)} first"
        )
    here, there = device(like), device(x)
    known = not (is_traced(x) or is_traced(like) or here is None or there is None)
    if known and here != there:
        raise ValueError(
            f"{name} is on device {there}, but the logits are on {here}: "
            "move one of them, for example with array_api_compat.to_device"
        )
    if not _has_kind(x, wanted, kind):
        raise TypeError(f"{name} has dtype {x.dtype}; a dtype of kind {kind!r} is wanted")


def check_shape(name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """Raise unless two shapes are equal."""
    if tuple(shape) != tuple(wanted):
        raise ValueError(f"{name} has shape {tuple(shape)}; shape {tuple(wanted)} is wanted")


def check_broadcast(name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """Raise unless a shape broadcasts to the one wanted."""
    try:
        fits = np.broadcast_shapes(shape, wanted) == wanted
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{name} has shape {shape}, which does not broadcast against {wanted}")


def is_possible_temperature(temperature: Temperature) -> Any:
    """Tell whether a temperature is positive and neither underflows nor overflows, elementwise.

    An array must be float32 or wider: half precision rounds the lower bound to 0.
    """
    return (temperature >= _SMALLEST) & (temperature <= _LARGEST)


def check_temperature(temperature: Temperature, *, zero: bool = False) -> Temperature:
    """Return a temperature as a float, or an array as it is; raise if it is out of range."""
    temperature = as_float("temperature", temperature)
    if isinstance(temperature, float):
        if not (_SMALLEST <= temperature <= _LARGEST or (zero and temperature == 0)):
            limit = "0 (the limit) or " if zero else ""
            raise ValueError(f"temperature must be {limit}{_RANGE}, got {temperature}")
        return temperature
    xp = array_namespace(temperature)
    if not _has_kind(temperature, xp, "real floating"):
        raise TypeError(f"temperature has dtype {temperature.dtype}; a real floating one is wanted")
    rejected = False
    if not is_traced(temperature):  # else it has no value yet: see Rows.temperature
        with at_compile_time(temperature), suppress(RuntimeError):  # nor has it under torch.vmap
            wide = xp.astype(temperature, wide_dtype(temperature), copy=False)
            rejected = not bool(xp.all(is_possible_temperature(wide)))
    if rejected:
        raise ValueError(f"temperature must be {_RANGE} in every element, got {temperature}")
    return temperature


def check_count(name: str, count: Any, least: int = 1) -> int:
    """Return a count as an int; raise unless it is one of at least ``least``."""
    number = as_int(name, count)
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def check_option(name: str, option: object, options: tuple[object, ...]) -> None:
    """Raise unless ``option`` is one of the options."""
    if option not in options:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}; got {option!r}")


def check_outcome(index: Any, n: int) -> int:
    """Return a number that is the index of one of n categories as an int; raise if it is none."""
    number = as_int("index", index)
    if not 0 <= number < n:
        raise ValueError(f"index must lie in 0..{n - 1}, got {number}")
    return number


def check_logits(logits: Array, axis: int) -> int:
    """Raise unless the logits can be read along an axis; return it as a negative number."""
    xp = namespace("logits", logits)
    if not _has_kind(logits, xp, "real floating"):
        raise TypeError(
            f"logits have dtype {logits.dtype}; a real floating dtype is wanted: "
            "convert them, for example to float32"
        )
    if logits.ndim == 0:
        raise ValueError(
            "logits are 0-dimensional; an axis of categories is wanted: shape (..., n)"
        )
    axis = as_int("axis", axis)
    if not -logits.ndim <= axis < logits.ndim:
        raise ValueError(f"axis {axis} is out of range for logits of shape {tuple(logits.shape)}")
    if logits.shape[axis] == 0:
        raise ValueError(
            f"logits of shape {tuple(logits.shape)} have no categories along axis {axis}"
        )
    return axis if axis < 0 else axis - logits.ndim


def wide_dtype(x: Array) -> Any:
    """Return the dtype of the computation: float32 for half precision, else the dtype of x.

    NumPy alone has arrays in another byte order than the processor's.
    """
    xp = array_namespace(x)
    if isinstance(x, np.ndarray):
        return x.dtype.newbyteorder("=") if x.dtype.itemsize >= 4 else xp.float32
    return xp.float32 if xp.finfo(x.dtype).bits < 32 else x.dtype


def detached(x: Array) -> Array:
    """Return a tensor of PyTorch without what it was computed from; any other array as it is."""
    return x.detach() if getattr(x, "requires_grad", False) else x


def constant(logits: Array) -> Array:
    """Return the logits; refuse a derivative that a framework would take through the draw."""
    if is_torch_array(logits):
        if logits.requires_grad and sys.modules["torch"].is_grad_enabled():
            raise ValueError(
                "the logits require a gradient, but what is asked for is no function that PyTorch "
                "can differentiate: pass logits.detach(), also to gradient, exact_gradient and "
                "compare; for a draw use Draw.vjp, or call rbgs.torch.sample instead, whose value "
                "carries the gradient"
            )
    elif is_traced_by_jax(logits):
        logits = _constant_in_jax()(logits)
    return logits


@cache
def _constant_in_jax() -> Any:
    jax: Any = sys.modules["jax"]

    def refuse(_: Any, __: Any) -> Any:
        raise NotImplementedError(
            "a draw is no function that JAX can differentiate, and the gradient estimate has no "
            "derivative for the logits: call rbgs.jax.sample, whose value carries the gradient, or "
            "apply jax.lax.stop_gradient to the logits or to the estimate"
        )

    identity = jax.custom_jvp(lambda x: x)
    identity.defjvp(refuse)
    return identity
