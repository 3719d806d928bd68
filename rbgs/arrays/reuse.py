"""Whose memory it is: arithmetic in that of an operand, and copies to hand out."""

import operator
from collections.abc import Callable
from typing import Any

from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.tracing import is_followed_by_torch
from rbgs.arrays.typing import Array

_ASSIGNMENTS: dict[Callable[..., Any], Callable[..., Any]] = {
    operator.add: operator.iadd,
    operator.mul: operator.imul,
    operator.sub: operator.isub,
    operator.truediv: operator.itruediv,
}


def copied(x: Array) -> Array:
    """Return a copy, for a caller who may overwrite it while the array is still needed."""
    return array_namespace(x).astype(x, x.dtype, copy=True)


def in_place(function: Callable[..., Any], x: Array, y: float | Array) -> Array:
    """Return ``function(x, y)``, which has the shape and dtype of ``x``, in its memory if possible.

    Who follows what PyTorch does may not follow assignments.
    """
    return (function if is_followed_by_torch(x, y) else _ASSIGNMENTS[function])(x, y)
