"""Kinds of tensors, and who sees what is done with them: modes, tracers, transformations."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch
from torch.autograd import forward_ad
from torch.nn import Parameter
from torch.utils._device import DeviceContext


def fits_numpy(tensors: list[Tensor]) -> bool:
    """Tell whether these are ordinary tensors on a processor, and nobody records what is done."""
    for x in tensors:
        if type(x) not in (Tensor, Parameter) or not x.is_cpu:
            return False
    return not _is_recorded()


def _is_recorded() -> bool:
    """Tell whether a compiler, a tracer or a mode sees the operations on tensors."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return True
    if torch._C._len_torch_dispatch_stack():
        return True
    if not torch._C._len_torch_function_stack():
        return False
    # A default device is a mode too.
    modes = torch.overrides._get_current_function_mode_stack()
    return not all(isinstance(mode, DeviceContext) for mode in modes)


def is_transformed() -> bool:
    """Tell whether forward mode or a transformation of ``torch.func`` is at work."""
    return forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()


def full_precision(like: Tensor) -> AbstractContextManager[Any]:
    """Keep autocast out: the estimator chooses its own precision."""
    kind = like.device.type
    return torch.autocast(kind, enabled=False) if _is_autocast(kind) else nullcontext()


def callers_precision(like: Tensor) -> Callable[[], AbstractContextManager[Any]]:
    """Return what makes a context with the autocast of now, for a function of the caller's."""
    kind = like.device.type
    if not _is_autocast(kind):
        return nullcontext
    dtype = torch.get_autocast_dtype(kind)
    return lambda: torch.autocast(kind, dtype=dtype)


def _is_autocast(kind: str) -> bool:
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def refuse_kinds(**arguments: Any) -> None:
    """Raise for tensors whose rows are not in the memory of this process, one next to another."""
    distributed = sys.modules.get("torch.distributed.tensor")
    for name, x in arguments.items():
        if not isinstance(x, Tensor):
            continue
        if x.layout is not torch.strided:
            raise TypeError(f"the layout of {name} is {x.layout}: pass a dense tensor of its rows")
        if distributed is not None and isinstance(x, distributed.DTensor):
            raise TypeError(
                f"{name} is a DTensor, but rows are drawn where they are: pass {name}.to_local() "
                "and wrap the value with DTensor.from_local(value, logits.device_mesh, "
                "logits.placements). All categories of a row must be on one device, and each "
                "device needs random numbers of its own"
            )


def is_batched_by_autograd(x: Tensor) -> bool:
    """Tell whether ``torch.autograd`` maps over an axis of ``x``, which it hides.

    For ``is_grads_batched`` and vectorised Jacobians it has a vmap of its own, which calls no rule
    of a function.
    """
    return not torch.compiler.is_compiling() and bool(_functorch.is_legacy_batchedtensor(x))


def over_batch(function: Callable[[Tensor], Tensor | None], x: Tensor) -> Tensor:
    """Return a function of what ``torch.autograd`` maps over, by ``torch.vmap``."""
    for level in range(1, 65):
        visible = torch._remove_batch_dim(x, level, 1, 0)
        if not is_batched_by_autograd(visible):
            result: Tensor = torch._add_batch_dim(torch.vmap(function)(visible), 0, level)
            return result
    raise NotImplementedError("torch.autograd maps over two axes at once: use torch.vmap for that")


def refuse_compilation() -> None:
    """Raise where PyTorch's compiler looks at what its autograd is to run: it then leaves that."""
    if torch.compiler.is_compiling():
        raise NotImplementedError("torch.compile cannot take a transformation of a sample apart")


def refuse_transformations(logits: Tensor) -> None:
    """Raise where a derivative would be lost, or where PyTorch has no rule for it."""
    if torch.compiler.is_compiling():
        # Its program would differentiate the steps to the value, which is constant: a silent 0.
        if forward_ad._current_level >= 0 or _is_transformed_while_compiled(logits):
            raise NotImplementedError(
                "torch.compile loses the derivative of a sample in forward mode and inside the "
                "transformations of torch.func: without fullgraph=True this part runs uncompiled "
                "and is right; with it use loss.backward() or torch.autograd.grad"
            )
    elif torch._C._are_functorch_transforms_active():
        stack = _functorch.get_interpreter_stack()
        if any(x.key() == _functorch.TransformType.Functionalize for x in stack):
            raise NotImplementedError(
                "torch.func.functionalize has no rule for functions with a derivative of their "
                "own: leave it out; make_fx, torch.export and torch.compile do without it"
            )


def _is_transformed_while_compiled(logits: Tensor) -> bool:
    """Tell whether torch.func is at work, unless it is vmap alone and no derivative is wanted."""
    depth = _functorch.get_dynamic_layer_stack_depth()
    if depth == 1 and not torch.is_grad_enabled():
        return not _functorch.is_batchedtensor(logits)
    return depth > 0
