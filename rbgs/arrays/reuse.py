"""Arithmetic in the memory of an operand that is not needed again."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from rbgs.arrays.typing import Array

_ASSIGNMENTS: dict[Callable[..., Any], Callable[..., Any]] = {
    operator.add: operator.iadd,
    operator.mul: operator.imul,
    operator.sub: operator.isub,
    operator.truediv: operator.itruediv,
}


def in_place(function: Callable[..., Any], x: Array, y: float | Array) -> Array:
    """Return ``function(x, y)``, which has the shape and dtype of ``x``; of NumPy, in its memory.

    Only there it pays, and PyTorch's transformations and tracers do not follow every assignment.
    """
    return _ASSIGNMENTS[function](x, y) if isinstance(x, np.ndarray) else function(x, y)
