"""Oracles made of functions of autograd's arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np
from autograd import make_vjp

from rbgs.arrays.oracle import Answer
from rbgs.arrays.typing import Oracle
from rbgs.autograd.sampling import unboxed
from rbgs.doors import check_floating, check_function, check_value, lost_derivative

Loss = Callable[[Any], Any]


def oracle(loss: Loss) -> Oracle:
    r"""Make an oracle of a loss: a function that returns the loss and its gradient for the value.

    An oracle is what :func:`rbgs.compare`, :func:`rbgs.tune`, :func:`rbgs.exact_gradient` and
    :meth:`rbgs.Estimator.gradient` ask about the loss:

    .. math:: D \mapsto \Big(f(D), \frac{\partial f}{\partial D}\Big)

    Here autograd finds the gradient.

    Parameters
    ----------
    loss : callable
        ``loss(value)``, written with ``autograd.numpy``, returns the loss of a value, a floating
        array with the axes of the batch, without the last ones if all variables along them share
        it. Each element must depend on its own part of the value alone. In :func:`rbgs.compare` and
        its kin the value has a further leading axis, of draws, and so has the loss.

    Returns
    -------
    callable
        ``oracle(value)`` returns ``(loss, dloss_dvalue)``.

    Raises
    ------
    TypeError
        The loss is no function; or, once it is asked, it does not return a floating array, its
        derivative is lost in an ``argmax`` or an index, or the value is no array of NumPy.

    Notes
    -----
    A direct dependence on the logits, beside that through the value, is not seen:
    :func:`expectation` knows both.

    Examples
    --------
    >>> import rbgs, rbgs.autograd
    >>> import autograd.numpy as np
    >>> decoder = np.asarray([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> oracle = rbgs.autograd.oracle(lambda value: np.sum(np.dot(value, decoder) ** 2, axis=-1))
    >>> rbgs.GumbelRao(0.5).gradient(oracle, np.zeros((5, 3)), rng=0).shape
    (5, 3)
    """
    check_function(loss)

    def checked(value: Any) -> Any:
        found = loss(value)
        check_floating(unboxed(found), unboxed(value))
        return found

    def ask(value: Any) -> tuple[Any, Any]:
        check_value(value, np.ndarray, "rbgs.autograd")
        losses, derivative, _ = with_derivative(checked, value, "loss")
        return losses, derivative

    return ask


def with_derivative(function: Loss, value: Any, name: str) -> Answer:
    """Return the losses of a value and their derivative."""

    def depending(value: Any) -> Any:
        found = function(value)
        if getattr(found, "_trace", None) != value._trace:
            raise lost_derivative(name, "autograd")
        return found

    pullback, losses = make_vjp(depending)(value)
    return Answer(losses, pullback(np.ones_like(unboxed(losses))))
