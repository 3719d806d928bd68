"""The door of HIPS autograd: samples of any estimator as NumPy arrays that carry the gradient."""

from typing import Any

import numpy as np

from rbgs.arrays.keywords import instead_of
from rbgs.arrays.typing import Generator
from rbgs.doors import check_arguments, not_installed, temperature_array
from rbgs.draw import Draw
from rbgs.estimators.base import Estimator

try:
    from autograd.extend import defjvp, defvjp, primitive
    from autograd.tracer import getval, isbox
except ModuleNotFoundError as error:
    raise not_installed(error, "autograd") from None

__all__ = ["sample"]


@instead_of(dim="axis", generator="rng", key="rng")
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
    """Draw a sample as an array whose derivative is the one the estimator gives it.

    The value is that of :meth:`rbgs.Estimator.sample`. Its derivative for the logits is
    :meth:`rbgs.Draw.vjp` in ``autograd.grad`` and its kin, and :meth:`rbgs.Draw.jvp` in
    ``autograd.make_jvp``.

    Parameters
    ----------
    estimator : Estimator
        Any but :class:`~rbgs.Reinforce`, whose draws have no derivative. There is no derivative
        for the temperature, nor for the noise.
    logits : floating array ``(..., n)``
        Unnormalised log-probabilities, a NumPy array or a box of autograd around one.
    rng, noise, index, mask, axis
        As in :meth:`rbgs.Estimator.sample`.

    Returns
    -------
    array
        The value, of the shape and dtype of the logits.

    Raises
    ------
    TypeError, ValueError
        As in :meth:`rbgs.Estimator.sample`; or the estimator is :class:`~rbgs.Reinforce`, the
        logits no NumPy array, or a derivative for the temperature or the noise is asked for.
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
            raise ValueError(
                f"no derivative is defined for the {name}: pass autograd.tracer.getval({name})"
            )
    constant = logits
    while isbox(constant):
        constant = getval(constant)
    fix = "numpy.asarray(logits)"
    check_arguments(estimator, constant, np.ndarray, "rbgs.autograd", fix, fix)
    draw = estimator.sample(constant, rng=rng, noise=noise, index=index, mask=mask, axis=axis)
    return _value(logits, draw)


@primitive
def _value(logits: Any, draw: Draw) -> Any:
    return draw.value


@primitive
def _product(vector: Any, logits: Any, draw: Draw) -> Any:
    """Return the product; it depends on the logits, but its derivative for them is refused."""
    return draw.vjp(vector)


def _refuse(*_: Any) -> Any:
    raise NotImplementedError(
        "the gradient estimate has no derivative for the logits: it holds the random numbers "
        "fixed. Differentiate twice only what follows the sample"
    )


defvjp(_value, lambda _, logits, draw: lambda vector: _product(vector, logits, draw), None)
defjvp(_value, lambda vector, _, logits, draw: _product(vector, logits, draw), None)
defvjp(_product, lambda _, __, logits, draw: lambda v: _product(v, logits, draw), _refuse, None)
defjvp(_product, lambda v, _, __, logits, draw: _product(v, logits, draw), _refuse, None)
