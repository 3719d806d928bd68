"""The expected loss of any estimator: an array that carries the gradient estimate."""

from functools import partial
from typing import Any

import jax
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.lax import stop_gradient

from rbgs.arrays.inputs import check_logits, wide_dtype
from rbgs.arrays.keywords import instead_of
from rbgs.arrays.oracle import Answer
from rbgs.arrays.typing import Generator
from rbgs.doors import (
    NO_SECOND_DERIVATIVE,
    at_temperature,
    check_function,
    check_loss,
    combined,
    has_one_value,
    settled,
    temperature_array,
)
from rbgs.estimators.base import Estimator, check_estimator
from rbgs.jax.oracle import Loss, with_derivative
from rbgs.jax.sampling import check_array, refuse_derivative, sample, to_jax
from rbgs.random.source import check_source


@instead_of(dim="axis", rng="key", generator="key", seed="key")
def expectation(
    estimator: Estimator,
    key: Generator,
    loss: Loss,
    logits: jax.Array | np.ndarray[Any, Any],
    *,
    mask: jax.Array | np.ndarray[Any, Any] | None = None,
    axis: int = -1,
) -> jax.Array:
    r"""Estimate :math:`E[f(D)]` as an array whose derivative is the one the estimator gives it.

    One call for all estimators, those that use values of the loss included. The derivative for the
    logits is :meth:`rbgs.Estimator.gradient`; that for all else that the loss depends on, such as
    the parameters of a decoder, or the logits where the loss uses them directly, is JAX's own: the
    two terms of :math:`\nabla E[f(D)]` (Paulus et al. 2021, eq. 2). It works under ``grad``,
    ``jvp``, ``vmap``, ``jit``, ``scan`` and ``checkpoint``.

    .. warning::
        Return one loss for each example. A ``mean()`` or ``sum()`` over the batch inside of
        ``loss`` makes all examples share one loss, and the variance of an estimator from values of
        the loss then grows with the batch. Average the result instead.

    Parameters
    ----------
    estimator : Estimator
        Any. What has state, such as :class:`~rbgs.RunningMean`, cannot be traced: carry its number
        as an array, and make the estimator with that.
    key : JAX key, rbgs.Key or int seed
        Where the randomness comes from.
    loss : callable
        ``loss(value)`` returns the loss of a value, which has the shape of the logits: a floating
        array with the axes of the batch, without the last ones if all variables along them share
        it. It is mapped over several draws with ``jax.vmap``. Further evaluations, which an
        estimator may need for the derivative, are no part of the result.
    logits : floating array ``(..., n)``
        Unnormalised log-probabilities. NumPy arrays become arrays of JAX.
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
        not depend on the value where its derivative is needed; or state is traced.
    ValueError
        As in :func:`sample`; or what the loss returns has another shape.
    NotImplementedError
        As in :func:`sample`: there is no second derivative for the logits.

    Notes
    -----
    :class:`~rbgs.Rebar` and :class:`~rbgs.Relax` with an ``eta`` that is an array, or with a
    control variate, learn: the result has, beside the derivatives above, for ``eta`` and for what
    the control variate depends on that of the squared norm of the estimate. It does not touch the
    others. So one ``grad`` trains encoder, decoder, ``eta`` and control variate.

    Examples
    --------
    >>> import jax, rbgs, rbgs.jax
    >>> estimator = rbgs.Reinforce("leave_one_out", samples=4)
    >>> @jax.jit
    ... def objective(logits, cost, key):
    ...     return rbgs.jax.expectation(estimator, key, lambda value: value @ cost, logits).mean()
    >>> logits, cost = jax.numpy.zeros((100, 3)), jax.numpy.asarray([1.0, 2.0, 4.0])
    >>> gradients = jax.grad(objective, argnums=(0, 1))(logits, cost, jax.random.key(0))
    >>> [x.shape for x in gradients]
    [(100, 3), (3,)]
    """
    check_estimator("estimator", estimator)
    check_function(loss)
    logits, mask = map(to_jax, (logits, mask))
    check_array(logits)
    axis, leading = check_logits(logits, axis), int(estimator._draws > 1)

    def answer(
        value: jax.Array, leading: int, derivative: bool = False, function: Any = None
    ) -> Answer:
        name = "control_variate" if function else "loss"
        return _answer(function or loss, value, axis, leading, derivative, name)

    if has_one_value(estimator):
        return answer(sample(estimator, key, logits, mask=mask, axis=axis), leading).loss
    estimator = settled(estimator, logits)
    temperature = to_jax(temperature_array(estimator))
    if isinstance(temperature, jax.core.Tracer):
        estimator = at_temperature(estimator, _temperature(temperature))
    fixed = stop_gradient(logits)
    source = check_source("key", key, fixed)
    outcome, operator, value = estimator._drawing(fixed, source, None, None, mask, axis)
    first = answer(value, leading, estimator._needs_derivative)
    losses = combined(estimator, first.loss)

    def ask(
        value: jax.Array, leading: int, derivative: bool = False, function: Any = None
    ) -> Answer:
        found = answer(value, leading, derivative, function)
        return stop_gradient(found) if function is None else found

    estimate = estimator._gradient(outcome, operator, stop_gradient(first), ask)
    squares = None
    if estimator._learned:
        wide = estimate.astype(wide_dtype(estimate))
        squares = _total(wide**2, losses.ndim, axis).astype(losses.dtype)
    carried: jax.Array = _carry(axis, losses, squares, logits, stop_gradient(estimate))
    return carried


def _answer(
    function: Loss, value: jax.Array, axis: int, leading: int, derivative: bool, name: str
) -> Answer:
    """Return the losses of values, each with its derivative for the value if it is needed."""

    def checked(value: jax.Array) -> jax.Array:
        found: jax.Array = to_jax(function(value))
        check_loss(found, value, axis, name)
        return found

    def answer(value: jax.Array) -> Answer:
        if not derivative:
            return Answer(checked(value))
        return with_derivative(checked, value, name)

    return jax.vmap(answer)(value) if leading else answer(value)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _carry(axis: int, losses: Any, squares: Any, logits: Any, estimate: Any) -> Any:
    """Return the losses, which get further derivatives.

    They are that of the squares, and the estimate for the logits.
    """
    return losses


@partial(_carry.defjvp, symbolic_zeros=True)
def _carry_jvp(axis: int, primals: Any, tangents: Any) -> tuple[Any, Any]:
    losses, _, logits, estimate = primals
    of_losses, of_squares, of_logits, _ = tangents
    total = jax.numpy.zeros_like(losses)
    for tangent in (of_losses, of_squares):
        if not isinstance(tangent, (SymbolicZero, type(None))):
            total = total + tangent
    if not isinstance(of_logits, SymbolicZero):
        # A function of all that it was made of: so a second derivative is noticed.
        product = _constant(estimate, (losses, logits)) * of_logits
        total = total + _total(product, losses.ndim, axis).astype(losses.dtype)
    return losses, total


def _total(x: jax.Array, ndim: int, axis: int) -> jax.Array:
    """Return the sums over categories and over the variables that share a loss of so many axes."""
    x = x.sum(axis=axis)
    return x.sum(axis=tuple(range(ndim, x.ndim)))


@jax.custom_jvp
def _constant(estimate: Any, _: Any) -> Any:
    """Return the estimate; a derivative for what it was made of is refused."""
    return estimate


@_constant.defjvp
def _constant_jvp(_: Any, __: Any) -> Any:
    raise NotImplementedError(NO_SECOND_DERIVATIVE)


@jax.custom_jvp
def _temperature(temperature: Any) -> Any:
    """Return the temperature; a derivative for it is refused."""
    return temperature


@_temperature.defjvp
def _temperature_jvp(_: Any, __: Any) -> Any:
    refuse_derivative("temperature")
