"""The functions with a derivative of their own that PyTorch's door is made of.

For the derivative are saved the arrays of the draw's operator: O(n) numbers a row, whatever the
number of samples. Every row is by itself, so that ``vmap`` only adds rows.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from rbgs.arrays.rows import categories_first, categories_restored
from rbgs.arrays.settings import with_own_settings
from rbgs.doors import NO_SECOND_DERIVATIVE, at_temperature
from rbgs.estimators.base import Estimator
from rbgs.random.source import Drawn
from rbgs.torch.modes import (
    fits_numpy,
    full_precision,
    is_batched_by_autograd,
    is_transformed,
    over_batch,
    refuse_compilation,
)
from rbgs.torch.skeleton import Skeleton, take_apart


def refuse_derivative(name: str) -> None:
    """Raise what is said to those who ask for the derivative for an argument that has none."""
    raise ValueError(f"no derivative is defined for the {name}: pass {name}.detach()")


class Sample(Function):
    """The value, with its derivative in reverse mode: PyTorch calls this form with least effort."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        value, ctx.skeleton, *arrays = _sample(*arguments)
        ctx.dim = arguments[1]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*arrays)
        # The first array is a function of the logits, too: so a second derivative is noticed.
        return value, arrays[0]

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        product = None if cotangent is None else _estimate(ctx, cotangent)
        return None, None, None, product, None, None, None, None


class CompiledSample(Sample):
    """The value, with its derivative in reverse mode: all that PyTorch's compiler can take."""

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        product = Product.forward(ctx.skeleton, ctx.dim, cotangent, *ctx.saved_tensors)
        return None, None, None, product, None, None, None, None


class TransformedSample(Function):
    """The value, with its derivative in both modes and a rule for vmap.

    Behind it are returned, for the derivative, the skeleton of the operator and its arrays.
    """

    @staticmethod
    def forward(*arguments: Any) -> tuple[Any, ...]:
        return _sample(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        ctx.dim = inputs[1]
        _, ctx.skeleton, *arrays = output
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*arrays[1:])
        ctx.save_for_backward(*arrays)
        ctx.save_for_forward(*arrays)

    backward = Sample.backward

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Any, ...]:
        *_, tangent, of_noise, _, _, of_temperature = tangents
        for name, x in (("noise", of_noise), ("temperature", of_temperature)):
            if x is not None:
                refuse_derivative(name)
        first, *others = ctx.saved_tensors
        product = None if tangent is None else _estimate(ctx, tangent)
        return product, None, torch.zeros_like(first), *[None] * len(others)

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, estimator: Estimator, dim: int, is_drawn: bool, *operands: Any
    ) -> Any:
        refuse_compilation()
        ndim = operands[0].ndim
        missing = ndim - len(estimator._structure.index_axes(ndim, dim))
        mapped = _in_front(info, in_dims[3:], operands, missing)
        value, skeleton, *arrays = TransformedSample.apply(estimator, dim, is_drawn, *mapped)
        arrays = [_as_mapped(x, info.batch_size) for x in arrays]
        return (value, skeleton, *arrays), (0, None, *(x.ndim - 2 for x in arrays))


class Product(Function):
    """The product of an operator with a vector: linear in the vector, and symmetric."""

    @staticmethod
    def forward(skeleton: Skeleton, dim: int, vector: Tensor, *arrays: Tensor) -> Tensor:
        product: Tensor
        (product,) = _run(_product, skeleton, dim, vector.to(arrays[0].dtype), *arrays)
        return product.to(vector.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.skeleton, ctx.dim, _, *arrays = inputs
        ctx.save_for_backward(*arrays)
        ctx.save_for_forward(*arrays)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        # Where a gradient for the arrays is wanted, Constant refuses it.
        refuse_compilation()
        arrays = ctx.saved_tensors
        product = Product.apply(ctx.skeleton, ctx.dim, cotangent, *arrays)
        return None, None, product, *[None] * len(arrays)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        refuse_compilation()
        product: Tensor = Product.apply(ctx.skeleton, ctx.dim, tangents[2], *ctx.saved_tensors)
        return product

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, skeleton: Skeleton, dim: int, vector: Tensor, *arrays: Tensor
    ) -> Any:
        refuse_compilation()
        (vector,) = _in_front(info, in_dims[2:3], (vector,))
        return Product.apply(skeleton, dim, vector, *_as_rows(info, in_dims[3:], arrays)), 0


class Constant(Function):
    """The identity, where a derivative is refused."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> Tensor:
        raise NotImplementedError(NO_SECOND_DERIVATIVE)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        raise NotImplementedError(NO_SECOND_DERIVATIVE)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int], x: Tensor) -> tuple[Tensor, int]:
        return Constant.apply(x), in_dims[0]


def _estimate(ctx: Any, vector: Tensor) -> Tensor:
    """Return the product of the operator that was kept with a vector."""
    if is_batched_by_autograd(vector):
        return over_batch(lambda x: _estimate(ctx, x).contiguous(), vector)
    first, *others = ctx.saved_tensors
    if not (torch.is_grad_enabled() or is_transformed()):
        return Product.forward(ctx.skeleton, ctx.dim, vector, first, *others)
    refuse_compilation()
    product: Tensor = Product.apply(ctx.skeleton, ctx.dim, vector, Constant.apply(first), *others)
    return product


def _sample(*arguments: Any) -> tuple[Any, ...]:
    """Return what `_draw` does, the value in the dtype of the logits."""
    value, *rest = _run(_draw, *arguments)
    return value.to(arguments[3].dtype).contiguous(), *rest


@with_own_settings
def _draw(
    estimator: Estimator,
    dim: int,
    is_drawn: bool,
    logits: Any,
    noise: Any,
    index: Any,
    mask: Any,
    temperature: Any,
) -> tuple[Any, ...]:
    """Return the value of a draw, and its operator as a skeleton and arrays."""
    estimator = at_temperature(estimator, temperature)
    rng, noise = (Drawn(noise), None) if is_drawn else (None, noise)
    outcome = estimator._outcome(logits, rng, noise, index, mask, dim)
    operator = estimator._operator(outcome)
    skeleton, arrays = take_apart(operator)
    return estimator._restored_value(outcome, operator), skeleton, *arrays


@with_own_settings
def _product(skeleton: Skeleton, dim: int, vector: Any, *arrays: Any) -> tuple[Any]:
    """Return the product of an operator with a vector that has the shape of the logits."""
    batch = list(vector.shape)
    batch.pop(dim)
    product = skeleton.operator(arrays).product(categories_first(vector, dim))
    return (categories_restored(product, tuple(batch), dim),)


def _run(function: Callable[..., tuple[Any, ...]], *arguments: Any) -> tuple[Any, ...]:
    """Run a function of arrays: in NumPy where that can be, for it has the compiled engine."""
    tensors = [x for x in arguments if isinstance(x, Tensor)]
    if fits_numpy(tensors):
        results = function(*[_to_numpy(x) if isinstance(x, Tensor) else x for x in arguments])
        return tuple([to_torch(x) if isinstance(x, np.ndarray) else x for x in results])
    with full_precision(tensors[0]):
        return function(*arguments)


def _to_numpy(x: Tensor) -> np.ndarray[Any, Any]:
    """Return a tensor as an array that shares its memory; half precision becomes float32."""
    if x.is_floating_point() and x.dtype.itemsize < 4:
        x = x.float()
    return x.numpy(force=True)


def to_torch(x: np.ndarray[Any, Any]) -> Tensor:
    """Return an array as a contiguous tensor; NumPy copies faster than PyTorch would later."""
    x = np.ascontiguousarray(x)
    return torch.from_numpy(x if x.flags.writeable else x.copy())


def _in_front(
    info: Any, in_dims: tuple[int | None, ...], operands: tuple[Any, ...], missing: int = 1
) -> list[Any]:
    """Return operands with the mapped axis in front of all others.

    The index may lack an axis that the logits have.
    """
    result: list[Any] = []
    ndim = operands[0].ndim - (in_dims[0] is not None)
    # Logits or a vector, noise, index, mask, temperature.
    wanted = (ndim, ndim, ndim - missing, ndim, ndim - 1)
    for x, at, axes in zip(operands, in_dims, wanted, strict=False):
        if not isinstance(x, Tensor):
            result.append(x)
            continue
        x = x.unsqueeze(0) if at is None else x.movedim(at, 0)
        x = x.reshape(x.shape[0], *(1,) * (axes + 1 - x.ndim), *x.shape[1:])
        result.append(x.expand(info.batch_size, *x.shape[1:]))
    return result


def _as_rows(
    info: Any, in_dims: tuple[int | None, ...], arrays: tuple[Tensor, ...]
) -> list[Tensor]:
    """Return an operator's arrays with the mapped axis as further rows."""
    result = []
    for x, at in zip(arrays, in_dims, strict=True):
        x = x.unsqueeze(-2) if at is None else x.movedim(at, -2)
        result.append(x.expand(*x.shape[:-2], info.batch_size, x.shape[-1]).flatten(-2))
    return result


def _as_mapped(x: Tensor, count: int) -> Tensor:
    """Return an operator's array with the rows of each place of the mapped axis apart."""
    return x.unflatten(-1, (count, x.shape[-1] // max(1, count)))
