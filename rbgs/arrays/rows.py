"""Validated logits as normalised rows, with the category axis first."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rbgs.arrays.devices import device
from rbgs.arrays.engine import engine_for_numpy
from rbgs.arrays.floats import without_float_errors
from rbgs.arrays.inputs import (
    check_broadcast,
    check_like,
    check_logits,
    check_outcome,
    check_shape,
    constant,
    is_possible_temperature,
    wide_dtype,
)
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.scalars import float_beside
from rbgs.arrays.simplex import log_softmax, one_hot
from rbgs.arrays.typing import Array, Temperature


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

    @without_float_errors
    def restore(self, x: Array) -> Array:
        """Return ``x (n, rows)`` in the shape and dtype of the logits."""
        xp = array_namespace(x)
        return categories_restored(xp.astype(x, self.dtype, copy=False), self.batch, self.axis)

    def adopt(self, name: str, x: Array, n: int) -> Array:
        """Check an array of the logits' shape with ``n`` categories; make it ``(n, rows)``."""
        xp = array_namespace(self.log_probs)
        check_like(name, x, self.log_probs, "real floating")
        check_shape(name, x.shape, self.shape(n))
        return xp.astype(categories_first(x, self.axis), self.log_probs.dtype, copy=False)

    def temperature(self, temperature: Temperature) -> Temperature:
        """Return a temperature that broadcasts against the rows: a float or ``(rows,)``."""
        if not isinstance(temperature, float):
            temperature = float_beside("temperature", temperature, self.log_probs)
        if isinstance(temperature, float):
            return temperature
        xp = array_namespace(self.log_probs)
        check_like("temperature", temperature, self.log_probs, "real floating")
        check_broadcast("temperature", tuple(temperature.shape), self.batch)
        temperature = xp.astype(temperature, self.log_probs.dtype, copy=False)
        fine = is_possible_temperature(temperature)
        checked = xp.where(fine, temperature, xp.nan)  # a traced one was not checked before
        return xp.reshape(xp.broadcast_to(checked, self.batch), (-1,))

    def index(self, index: Array | int) -> Array:
        """Return a given outcome as an integer array ``(rows,)``."""
        xp = array_namespace(self.log_probs)
        here = device(self.log_probs)
        if isinstance(index, (int, np.integer)):
            return xp.full(self.valid.shape, check_outcome(index, self.n), device=here)
        check_like("index", index, self.log_probs, "integral")
        if index.ndim:
            check_shape("index", index.shape, self.batch)
        index = xp.astype(index, xp.arange(1, device=here).dtype, copy=False)
        return xp.reshape(xp.broadcast_to(index, self.batch), (-1,))


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


def categories_restored(x: Array, batch: tuple[int, ...], axis: int) -> Array:
    """Return ``x (n, rows)`` with the axes of the batch and the category axis at ``axis`` < 0."""
    xp = array_namespace(x)
    x = xp.reshape(x, (x.shape[0], *batch))
    axes = list(range(1, x.ndim))
    axes.insert(x.ndim + axis, 0)
    return xp.permute_dims(x, tuple(axes))


@without_float_errors
def read_logits(logits: Array, mask: Array | None = None, axis: int = -1) -> Rows:
    """Validate logits and a mask; return normalised rows."""
    axis = check_logits(logits, axis)
    xp = array_namespace(logits)
    dtype = logits.dtype
    logits = xp.astype(constant(logits), wide_dtype(logits), copy=False)
    if mask is not None:
        check_like("mask", mask, logits, "bool")
        check_broadcast("mask", tuple(mask.shape), tuple(logits.shape))
        logits = xp.where(mask, logits, -math.inf)
    batch = tuple(size for i, size in enumerate(logits.shape) if i != logits.ndim + axis)
    logits = categories_first(logits, axis)
    return Rows(*normalise(logits), batch, dtype, axis)


def normalise(logits: Array) -> tuple[Array, Array]:
    """Return log-probabilities ``(n, rows)``, and which rows are valid: the others are NaN."""
    engine = engine_for_numpy(logits)
    if engine is not None:
        compiled: tuple[Array, Array] = engine.normalise(logits)
        return compiled
    xp = array_namespace(logits)
    # False for NaN and +inf; a row also needs one category that is allowed.
    valid = xp.all(logits < math.inf, axis=0) & xp.any(logits > -math.inf, axis=0)
    log_probs = log_softmax(xp.where(valid, logits, 0.0))
    return log_probs + nan_unless(valid, log_probs), valid


def possible(rows: Rows, index: Array) -> Array:
    """Return whether each outcome ``(rows,)`` is in range and has probability above zero."""
    xp = array_namespace(index)
    possible = xp.astype(rows.log_probs > -math.inf, rows.log_probs.dtype)
    return xp.sum(one_hot(index, rows.n, possible.dtype) * possible, axis=0) > 0
