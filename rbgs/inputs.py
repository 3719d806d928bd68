"""What a call may be given: libraries, dtypes, shapes, masks, axes. Every error message is here.

A mistake that shapes and types show raises. One that only values show (a NaN, a fully masked row,
an index out of range, noise outside [0, 1]) makes that row NaN, because a branch on values can
neither be traced nor run on a device without waiting for it.
"""

import math
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj, is_numpy_namespace

from rbgs._typing import Array, Namespace, Temperature
from rbgs.engine import compiled_engine, is_compiled
from rbgs.simplex import log_softmax, one_hot

_SMALLEST, _LARGEST = 1e-30, 1e30


def library(xp: Namespace) -> str:
    """Return the name users know a namespace by."""
    return str(xp.__name__).removeprefix("array_api_compat.").split(".")[0]


def is_traced(x: Array) -> bool:
    """Tell whether ``x`` is an abstract value in a JAX transformation or PyTorch's compiler."""
    jax: Any = sys.modules.get("jax")
    if jax is not None and isinstance(x, jax.core.Tracer):
        return True
    torch: Any = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor) and torch.compiler.is_compiling()


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
    if not (is_traced(x) or is_traced(like)) and device(x) != device(like):
        raise ValueError(
            f"{name} is on device {device(x)}, but the logits are on {device(like)}: "
            "move one of them, for example with array_api_compat.to_device"
        )
    if not _has_kind(x, wanted, kind):
        raise TypeError(f"{name} has dtype {x.dtype}; a dtype of kind {kind!r} is wanted")


def check_shape(name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """Raise unless two shapes are equal."""
    if tuple(shape) != tuple(wanted):
        raise ValueError(f"{name} has shape {tuple(shape)}; shape {tuple(wanted)} is wanted")


def _check_broadcast(name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    try:
        fits = np.broadcast_shapes(shape, wanted) == wanted
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{name} has shape {shape}, which does not broadcast against {wanted}")


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
            fine = (temperature >= _SMALLEST) & (temperature <= _LARGEST)
            with suppress(RuntimeError):  # nor has it under torch.vmap
                rejected = not bool(xp.all(fine))
        if rejected:
            raise ValueError(f"{wanted.replace(limit, '')} in every element, got {temperature}")
        return temperature
    if isinstance(temperature, bool) or not isinstance(temperature, (int, float)):
        raise TypeError(
            "temperature must be a float or a real floating array, "
            f"got {type(temperature).__name__}"
        )
    if not (_SMALLEST <= temperature <= _LARGEST or (zero and temperature == 0)):
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


@dataclass(frozen=True)
class Rows:
    """Validated logits as ``(n, rows)``, in the precision of the computation.

    Attributes
    ----------
    log_probs : array ``(n, rows)``
        Normalised log-probabilities, float32 or wider; NaN in the rows that are not valid.
    valid : bool array ``(rows,)``
        False where a row cannot be answered.
    batch : tuple of int
        The shape of the logits without the category axis.
    dtype : dtype
        The dtype of the logits, and so of what is returned.
    axis : int
        Where the category axis was, as a negative number.
    """

    log_probs: Array
    valid: Array
    batch: tuple[int, ...]
    dtype: Any
    axis: int

    @property
    def n(self) -> int:
        """Number of categories."""
        return int(self.log_probs.shape[0])

    def only(self, valid: Array) -> "Rows":
        """Return the rows with those that are not ``valid`` turned into NaN."""
        log_probs = self.log_probs + nan_unless(valid, self.log_probs)
        return replace(self, log_probs=log_probs, valid=self.valid & valid)

    def repeat(self, count: int) -> "Rows":
        """Return the rows repeated along a new leading axis of the batch."""
        xp = array_namespace(self.log_probs)
        return replace(
            self,
            log_probs=xp.tile(self.log_probs, (1, count)),
            valid=xp.tile(self.valid, (count,)),
            batch=(count, *self.batch),
        )

    def shape(self, n: int) -> tuple[int, ...]:
        """Return the shape of an array with ``n`` in the place of the category axis."""
        at = len(self.batch) + 1 + self.axis
        return (*self.batch[:at], n, *self.batch[at:])

    def restore(self, x: Array) -> Array:
        """Return ``x (n, rows)`` in the shape and dtype of the logits."""
        xp = array_namespace(x)
        x = xp.reshape(xp.astype(x, self.dtype, copy=False), (x.shape[0], *self.batch))
        axes = list(range(1, x.ndim))
        axes.insert(x.ndim + self.axis, 0)
        return xp.permute_dims(x, tuple(axes))

    def adopt(self, name: str, x: Array, n: int) -> Array:
        """Check an array of the logits' shape with ``n`` categories; make it ``(n, rows)``."""
        xp = array_namespace(self.log_probs)
        check_like(name, x, self.log_probs, "real floating")
        check_shape(name, x.shape, self.shape(n))
        return xp.astype(categories_first(x, self.axis), self.log_probs.dtype, copy=False)

    def temperature(self, temperature: Temperature) -> Temperature:
        """Return a temperature that broadcasts against the rows: a float or ``(rows,)``."""
        if isinstance(temperature, float):
            return temperature
        xp = array_namespace(self.log_probs)
        check_like("temperature", temperature, self.log_probs, "real floating")
        _check_broadcast("temperature", tuple(temperature.shape), self.batch)
        fine = (temperature >= _SMALLEST) & (temperature <= _LARGEST)
        checked = xp.where(fine, temperature, xp.nan)  # a traced one was not checked before
        checked = xp.astype(checked, self.log_probs.dtype, copy=False)
        return xp.reshape(xp.broadcast_to(checked, self.batch), (-1,))

    def index(self, index: Array | int) -> Array:
        """Return a given outcome as an integer array ``(rows,)``."""
        xp = array_namespace(self.log_probs)
        here = device(self.log_probs)
        if isinstance(index, int) and not isinstance(index, bool):
            if not 0 <= index < self.n:
                raise ValueError(f"index must lie in 0..{self.n - 1}, got {index}")
            return xp.full(self.valid.shape, index, device=here)
        check_like("index", index, self.log_probs, "integral")
        check_shape("index", index.shape, self.batch)
        return xp.reshape(xp.astype(index, xp.arange(1, device=here).dtype, copy=False), (-1,))


def nan_unless(valid: Array, like: Array) -> Array:
    """Return 0 where valid and NaN elsewhere, in the dtype of ``like``."""
    xp = array_namespace(valid)
    return xp.where(valid, xp.zeros(valid.shape, dtype=like.dtype, device=device(like)), math.nan)


def categories_first(x: Array, axis: int) -> Array:
    """Return ``x`` as ``(n, rows)``, with the rows of one category next to each other in memory."""
    xp = array_namespace(x)
    axes = list(range(x.ndim))
    axes.insert(0, axes.pop(axis))
    flat = xp.reshape(xp.permute_dims(x, tuple(axes)), (-1,))
    n = x.shape[axis]
    return xp.reshape(flat, (n, math.prod(x.shape) // n))


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


def read_logits(logits: Array, mask: Array | None = None, axis: int = -1) -> Rows:
    """Validate logits and a mask; return normalised rows."""
    axis = check_logits(logits, axis)
    xp = array_namespace(logits)
    dtype = logits.dtype
    logits = xp.astype(logits, wide_dtype(logits), copy=False)
    if mask is not None:
        check_like("mask", mask, logits, "bool")
        _check_broadcast("mask", tuple(mask.shape), tuple(logits.shape))
        logits = xp.where(mask, logits, -math.inf)
    batch = tuple(size for i, size in enumerate(logits.shape) if i != logits.ndim + axis)
    logits = categories_first(logits, axis)
    return Rows(*normalise(logits), batch, dtype, axis)


def normalise(logits: Array) -> tuple[Array, Array]:
    """Return log-probabilities ``(n, rows)``, and which rows are valid: the others are NaN."""
    xp = array_namespace(logits)
    if is_numpy_namespace(xp) and is_compiled():
        compiled: tuple[Array, Array] = compiled_engine().normalise(logits)
        return compiled
    # False for NaN and +inf; a row also needs one category that is allowed.
    valid = xp.all(logits < math.inf, axis=0) & xp.any(logits > -math.inf, axis=0)
    log_probs = log_softmax(xp.where(valid, logits, 0.0))
    return log_probs + nan_unless(valid, log_probs), valid


def possible(rows: Rows, index: Array) -> Array:
    """Return whether each outcome ``(rows,)`` is in range and has probability above zero."""
    xp = array_namespace(index)
    possible = xp.astype(rows.log_probs > -math.inf, rows.log_probs.dtype)
    return xp.sum(one_hot(index, rows.n, possible.dtype) * possible, axis=0) > 0
