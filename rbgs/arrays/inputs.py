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
from array_api_compat import array_namespace, is_array_api_obj

from rbgs.arrays.devices import device
from rbgs.arrays.tracing import evaluated_now, is_traced, is_traced_by_jax
from rbgs.arrays.typing import Array, Namespace, Temperature

_SMALLEST, _LARGEST = 1e-30, 1e30


def library(xp: Namespace) -> str:
    """Return the name users know a namespace by."""
    return str(xp.__name__).removeprefix("array_api_compat.").split(".")[0]


def namespace(name: str, x: Array) -> Namespace:
    """Return the array namespace of ``x`` or explain why it has none."""
    try:
        return array_namespace(x)
    except TypeError:
        raise TypeError(
            f"{name} is a {type(x).__name__}; it must be an array of a library that follows the "
            "Python array API standard (NumPy, CuPy, PyTorch, JAX, ...): convert it first, "
            "for example with numpy.asarray"
        ) from None


def _has_kind(x: Array, xp: Namespace, kind: str) -> bool:
    try:
        return bool(xp.isdtype(x.dtype, kind))
    except TypeError:  # a dtype that NumPy does not know, such as one of ml_dtypes
        return False


def check_like(name: str, x: Array, like: Array, kind: str) -> None:
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
    """Tell whether a temperature is positive and neither underflows nor overflows, elementwise."""
    return (temperature >= _SMALLEST) & (temperature <= _LARGEST)


def check_temperature(temperature: Temperature, *, zero: bool = False) -> Temperature:
    """Return a temperature as a float, or an array as it is; raise if it is out of range."""
    limit = "0 (the limit) or " if zero else ""
    wanted = f"temperature must be {limit}between {_SMALLEST} and {_LARGEST}"
    if is_array_api_obj(temperature):
        xp = array_namespace(temperature)
        if not _has_kind(temperature, xp, "real floating"):
            raise TypeError(
                f"temperature has dtype {temperature.dtype}; a real floating one is wanted"
            )
        rejected = False
        if not is_traced(temperature):  # else it has no value yet: see Rows.temperature
            # Nor has it under torch.vmap; jax.jit would trace operations on a constant, too.
            with suppress(RuntimeError), evaluated_now(temperature):
                rejected = not bool(xp.all(is_possible_temperature(temperature)))
        if rejected:
            raise ValueError(f"{wanted.replace(limit, '')} in every element, got {temperature}")
        return temperature
    if isinstance(temperature, bool) or not isinstance(temperature, (int, float)):
        raise TypeError(
            "temperature must be a float or a real floating array, "
            f"got {type(temperature).__name__}"
        )
    if not (is_possible_temperature(temperature) or (zero and temperature == 0)):
        raise ValueError(f"{wanted}, got {temperature}")
    return float(temperature)


def check_count(name: str, count: int, least: int = 1) -> None:
    """Raise unless ``count`` is an integer of at least ``least``."""
    if isinstance(count, bool) or not isinstance(count, int):
        traced = (
            "; it must be a constant: see static_argnums of jax.jit" if is_traced(count) else ""
        )
        raise TypeError(f"{name} must be an int, got {type(count).__name__}{traced}")
    if count < least:
        raise ValueError(f"{name} must be at least {least}, got {count}")


def check_option(name: str, option: object, options: tuple[object, ...]) -> None:
    """Raise unless ``option`` is one of the options."""
    if option not in options:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}; got {option!r}")


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
    if isinstance(axis, bool) or not isinstance(axis, int):
        raise TypeError(f"axis must be an int, got {type(axis).__name__}")
    if not -logits.ndim <= axis < logits.ndim:
        raise ValueError(f"axis {axis} is out of range for logits of shape {tuple(logits.shape)}")
    if logits.shape[axis] == 0:
        raise ValueError(
            f"logits of shape {tuple(logits.shape)} have no categories along axis {axis}"
        )
    return axis if axis < 0 else axis - logits.ndim


def wide_dtype(x: Array) -> Any:
    """Return the dtype of the computation: float32 for half precision, else the dtype of x."""
    xp = array_namespace(x)
    return xp.float32 if xp.finfo(x.dtype).bits < 32 else x.dtype


def constant(logits: Array) -> Array:
    """Return the logits; refuse a derivative that a framework would take through the draw."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and isinstance(logits, torch.Tensor):
        if logits.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                "the logits require a gradient, but a draw is no function that PyTorch can "
                "differentiate: call rbgs.torch.sample, whose value carries the gradient, or pass "
                "logits.detach() and use Draw.vjp"
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
