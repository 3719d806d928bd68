"""Oracles made of functions of JAX's arrays."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.custom_derivatives import SymbolicZero

from rbgs.arrays.oracle import Answer
from rbgs.arrays.typing import Oracle
from rbgs.doors import check_floating, check_function, check_value, lost_derivative
from rbgs.jax.sampling import to_jax

Loss = Callable[[jax.Array], jax.Array]


def oracle(loss: Loss) -> Oracle:
    r"""Make an oracle of a loss: a function that returns the loss and its gradient for the value.

    An oracle is what :func:`rbgs.compare`, :func:`rbgs.tune`, :func:`rbgs.exact_gradient` and
    :meth:`rbgs.Estimator.gradient` ask about the loss:

    .. math:: D \mapsto \Big(f(D), \frac{\partial f}{\partial D}\Big)

    Here JAX finds the gradient. The oracle can be traced.

    Parameters
    ----------
    loss : callable
        ``loss(value)`` returns the loss of a value, a floating array with the axes of the batch,
        without the last ones if all variables along them share it. Each element must depend on its
        own part of the value alone. In :func:`rbgs.compare` and its kin the value has a further
        leading axis, of draws, and so has the loss: ``jax.vmap(loss)`` adds it to a loss that
        cannot. ``jax.jit(loss)`` makes a loss of many operations faster.

    Returns
    -------
    callable
        ``oracle(value)`` returns ``(loss, dloss_dvalue)``. A NumPy value is converted, and so is
        the answer: the loss may be compared on NumPy logits, which needs no compilation of the
        estimators.

    Raises
    ------
    TypeError
        The loss is no function; or, once it is asked, it does not return a floating array, its
        derivative is lost in an ``argmax``, an index or ``stop_gradient``, or the value is an array
        of another library.

    Notes
    -----
    A direct dependence on the logits, beside that through the value, is not seen:
    :func:`expectation` knows both.

    Examples
    --------
    >>> import jax, rbgs, rbgs.jax
    >>> decoder = jax.numpy.asarray([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> oracle = rbgs.jax.oracle(lambda value: ((value @ decoder) ** 2).sum(axis=-1))
    >>> loss, derivative = oracle(jax.numpy.eye(3))
    >>> loss.shape, derivative.shape
    ((3,), (3, 3))
    >>> rbgs.GumbelRao(0.5).gradient(oracle, jax.numpy.zeros((5, 3)), rng=0).shape
    (5, 3)
    """
    check_function(loss)

    def checked(value: jax.Array) -> jax.Array:
        found: jax.Array = to_jax(loss(value))
        check_floating(found, value)
        return found

    def ask(value: Any) -> tuple[Any, Any]:
        if isinstance(value, np.ndarray):
            losses, derivative = ask(to_jax(value))
            return np.asarray(losses), np.asarray(derivative)
        check_value(value, jax.Array, "rbgs.jax")
        losses, derivative, _ = with_derivative(checked, value, "loss")
        return losses, derivative

    return ask


def with_derivative(function: Loss, value: jax.Array, name: str) -> Answer:
    """Return the losses of a value and their derivative."""
    losses, pullback = jax.vjp(lambda value: _depending(name, value, function(value)), value)
    return Answer(losses, *pullback(jax.numpy.ones_like(losses)))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _depending(name: str, value: jax.Array, losses: jax.Array) -> jax.Array:
    """Return the losses; raise where their derivative is asked for and lost.

    The value is an argument so that it is this derivative, not that for something else.
    """
    return losses


@partial(_depending.defjvp, symbolic_zeros=True)
def _depending_jvp(name: str, primals: Any, tangents: Any) -> tuple[Any, Any]:
    losses, tangent = primals[1], tangents[1]
    if isinstance(tangent, SymbolicZero):
        raise lost_derivative(name, "JAX", " or stop_gradient")
    return losses, tangent
