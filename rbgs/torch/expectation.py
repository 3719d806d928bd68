"""The expected loss of any estimator: a tensor that carries the gradient estimate."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from rbgs.arrays.inputs import check_logits, wide_dtype
from rbgs.arrays.keywords import instead_of
from rbgs.arrays.oracle import Answer
from rbgs.arrays.typing import Generator
from rbgs.doors import (
    check_function,
    check_loss,
    combined,
    has_one_value,
    one_by_one,
    temperature_array,
)
from rbgs.estimators.base import Estimator, check_estimator
from rbgs.random.noise import uniform_of_torch
from rbgs.random.source import Drawn, check_source
from rbgs.torch.function import Constant, refuse_derivative
from rbgs.torch.modes import (
    callers_precision,
    full_precision,
    is_transformed,
    refuse_kinds,
    refuse_transformations,
)
from rbgs.torch.oracle import Loss, detached, with_derivative
from rbgs.torch.sampling import check_tensor, sample


@instead_of(axis="dim", rng="generator", key="generator", seed="generator")
def expectation(
    estimator: Estimator,
    loss: Loss,
    logits: Tensor,
    *,
    generator: Generator = None,
    mask: Tensor | None = None,
    dim: int = -1,
) -> Tensor:
    r"""Estimate :math:`E[f(D)]` as a tensor whose derivative is the one the estimator gives it.

    One call for all estimators, those that use values of the loss included. The derivative for the
    logits is :meth:`rbgs.Estimator.gradient`; that for all else that the loss depends on, such as
    the parameters of a decoder, or the logits where the loss uses them directly, is PyTorch's own:
    the two terms of :math:`\nabla E[f(D)]` (Paulus et al. 2021, eq. 2).

    .. warning::
        Return one loss for each example. A ``mean()`` or ``sum()`` over the batch inside of
        ``loss`` makes all examples share one loss, and the variance of an estimator from values of
        the loss then grows with the batch. Average the result instead.

    Parameters
    ----------
    estimator : Estimator
        Any.
    loss : callable
        ``loss(value)`` returns the loss of a value, which has the shape of the logits: a floating
        tensor with the axes of the batch, without the last ones if all variables along them share
        it. An estimator of several draws calls it once for each. Further evaluations, which it may
        need for the derivative, are no part of the result.
    logits : floating tensor ``(..., n)``
        Unnormalised log-probabilities on any device, contiguous or not.
    generator : torch.Generator, optional
        As in :func:`sample`.
    mask : bool tensor ``(..., n)``, optional
        True where a category is allowed; broadcasts against the logits.
    dim : int
        The category axis.

    Returns
    -------
    Tensor ``(...,)``
        The estimate, of the shape and dtype of the loss: its mean over the draws, for
        :class:`~rbgs.Vimco` the bound.

    Raises
    ------
    TypeError
        As in :func:`sample`; or the loss is no function, does not return a floating tensor, or does
        not depend on the value where its derivative is needed.
    ValueError
        As in :func:`sample`; or what the loss returns has another shape.
    NotImplementedError
        As in :func:`sample`: there is no second derivative for the logits.

    Notes
    -----
    :class:`~rbgs.Rebar` and :class:`~rbgs.Relax` with an ``eta`` that is a tensor, or with a
    control variate, learn: the result has, beside the derivatives above, for ``eta`` and for what
    the control variate depends on that of the squared norm of the estimate. It does not touch the
    others. So one ``backward()`` trains encoder, decoder, ``eta`` and control variate.

    Where nothing asks for a derivative, as under ``torch.no_grad()``, the loss is evaluated at the
    draws alone, and a :class:`~rbgs.RunningMean` stays as it is.

    Examples
    --------
    >>> import rbgs, rbgs.torch, torch
    >>> logits = torch.zeros(2, 3, requires_grad=True)
    >>> cost = torch.tensor([1.0, 2.0, 4.0], requires_grad=True)
    >>> estimator = rbgs.Reinforce("leave_one_out", samples=4)
    >>> loss = rbgs.torch.expectation(estimator, lambda value: value @ cost, logits, generator=0)
    >>> loss.shape
    torch.Size([2])
    >>> loss.sum().backward()
    >>> logits.grad.shape, cost.grad.shape
    (torch.Size([2, 3]), torch.Size([3]))
    """
    check_estimator("estimator", estimator)
    check_function(loss)
    check_tensor(logits)
    dim, leading = check_logits(logits, dim), int(estimator._draws > 1)
    if has_one_value(estimator):
        value = sample(estimator, logits, generator=generator, mask=mask, dim=dim)
        return _answer(loss, value, dim, leading).loss
    temperature = temperature_array(estimator)
    refuse_kinds(logits=logits, mask=mask, temperature=temperature)
    if isinstance(temperature, Tensor) and temperature.requires_grad and torch.is_grad_enabled():
        refuse_derivative("temperature")
    refuse_transformations(logits)
    fixed = logits.detach()
    source = _source(estimator, generator, fixed, dim)
    with full_precision(logits):
        outcome, operator, value = estimator._drawing(fixed, source, None, None, mask, dim)
    learned = estimator._learned and torch.is_grad_enabled()
    wanted = torch.is_grad_enabled() and logits.requires_grad
    wanted = learned or wanted or is_transformed()
    answer = _answer(loss, value, dim, leading, wanted and estimator._needs_derivative)
    losses = combined(estimator, answer.loss)
    if not wanted:
        return losses
    precision = callers_precision(logits)

    def ask(value: Tensor, leading: int, derivative: bool = False, function: Any = None) -> Answer:
        keep = learned and function is not None
        with precision(), torch.set_grad_enabled(keep):
            name = "control_variate" if function else "loss"
            found = _answer(function or loss, value, dim, leading, derivative, name)
        return found if keep else detached(found)

    with full_precision(logits), torch.set_grad_enabled(learned):
        estimate = estimator._gradient(outcome, operator, detached(answer), ask)
        wide = estimate.to(wide_dtype(estimate))
        squares = _total(wide.square(), losses.ndim, dim) if learned else None
    carry = CompiledCarry if torch.compiler.is_compiling() else Carry
    carried: Tensor = carry.apply(losses, squares, logits, estimate.detach(), dim)[0]
    return carried


class CompiledCarry(Function):
    """The losses, with further derivatives: that of the squares, and the estimate for the logits.

    Behind them is returned the estimate, as a function of all: so a second derivative is noticed.
    This is all that PyTorch's compiler can take.
    """

    @staticmethod
    def forward(
        losses: Tensor, squares: Tensor | None, logits: Tensor, estimate: Tensor, dim: int
    ) -> tuple[Tensor, Tensor]:
        return losses.clone(), estimate.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        losses, squares, logits, _, ctx.dim = inputs
        ctx.ndim = losses.ndim
        ctx.dtypes = losses.dtype, None if squares is None else squares.dtype, logits.dtype
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(output[1])
        ctx.save_for_forward(output[1])

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
        if cotangent is None:
            return (None,) * 5
        _, of_squares, of_logits = ctx.dtypes
        squares = None if of_squares is None else cotangent.to(of_squares)
        product = None
        if ctx.needs_input_grad[2]:
            (estimate,) = ctx.saved_tensors
            if not torch.compiler.is_compiling():  # whose program has no second derivative anyway
                estimate = Constant.apply(estimate)
            product = (_spread(cotangent, estimate, ctx.dim) * estimate).to(of_logits)
        return cotangent, squares, product, None, None


class Carry(CompiledCarry):
    """The losses, with their derivatives in both modes and a rule for vmap."""

    generate_vmap_rule = True

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor | None, Tensor]:
        (saved,) = ctx.saved_tensors
        losses, squares, logits, *_ = tangents
        parts = [x.to(ctx.dtypes[0]) for x in (losses, squares) if x is not None]
        if logits is not None:
            parts.append(
                _total(Constant.apply(saved) * logits, ctx.ndim, ctx.dim).to(ctx.dtypes[0])
            )
        return sum(parts[1:], parts[0]) if parts else None, torch.zeros_like(saved)


def _spread(cotangent: Tensor, estimate: Tensor, dim: int) -> Tensor:
    """Return the cotangent of a loss as one of the estimate, which it broadcasts against."""
    for _ in range(cotangent.ndim, estimate.ndim - 1):
        cotangent = cotangent.unsqueeze(-1)
    return cotangent.unsqueeze(dim)


def _total(x: Tensor, ndim: int, dim: int) -> Tensor:
    """Return the sums over categories and over the variables that share a loss of so many axes."""
    x = x.sum(dim)
    return x.sum(tuple(range(ndim, x.ndim))) if x.ndim > ndim else x


def _source(estimator: Estimator, generator: Generator, logits: Tensor, dim: int) -> Generator:
    """Return what the noise of a draw comes from: PyTorch's own generator for None."""
    if generator is not None:
        return check_source("generator", generator, logits)
    shape = estimator._noise_shape(logits.shape, dim)
    return Drawn(uniform_of_torch(None, shape, wide_dtype(logits), logits.device))


def _answer(
    function: Loss,
    value: Tensor,
    dim: int,
    leading: int,
    derivative: bool = False,
    name: str = "loss",
) -> Answer:
    """Return the losses of values, each with its derivative for the value if it is needed."""

    def checked(value: Tensor) -> Tensor:
        found = function(value)
        check_loss(found, value, dim, name)
        return found

    def answer(value: Tensor) -> Answer:
        return with_derivative(checked, value, name) if derivative else Answer(checked(value))

    return one_by_one(answer, value, leading, torch.stack)
