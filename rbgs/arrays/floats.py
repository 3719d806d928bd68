"""NumPy's floating-point errors: in this library a NaN or an underflow is an answer, not an error.

So ``numpy.seterr`` does not reach its computations. It does reach what the caller passes in, such
as the oracle of a loss.
"""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def no_float_errors() -> AbstractContextManager[Any]:
    """Return a context in which NumPy neither raises nor warns."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.compiler.is_compiling():
        return nullcontext()  # no NumPy there, and PyTorch's compiler does not know its contexts
    return np.errstate(all="ignore")


def without_float_errors(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let NumPy neither raise nor warn in a function."""

    @wraps(function)
    def quiet(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with no_float_errors():
            return function(*args, **kwargs)

    return quiet
