"""The expected loss of any estimator: an array that carries the gradient estimate."""

from typing import Any

import autograd.numpy as anp
from autograd.extend import defjvp, defvjp, primitive
from autograd.tracer import isbox

from rbgs.arrays.inputs import check_logits
from rbgs.arrays.keywords import instead_of
from rbgs.arrays.oracle import Answer
from rbgs.arrays.typing import Generator
from rbgs.autograd.oracle import Loss, with_derivative
from rbgs.autograd.sampling import constant_array, refuse, refuse_derivative, sample, unboxed
from rbgs.doors import (
    check_function,
    check_loss,
    combined,
    has_one_value,
    one_by_one,
    temperature_array,
)
from rbgs.estimators.base import Estimator, check_estimator
from rbgs.random.source import check_source


@instead_of(dim="axis", generator="rng", key="rng", seed="rng")
def expectation(
    estimator: Estimator,
    loss: Loss,
    logits: Any,
    *,
    rng: Generator,
    mask: Any = None,
    axis: int = -1,
) -> Any:
    r"""Estimate :math:`E[f(D)]` as an array whose derivative is the one the estimator gives it.

    One call for all estimators, those that use values of the loss included. The derivative for the
    logits is :meth:`rbgs.Estimator.gradient`; that for all else that the loss depends on, such as
    the parameters of a decoder, or the logits where the loss uses them directly, is autograd's own:
    the two terms of :math:`\nabla E[f(D)]` (Paulus et al. 2021, eq. 2).

    .. warning::
        Return one loss for each example. A ``mean()`` or ``sum()`` over the batch inside of
        ``loss`` makes all examples share one loss, and the variance of an estimator from values of
        the loss then grows with the batch. Average the result instead.

    Parameters
    ----------
    estimator : Estimator
        Any. An ``eta`` and a control variate are constants here.
    loss : callable
        ``loss(value)`` returns the loss of a value, which has the shape of the logits: a floating
        array with the axes of the batch, without the last ones if all variables along them share
        it. An estimator of several draws calls it once for each. Further evaluations, which it may
        need for the derivative, are no part of the result.
    logits : floating array ``(..., n)``
        Unnormalised log-probabilities, a NumPy array or a box of autograd around one.
    rng : numpy.random.Generator, rbgs.Key or int seed
        Where the randomness comes from.
    mask : bool array ``(..., n)``, optional
        True where a category is allowed; broadcasts against the logits.
    axis : int
        The category axis.

    Returns
    -------
    array ``(...,)``
        The estimate, of the shape and dtype of the loss: its mean over the draws, for
        :class:`~rbgs.Vimco` the bound.

    Raises
    ------
    TypeError
        As in :func:`sample`; or the loss is no function, does not return a floating array, or does
        not depend on the value where its derivative is needed.
    ValueError
        As in :func:`sample`; what the loss returns has another shape; or a derivative is asked for
        that only :func:`rbgs.torch.expectation` and :func:`rbgs.jax.expectation` have: for what the
        control variate of :class:`~rbgs.Relax` depends on.
    NotImplementedError
        As in :func:`sample`: there is no second derivative for the logits, nor of the bound of
        :class:`~rbgs.Vimco`.

    Examples
    --------
    >>> import autograd, rbgs, rbgs.autograd
    >>> import autograd.numpy as np
    >>> estimator = rbgs.Reinforce("leave_one_out", samples=4)
    >>> def objective(logits, cost):
    ...     return np.mean(rbgs.autograd.expectation(
    ...         estimator, lambda value: np.dot(value, cost), logits, rng=0))
    >>> logits, cost = np.zeros((100, 3)), np.asarray([1.0, 2.0, 4.0])
    >>> [x.shape for x in autograd.grad(objective, (0, 1))(logits, cost)]
    [(100, 3), (3,)]
    """
    check_estimator("estimator", estimator)
    check_function(loss)
    constant = constant_array(logits)
    axis, leading = check_logits(constant, axis), int(estimator._draws > 1)
    if has_one_value(estimator):
        value = sample(estimator, logits, rng=rng, mask=mask, axis=axis)
        return _answer(loss, value, axis, leading).loss
    if isbox(temperature_array(estimator)):
        refuse_derivative("temperature")
    source = check_source("rng", rng, constant)
    outcome, operator, value = estimator._drawing(constant, source, None, None, mask, axis)
    wanted = isbox(logits) or estimator._learned
    answer = _answer(loss, value, axis, leading, wanted and estimator._needs_derivative)
    losses = _combined(answer.loss, estimator)
    if not wanted:
        return losses

    def ask(value: Any, leading: int, derivative: bool = False, function: Any = None) -> Answer:
        name = "control_variate" if function else "loss"
        found = _answer(function or loss, value, axis, leading, derivative, name)
        if function is not None and isbox(found.loss):
            raise ValueError(
                "rbgs.autograd cannot train a control variate: use rbgs.torch or rbgs.jax, or make "
                "what it depends on constant with autograd.tracer.getval"
            )
        return Answer(*map(unboxed, found))

    estimate = estimator._gradient(outcome, operator, Answer(*map(unboxed, answer)), ask)
    return _carry(losses, logits, estimate, axis)


def _answer(
    function: Loss,
    value: Any,
    axis: int,
    leading: int,
    derivative: bool = False,
    name: str = "loss",
) -> Answer:
    """Return the losses of values, each with its derivative for the value if it is needed."""

    def checked(value: Any) -> Any:
        found = function(value)
        check_loss(unboxed(found), unboxed(value), axis, name)
        return found

    def answer(value: Any) -> Answer:
        if not derivative:
            return Answer(checked(value))
        return with_derivative(checked, value, name)

    return one_by_one(answer, value, leading, anp.stack)


def _combined(losses: Any, estimator: Estimator) -> Any:
    """Return what the losses of the draws estimate together."""
    if estimator._draws == 1:
        return losses
    weights = estimator._weights(unboxed(losses))
    return anp.mean(losses, axis=0) if weights is None else _bound(losses, weights, estimator)


@primitive
def _bound(losses: Any, weights: Any, estimator: Estimator) -> Any:
    return combined(estimator, losses)


@primitive
def _carry(losses: Any, logits: Any, estimate: Any, axis: int) -> Any:
    """Return the losses, whose derivative for the logits is the estimate."""
    return losses


@primitive
def _fixed(x: Any, *of: Any) -> Any:
    """Return an array that was made of others; a derivative for them is refused."""
    return x


def _spread(vector: Any, losses: Any, logits: Any, estimate: Any, axis: int) -> Any:
    """Return the estimate times a cotangent of the losses."""
    shared = estimate.ndim - 1 - anp.ndim(losses)
    vector = anp.reshape(vector, (*anp.shape(losses), *(1,) * shared))
    return anp.expand_dims(vector, axis) * _fixed(estimate, losses, logits)


def _total(tangent: Any, losses: Any, logits: Any, estimate: Any, axis: int) -> Any:
    """Return the tangent of the losses: sums over categories and over variables that share one."""
    total = anp.sum(tangent * _fixed(estimate, losses, logits), axis=axis)
    return anp.sum(total, axis=tuple(range(anp.ndim(losses), anp.ndim(total))))


defvjp(_fixed, None, refuse, refuse)
defjvp(_fixed, None, refuse, refuse)
defvjp(_bound, lambda _, losses, w, __: lambda v: v * _fixed(w, losses) / len(w), None, None)
defjvp(
    _bound, lambda t, _, losses, w, __: anp.sum(t * _fixed(w, losses), axis=0) / len(w), None, None
)
defvjp(_carry, lambda *_: lambda v: v, lambda _, *given: lambda v: _spread(v, *given), None, None)
defjvp(_carry, lambda t, *_: t, lambda t, _, *given: _total(t, *given), None, None)
