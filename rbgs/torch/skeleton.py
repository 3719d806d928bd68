"""Operators without their arrays: what is left when PyTorch saves the arrays for the derivative."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from rbgs.arrays.typing import Array
from rbgs.draw import Operator


@dataclass
class Skeleton:
    """An operator without its arrays.

    Attributes
    ----------
    kind : type
        The class of the operator, a dataclass.
    constants : dict
        The fields that are no arrays.
    places : list of (str, int or None)
        The fields that are arrays; for a tuple of arrays, how many.
    """

    kind: type
    constants: dict[str, Any]
    places: list[tuple[str, int | None]]

    def operator(self, arrays: tuple[Array, ...]) -> Operator:
        """Return the operator with these arrays."""
        left = iter(arrays)
        filled: dict[str, Any] = {}
        for name, count in self.places:
            if count is None:
                filled[name] = next(left)
            else:
                filled[name] = tuple([next(left) for _ in range(count)])
        operator: Operator = self.kind(**self.constants, **filled)
        return operator


def take_apart(operator: Any) -> tuple[Skeleton, list[Array]]:
    """Return the skeleton of an operator, and its arrays."""
    constants: dict[str, Any] = {}
    places: list[tuple[str, int | None]] = []
    arrays: list[Array] = []
    for name, x in vars(operator).items():
        if isinstance(x, (np.ndarray, Tensor)):
            places.append((name, None))
            arrays.append(x)
        elif isinstance(x, tuple) and isinstance(x[0], (np.ndarray, Tensor)):
            places.append((name, len(x)))
            arrays.extend(x)
        else:
            constants[name] = x
    return Skeleton(type(operator), constants, places), arrays
