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
    parts : list of (Skeleton, int)
        Those of the operators that it is a sum of, and how many arrays each has.
    """

    kind: type
    constants: dict[str, Any]
    places: list[tuple[str, int | None]]
    parts: list[tuple["Skeleton", int]]

    def operator(self, arrays: tuple[Array, ...]) -> Operator:
        """Return the operator with these arrays."""
        left = iter(arrays)
        filled: dict[str, Any] = {}
        for name, count in self.places:
            if count is None:
                filled[name] = next(left)
            else:
                filled[name] = tuple([next(left) for _ in range(count)])
        if self.parts:
            filled["operators"] = tuple(
                [part.operator(tuple([next(left) for _ in range(n)])) for part, n in self.parts]
            )
        operator: Operator = self.kind(**self.constants, **filled)
        return operator


def take_apart(operator: Any) -> tuple[Skeleton, list[Array]]:
    """Return the skeleton of an operator, and its arrays."""
    constants: dict[str, Any] = {}
    places: list[tuple[str, int | None]] = []
    parts: list[tuple[Skeleton, int]] = []
    arrays: list[Array] = []
    for name, x in vars(operator).items():
        if name == "operators":
            for inner in x:
                part, its_arrays = take_apart(inner)
                parts.append((part, len(its_arrays)))
                arrays.extend(its_arrays)
        elif isinstance(x, (np.ndarray, Tensor)):
            places.append((name, None))
            arrays.append(x)
        elif isinstance(x, tuple) and isinstance(x[0], (np.ndarray, Tensor)):
            places.append((name, len(x)))
            arrays.extend(x)
        else:
            constants[name] = x
    return Skeleton(type(operator), constants, places, parts), arrays
