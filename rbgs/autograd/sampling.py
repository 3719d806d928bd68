"""Samples as arrays that carry the gradient."""

from typing import Any, NoReturn

import numpy as np
from autograd.extend import defjvp, defvjp, primitive
from autograd.tracer import getval, isbox

from rbgs.arrays.keywords import instead_of
from rbgs.arrays.typing import Generator
from rbgs.doors import NO_SECOND_DERIVATIVE, check_kind, check_pathwise, temperature_array
from rbgs.draw import Draw
from rbgs.estimators.base import Estimator


@instead_of(dim="axis", generator="rng", key="rng", seed="rng")
def sample(
    estimator: Estimator,
    logits: Any,
    *,
    rng: Generator = None,
    noise: Any = None,
    index: Any = None,
    mask: Any = None,
    axis: int = -1,
) -> Any:
    r"""Draw a sample as an array whose derivative is the one the estimator gives it.

    The value is the :math:`D \sim \operatorname{Cat}(\operatorname{softmax}(\theta))` of
    :meth:`rbgs.Estimator.sample`, and :math:`\partial D / \partial \theta` is set to the operator A
    of its draw (Paulus et al. 2021, eq. 4 to 10): :meth:`rbgs.Draw.vjp` in ``autograd.grad`` and
    its kin, :meth:`rbgs.Draw.jvp` in ``autograd.make_jvp``.

    Parameters
    ----------
    estimator : Estimator
        Any whose draws have a derivative; the others, such as :class:`~rbgs.Reinforce`, need the
        loss: see :func:`expectation`. There is no derivative for the temperature, nor for the
        noise.
    logits : floating array ``(..., n)``
        Unnormalised log-probabilities, a NumPy array or a box of autograd around one.
    rng : numpy.random.Generator, rbgs.Key or int seed, optional
        Required unless ``noise`` is given or none is needed.
    noise : floating array ``(..., n)``, optional
        Uniforms from :meth:`rbgs.Estimator.noise`, instead of ``rng``.
    index : int array ``(...,)`` or int, optional
        Condition on this outcome instead of drawing one.
    mask : bool array ``(..., n)``, optional
        True where a category is allowed; broadcasts against the logits.
    axis : int
        The category axis.

    Returns
    -------
    array ``(..., n)``
        The value, of the shape and dtype of the logits.

    Raises
    ------
    TypeError, ValueError
        As in :meth:`rbgs.Estimator.sample`; or the estimator uses values of the loss, the logits
        are no NumPy array, or a derivative for the temperature or the noise is asked for.
    NotImplementedError
        A second derivative for the logits is asked for. The one for what the first is linear in,
        the gradient of the loss at the value, is there.

    Examples
    --------
    >>> import autograd, rbgs, rbgs.autograd
    >>> import autograd.numpy as np
    >>> cost = np.asarray([1.0, 2.0, 3.0])
    >>> def loss(logits):
    ...     value = rbgs.autograd.sample(rbgs.GumbelRao(0.5), logits, rng=0)
    ...     return np.mean(np.dot(value, cost))
    >>> gradient = autograd.grad(loss)(np.zeros((100, 3)))
    >>> bool(gradient[:, 0].sum() < 0 < gradient[:, 2].sum())
    True
    """
    for name, x in (("noise", noise), ("temperature", temperature_array(estimator))):
        if isbox(x):
            refuse_derivative(name)
    check_pathwise(estimator, "rbgs.autograd.expectation(estimator, loss, logits, rng=rng)")
    constant = constant_array(logits)
    draw = estimator.sample(constant, rng=rng, noise=noise, index=index, mask=mask, axis=axis)
    return _value(logits, draw)


def constant_array(logits: Any) -> Any:
    """Return logits out of their boxes; raise unless they are an array of NumPy."""
    constant, fix = unboxed(logits), "numpy.asarray(logits)"
    check_kind(constant, np.ndarray, "rbgs.autograd", fix, fix)
    return constant


def refuse_derivative(name: str) -> NoReturn:
    """Raise what is said to those who ask for the derivative for an argument that has none."""
    raise ValueError(
        f"no derivative is defined for the {name}: pass autograd.tracer.getval({name})"
    )


def unboxed(x: Any) -> Any:
    """Return an array out of its boxes, and anything else as it is."""
    while isbox(x):
        x = getval(x)
    return x


@primitive
def _value(logits: Any, draw: Draw) -> Any:
    return draw.value


@primitive
def _product(vector: Any, logits: Any, draw: Draw) -> Any:
    """Return the product; it depends on the logits, but its derivative for them is refused."""
    return draw.vjp(vector)


def refuse(*_: Any) -> Any:
    """Raise what is said to those who ask for a second derivative."""
    raise NotImplementedError(NO_SECOND_DERIVATIVE)


defvjp(_value, lambda _, logits, draw: lambda vector: _product(vector, logits, draw), None)
defjvp(_value, lambda vector, _, logits, draw: _product(vector, logits, draw), None)
defvjp(_product, lambda _, __, logits, draw: lambda v: _product(v, logits, draw), refuse, None)
defjvp(_product, lambda v, _, __, logits, draw: _product(v, logits, draw), refuse, None)
