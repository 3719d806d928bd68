"""Settings of NumPy and JAX that would turn an answer into an error do not reach the library.

Here a NaN or an underflow is an answer, and arrays of different ranks are lined up as the standard
has it. So ``numpy.seterr`` and ``jax_numpy_rank_promotion`` do not reach the computations. They do
reach what the caller passes in, such as the oracle of a loss.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from rbgs.arrays.namespaces import loaded

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def own_settings() -> AbstractContextManager[Any]:
    """Return a context in which NumPy neither raises nor warns, and JAX broadcasts."""
    torch = loaded("torch")
    if torch is not None and torch.compiler.is_compiling():
        return nullcontext()  # neither is there, and PyTorch's compiler does not know the contexts
    jax = loaded("jax")
    if jax is None or jax.config.jax_numpy_rank_promotion == "allow":
        return np.errstate(all="ignore")
    stack = ExitStack()
    stack.enter_context(np.errstate(all="ignore"))
    stack.enter_context(jax.numpy_rank_promotion("allow"))
    return stack


def callers_settings() -> Callable[[], AbstractContextManager[Any]]:
    """Return what makes a context with the settings of now, for a function of the caller's."""
    torch, jax = loaded("torch"), loaded("jax")
    if torch is not None and torch.compiler.is_compiling():
        return nullcontext
    errors, promotion = np.geterr(), jax and jax.config.jax_numpy_rank_promotion

    def restored() -> AbstractContextManager[Any]:
        stack = ExitStack()
        stack.enter_context(np.errstate(**errors))
        if jax is not None:
            stack.enter_context(jax.numpy_rank_promotion(promotion))
        return stack

    return restored


def with_own_settings(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let a function run in `own_settings`."""

    @wraps(function)
    def settled(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with own_settings():
            return function(*args, **kwargs)

    return settled
