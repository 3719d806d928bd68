"""Oracles made of functions of PyTorch's tensors."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rbgs.arrays.oracle import Answer
from rbgs.arrays.typing import Oracle
from rbgs.doors import check_floating, check_function, check_value, lost_derivative
from rbgs.torch.function import to_torch

Loss = Callable[[Tensor], Tensor]


def oracle(loss: Loss) -> Oracle:
    r"""Make an oracle of a loss: a function that returns the loss and its gradient for the value.

    An oracle is what :func:`rbgs.compare`, :func:`rbgs.tune`, :func:`rbgs.exact_gradient` and
    :meth:`rbgs.Estimator.gradient` ask about the loss:

    .. math:: D \mapsto \Big(f(D), \frac{\partial f}{\partial D}\Big)

    Here PyTorch's autograd finds the gradient.

    Parameters
    ----------
    loss : callable
        ``loss(value)`` returns the loss of a value, a floating tensor with the axes of the batch,
        without the last ones if all variables along them share it. Each element must depend on its
        own part of the value alone. In :func:`rbgs.compare` and its kin the value has a further
        leading axis, of draws, and so has the loss: ``torch.vmap(loss)`` adds it to a loss that
        cannot.

    Returns
    -------
    callable
        ``oracle(value)`` returns ``(loss, dloss_dvalue)`` without a record of how they were
        computed. A NumPy value is converted, and so is the answer: the loss may be compared on
        NumPy logits, through the compiled engine. It is then given tensors on the processor, of the
        dtype of the logits.

    Raises
    ------
    TypeError
        The loss is no function; or, once it is asked, it does not return a floating tensor, its
        derivative is lost in an ``argmax``, an index or ``detach()``, or the value is an array of
        another library.

    Notes
    -----
    The ``.grad`` of the parameters that the loss depends on stays as it is. A direct dependence on
    the logits, beside that through the value, is not seen: :func:`expectation` knows both.

    Examples
    --------
    >>> import rbgs, rbgs.torch, torch
    >>> decoder = torch.nn.Linear(3, 2)
    >>> oracle = rbgs.torch.oracle(lambda value: decoder(value).square().sum(dim=-1))
    >>> loss, derivative = oracle(torch.eye(3))
    >>> loss.shape, derivative.shape
    (torch.Size([3]), torch.Size([3, 3]))
    >>> rbgs.GumbelRao(0.5).gradient(oracle, torch.zeros(5, 3), rng=0).shape
    torch.Size([5, 3])
    """
    check_function(loss)

    def checked(value: Tensor) -> Tensor:
        found = loss(value)
        check_floating(found, value)
        return found

    def ask(value: Any) -> tuple[Any, Any]:
        if isinstance(value, np.ndarray):
            losses, derivative = ask(to_torch(value))
            return losses.numpy(), derivative.numpy()
        check_value(value, Tensor, "rbgs.torch")
        with torch.no_grad():
            losses, derivative, _ = detached(with_derivative(checked, value, "loss"))
        return losses, derivative

    return ask


def detached(answer: Answer) -> Answer:
    """Return an answer without a record of how it was computed."""
    return Answer(*[x if x is None else x.detach() for x in answer])


def with_derivative(function: Loss, value: Tensor, name: str) -> Answer:
    """Return the losses of a value and their derivative, itself differentiable where that counts.

    That is where gradients are recorded.
    """
    keep = torch.is_grad_enabled()
    lost = lost_derivative(name, "PyTorch", ", detach() or torch.no_grad()")

    def depending(value: Tensor) -> Tensor:
        losses = function(value)
        if not losses.requires_grad:
            raise lost
        return losses

    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        with torch.enable_grad():
            losses, pullback = torch.func.vjp(depending, value)
            (cotangent,) = pullback(torch.ones_like(losses))
    else:
        with torch.inference_mode(False), torch.enable_grad():
            leaf = value.detach()
            leaf = (leaf.clone() if leaf.is_inference() else leaf).requires_grad_()
            losses = depending(leaf)
            (cotangent,) = torch.autograd.grad(
                losses.sum(), leaf, create_graph=keep, allow_unused=True
            )
            if cotangent is None:
                raise lost
    return Answer(losses, cotangent)
