"""Whether an array is abstract, and what is known of it then."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from rbgs.arrays.namespaces import is_jax_array, is_torch_array, loaded
from rbgs.arrays.typing import Array

_Function = TypeVar("_Function", bound=Callable[..., Any])


def is_traced(x: Array) -> bool:
    """Tell whether ``x`` is abstract: in a transformation of JAX, or a tracer of PyTorch."""
    return is_traced_by_jax(x) or is_traced_by_torch(x)


def is_traced_by_jax(x: Array) -> bool:
    """Tell whether ``x`` is an abstract value inside a JAX transformation."""
    jax = loaded("jax")
    return jax is not None and isinstance(x, jax.core.Tracer)


def is_traced_by_torch(x: Array) -> bool:
    """Tell whether PyTorch makes a program of what is done with ``x``: for all values, all sizes.

    Its compiler does, ``torch.export``, ``torch.jit.trace`` and ``make_fx``.
    """
    if not is_torch_array(x):
        return False
    if is_compiled_by_torch() or sys.modules["torch"].jit.is_tracing():
        return True
    proxies: Any = sys.modules.get("torch.fx.experimental.proxy_tensor")
    return proxies is not None and proxies.get_proxy_mode() is not None


def is_compiled_by_torch() -> bool:
    """Tell whether PyTorch's compiler reads this, or ``torch.export`` does."""
    torch = loaded("torch")
    return torch is not None and bool(torch.compiler.is_compiling())


def is_followed_by_torch(x: Array, y: float | Array) -> bool:
    """Tell whether somebody follows what PyTorch does with ``x`` and ``y``.

    That is a tracer, a transformation of ``torch.func``, or a subclass with rules of its own.
    """
    if not is_torch_array(x):
        return False
    torch: Any = sys.modules["torch"]
    plain = type(x) is torch.Tensor and type(y) in (torch.Tensor, float)
    return not plain or is_traced_by_torch(x) or torch._C._are_functorch_transforms_active()


def constant_when_compiled(function: _Function) -> _Function:
    """Let PyTorch's compiler call a function of constants, and not look inside.

    It may be given ints, floats and tuples of them. `torch.compiler.assume_constant_result` does
    just this, but PyTorch would have to be imported for it.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def has_outlived_vmap(x: Array) -> bool:
    """Tell whether ``x`` comes from inside a ``torch.vmap`` that has ended."""
    if not is_torch_array(x) or is_traced_by_torch(x):
        return False
    functorch: Any = sys.modules["torch"]._C._functorch
    if not functorch.is_batchedtensor(x):
        return False
    return bool((functorch.maybe_current_level() or 0) < functorch.maybe_get_level(x))


def at_compile_time(x: Array) -> AbstractContextManager[Any]:
    """Let what is done with a concrete array have a value, even where JAX traces a program."""
    if is_jax_array(x):
        context: AbstractContextManager[Any] = sys.modules["jax"].ensure_compile_time_eval()
        return context
    return nullcontext()


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
