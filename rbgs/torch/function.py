"""The functions with a derivative of their own that PyTorch's door is made of.

For the derivative are kept the logits, the noise and the draw: O(n) numbers a row, whatever the
number of samples. Every row is by itself, so that ``vmap`` only adds an axis to the batch.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import Parameter

from rbgs.arrays.inputs import wide_dtype
from rbgs.doors import at_temperature
from rbgs.draw import Draw
from rbgs.estimators.base import Estimator

_NO_SECOND_DERIVATIVE = (
    "the gradient estimate has no derivative for the logits: it holds the random numbers fixed. "
    "Detach the estimate, or differentiate twice only what follows the sample"
)


@dataclass
class Call:
    """One call of an estimator, whose draw is kept for the derivative.

    The operands are logits, noise, index, mask and temperature; all but the first may be None.
    """

    estimator: Estimator
    dim: int
    _draw: Draw | None = None

    def value(self, *operands: Any) -> Tensor:
        """Return the value of the draw."""
        return self._compute(lambda draw: draw.value, operands)

    def product(self, *operands: Any) -> Tensor:
        """Return the product of the draw's operator with the last operand."""
        return self._compute(Draw.vjp, operands[:-1], operands[-1])

    def _compute(
        self, result: Callable[..., Any], operands: tuple[Any, ...], *vectors: Any
    ) -> Tensor:
        logits = operands[0]
        through_numpy = _fits_numpy(logits)
        if through_numpy:
            operands, vectors = (tuple(map(_to_numpy, x)) for x in (operands, vectors))
        with _full_precision(logits):
            draw = self._draw
            if draw is None:
                draw = self._sample(*operands)
                if not torch.compiler.is_compiling():
                    self._draw = draw
            computed = result(draw, *vectors)
        return torch.from_numpy(computed).to(logits.dtype) if through_numpy else computed

    def _sample(self, logits: Any, noise: Any, index: Any, mask: Any, temperature: Any) -> Draw:
        estimator = at_temperature(self.estimator, temperature)
        return estimator.sample(logits, noise=noise, index=index, mask=mask, axis=self.dim)


def _fits_numpy(logits: Tensor) -> bool:
    """Tell whether a draw can be made in NumPy: the compiled engine is one for its arrays."""
    ordinary = type(logits) in (Tensor, Parameter) and logits.device.type == "cpu"
    return ordinary and not torch.compiler.is_compiling()


def _to_numpy(x: Any) -> Any:
    """Return a tensor as an array that shares its memory; half precision becomes float32."""
    if not isinstance(x, Tensor):
        return x
    if x.is_floating_point():
        x = x.to(wide_dtype(x))
    return x.detach().numpy()


def _full_precision(like: Tensor) -> AbstractContextManager[Any]:
    """Keep autocast out: the estimator chooses its own precision."""
    kind = like.device.type
    if torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()


class ReverseSample(Function):
    """The value, with its derivative in reverse mode."""

    @staticmethod
    def forward(
        call: Call,
        logits: Tensor,
        noise: Tensor | None,
        index: Tensor | int | None,
        mask: Tensor | None,
        temperature: Tensor | None,
    ) -> Tensor:
        return call.value(logits, noise, index, mask, temperature)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _keep(ctx, inputs)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        call, logits, *rest = _kept(ctx)
        product = Product.apply(call, Constant.apply(logits), *rest, cotangent)
        return None, product, None, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], call: Call, *operands: Any) -> Any:
        return Sample.apply(*_batched(info, in_dims, call, *operands)), 0


class Sample(ReverseSample):
    """The value, with its derivative in both modes."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_forward(*_keep(ctx, inputs))

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        call, logits, *rest = _kept(ctx)
        product: Tensor = Product.apply(call, Constant.apply(logits), *rest, tangents[1])
        return product


class Product(Function):
    """The product of the operator with a vector: linear in the vector, and symmetric."""

    @staticmethod
    def forward(
        call: Call,
        logits: Tensor,
        noise: Tensor | None,
        index: Tensor | int | None,
        mask: Tensor | None,
        temperature: Tensor | None,
        vector: Tensor,
    ) -> Tensor:
        return call.product(logits, noise, index, mask, temperature, vector)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_forward(*_keep(ctx, inputs[:-1]))

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        # Where a gradient for the logits is wanted, Constant refuses it.
        return *[None] * 6, Product.apply(*_kept(ctx), cotangent)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        product: Tensor = Product.apply(*_kept(ctx), tangents[-1])
        return product

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], call: Call, *operands: Any) -> Any:
        return Product.apply(*_batched(info, in_dims, call, *operands)), 0


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
        raise NotImplementedError(_NO_SECOND_DERIVATIVE)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        raise NotImplementedError(_NO_SECOND_DERIVATIVE)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int], x: Tensor) -> tuple[Tensor, int]:
        return Constant.apply(x), in_dims[0]


def _keep(ctx: Any, inputs: tuple[Any, ...]) -> list[Tensor]:
    """Keep the inputs of a function for its derivative; return those that are tensors."""
    tensors = [x for x in inputs if isinstance(x, Tensor)]
    ctx.save_for_backward(*tensors)
    ctx.others = [None if isinstance(x, Tensor) else (x,) for x in inputs]
    return tensors


def _kept(ctx: Any) -> list[Any]:
    tensors = iter(ctx.saved_tensors)
    return [next(tensors) if other is None else other[0] for other in ctx.others]


def _batched(info: Any, in_dims: tuple[int | None, ...], call: Call, *operands: Any) -> list[Any]:
    """Return a new call and its operands, with the mapped axis in front and all axes present."""
    ndim = operands[0].ndim - (in_dims[1] is not None)
    axes = (ndim, ndim, ndim - 1, ndim, ndim - 1, ndim)  # logits, noise, index, ..., vector
    result: list[Any] = [Call(call.estimator, call.dim)]
    for x, at, wanted in zip(operands, in_dims[1:], axes, strict=False):
        if not isinstance(x, Tensor):
            result.append(x)
            continue
        x = x.unsqueeze(0) if at is None else x.movedim(at, 0)
        x = x.reshape(x.shape[0], *(1,) * (wanted + 1 - x.ndim), *x.shape[1:])
        result.append(x.expand(info.batch_size, *x.shape[1:]))
    return result
