"""Whether an array is abstract, and what is known of it then."""

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from array_api_compat import is_jax_array

from rbgs.arrays.typing import Array

_NOTHING = nullcontext()


def is_traced(x: Array) -> bool:
    """Tell whether ``x`` is an abstract value in a JAX transformation or PyTorch's compiler."""
    if is_traced_by_jax(x):
        return True
    torch: Any = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor) and torch.compiler.is_compiling()


def is_traced_by_jax(x: Array) -> bool:
    """Tell whether ``x`` is an abstract value inside a JAX transformation."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(x, jax.core.Tracer)


def evaluated_now(x: Array) -> AbstractContextManager[Any]:
    """Return a context where operations on ``x``, if it has a value, are not traced."""
    if not is_jax_array(x) or is_traced_by_jax(x):
        return _NOTHING
    jax: Any = sys.modules["jax"]
    context: AbstractContextManager[Any] = jax.ensure_compile_time_eval()
    return context


def standard_broadcasting(x: Array) -> AbstractContextManager[Any]:
    """Return a context where JAX lines up arrays of different ranks, as the standard has it."""
    # NumPy's arrays first: the question takes longer than an operation on a small one.
    if isinstance(x, np.ndarray) or not is_jax_array(x):
        return _NOTHING
    jax: Any = sys.modules["jax"]
    context: AbstractContextManager[Any] = jax.numpy_rank_promotion("allow")
    return context


def compiles_for_cpu(x: Array) -> bool:
    """Tell whether JAX traces ``x`` for a program on processors (it has no device yet)."""
    return is_traced_by_jax(x) and sys.modules["jax"].default_backend() == "cpu"


def is_jax_on_cpu(x: Array) -> bool:
    """Tell whether ``x`` is an array of JAX on one processor, or traced for programs on them."""
    if is_traced_by_jax(x):
        return compiles_for_cpu(x)
    return (
        is_jax_array(x)
        and {device.platform for device in x.devices()} == {"cpu"}
        and (len(x.devices()) == 1)
    )
