"""Validated logits as normalised rows, with the category axis first."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rbgs.arrays.devices import device, explicit_sharding, merged, reshape, respread
from rbgs.arrays.engine import engine_for
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
from rbgs.arrays.layout import is_row_by_row
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.scalars import float_beside
from rbgs.arrays.simplex import log_softmax, one_hot
from rbgs.arrays.typing import Array, Sharding, Temperature


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
    sharding : sharding of JAX or None
        That of the logits with the category axis first, if it is part of their type.
    """

    log_probs: Array
    valid: Array
    batch: tuple[int, ...]
    dtype: Any
    axis: int
    sharding: Sharding | None = None

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
        n, rows = self.log_probs.shape
        sharding = respread(self.sharding, lambda n, *batch: (n, None, *batch))
        many = replace(self, batch=(count, *self.batch), sharding=sharding)
        log_probs = xp.broadcast_to(self.log_probs[:, None, :], (n, count, rows))
        valid = xp.broadcast_to(self.valid[None, :], (count, rows))
        return replace(many, log_probs=many.merge(log_probs, n), valid=many.merge(valid))

    def shape(self, n: int) -> tuple[int, ...]:
        """Return the shape of an array with ``n`` in the place of the category axis."""
        at = len(self.batch) + 1 + self.axis
        return (*self.batch[:at], n, *self.batch[at:])

    def merge(self, x: Array, *n: int) -> Array:
        """Return an array that has the axes of the batch, behind those of size n, over rows."""
        sharding = respread(self.sharding, lambda _, *batch: (*(None for _ in n), merged(batch)))
        return reshape(array_namespace(x), x, (*n, math.prod(self.batch)), sharding)

    def split(self, x: Array, *n: int) -> Array:
        """Return an array over rows with the axes of the batch instead, before those of size n."""
        sharding = respread(self.sharding, lambda _, *batch: (*batch, *(None for _ in n)))
        return reshape(array_namespace(x), x, (*self.batch, *n), sharding)

    def restore(self, x: Array) -> Array:
        """Return ``x (n, rows)`` in the shape and dtype of the logits."""
        x = array_namespace(x).astype(x, self.dtype, copy=False)
        return categories_restored(x, self.batch, self.axis, self.sharding)

    def adopt(self, name: str, x: Array, n: int) -> Array:
        """Check an array of the logits' shape with ``n`` categories; make it ``(n, rows)``."""
        xp = array_namespace(self.log_probs)
        check_like(name, x, self.log_probs, "real floating")
        check_shape(name, x.shape, self.shape(n))
        x = categories_first(x, self.axis, self.sharding)
        return xp.astype(x, self.log_probs.dtype, copy=False)

    def temperature(self, temperature: Temperature) -> Temperature:
        """Return a temperature that broadcasts against the rows: a float, ``(1,)`` or ``(rows,)``.

        It is NaN where it is not possible: what a compiler traces was not checked before. One that
        all rows share stays one number, and what depends on it alone is computed once.
        """
        if not isinstance(temperature, float):
            temperature = float_beside("temperature", temperature, self.log_probs)
        if isinstance(temperature, float):
            return temperature
        xp = array_namespace(self.log_probs)
        check_like("temperature", temperature, self.log_probs, "real floating")
        check_broadcast("temperature", tuple(temperature.shape), self.batch)
        temperature = xp.astype(temperature, self.log_probs.dtype, copy=False)
        fine = is_possible_temperature(temperature)
        checked = xp.where(fine, temperature, xp.nan)
        if math.prod(checked.shape) == 1:
            return xp.reshape(checked, (1,))
        return self.merge(xp.broadcast_to(checked, self.batch))

    def spread(self, loss: Array) -> Array:
        """Return for each row ``(rows,)`` the loss that it shares.

        A loss lacks the last axes of the batch if all variables along them share it.
        """
        xp = array_namespace(self.log_probs)
        loss = xp.astype(loss, self.log_probs.dtype, copy=False)
        if loss.ndim < len(self.batch):
            loss = xp.broadcast_to(
                loss[(..., *(None,) * (len(self.batch) - loss.ndim))], self.batch
            )
        return self.merge(loss)

    def total(self, x: Array, loss: Array) -> Array:
        """Return the sums of ``x (rows,)`` over the variables that share a loss, shaped like it."""
        x = self.split(x)
        shared = tuple(range(loss.ndim, x.ndim))
        return array_namespace(x).sum(x, axis=shared) if shared else x

    def one_hot(self, index: Array) -> Array:
        """Return the one-hot vectors ``(n, rows)`` of outcomes; NaN where a row is not valid."""
        vectors = one_hot(index, self.n, self.log_probs.dtype)
        return vectors + nan_unless(self.valid, vectors)

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
        return self.merge(xp.broadcast_to(index, self.batch))


def nan_unless(valid: Array, like: Array) -> Array:
    """Return 0 where valid and NaN elsewhere, in the dtype of ``like``."""
    xp = array_namespace(valid)
    return xp.where(valid, xp.zeros((), dtype=like.dtype, device=device(like)), math.nan)


def categories_first(x: Array, axis: int, sharding: Sharding | None = None) -> Array:
    """Return ``x`` as ``(n, rows)``, with the rows of one category next to each other in memory.

    For the compiled engine of NumPy the categories of one row are, where `is_row_by_row` says so.
    ``sharding`` is that of `Rows`.
    """
    n, axes = x.shape[axis], list(range(x.ndim))
    if isinstance(x, np.ndarray):  # the same, with less around it
        axes.append(axes.pop(axis))
        x = (x if axis == -1 else x.transpose(axes)).reshape(x.size // n, n).T
        is_kept = is_row_by_row(*x.shape) and engine_for(x) is not None
        return x if is_kept else np.ascontiguousarray(x)
    xp = array_namespace(x)
    axes.insert(0, axes.pop(axis))
    x = xp.permute_dims(x, tuple(axes))
    if sharding is None:
        x = xp.reshape(x, (-1,))
    over_rows = respread(sharding, lambda _, *batch: (None, merged(batch)))
    return reshape(xp, x, (n, math.prod(x.shape) // n), over_rows)


def categories_restored(
    x: Array, batch: tuple[int, ...], axis: int, sharding: Sharding | None = None
) -> Array:
    """Return ``x (n, rows)`` with the axes of the batch and the category axis at ``axis`` < 0."""
    if axis == -1 and isinstance(x, np.ndarray):  # the same, with less around it
        return x.T.reshape(*batch, x.shape[0])
    xp = array_namespace(x)
    x = reshape(xp, x, (x.shape[0], *batch), sharding)
    axes = list(range(1, x.ndim))
    axes.insert(x.ndim + axis, 0)
    return xp.permute_dims(x, tuple(axes))


def read_logits(logits: Array, mask: Array | None = None, axis: int = -1) -> Rows:
    """Validate logits and a mask; return normalised rows."""
    return rows_of_logits(logits, mask, check_logits(logits, axis))


def rows_of_logits(logits: Array, mask: Array | None, axis: int) -> Rows:
    """Return normalised rows of logits that `check_logits` has seen, with the axis it returned."""
    xp = array_namespace(logits)
    dtype = logits.dtype
    logits = xp.astype(constant(logits), wide_dtype(logits), copy=False)
    if mask is not None:
        check_like("mask", mask, logits, "bool")
        check_broadcast("mask", tuple(mask.shape), tuple(logits.shape))
        logits = xp.where(mask, logits, -math.inf)
    at = logits.ndim + axis
    batch = (*logits.shape[:at], *logits.shape[at + 1 :])
    sharding = respread(
        explicit_sharding(logits), lambda *axes: (axes[axis], *axes[:axis], *axes[axis:][1:])
    )
    logits = categories_first(logits, axis, sharding)
    return Rows(*normalise(logits), batch, dtype, axis, sharding)


def normalise(logits: Array) -> tuple[Array, Array]:
    """Return log-probabilities ``(n, rows)``, and which rows are valid: the others are NaN."""
    engine = engine_for(logits)
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
