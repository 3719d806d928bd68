"""Samples as arrays that carry the gradient."""

from functools import partial
from typing import Any, NoReturn

import jax
import numpy as np
from jax.custom_derivatives import SymbolicZero

from rbgs.arrays.inputs import check_logits
from rbgs.arrays.keywords import instead_of
from rbgs.arrays.typing import Generator
from rbgs.doors import at_temperature, check_kind, check_pathwise, settled, temperature_array
from rbgs.draw import Draw
from rbgs.estimators.base import Estimator
from rbgs.random.source import Drawn, check_source

INSTEAD = "rbgs.jax.expectation(estimator, key, loss, logits)"
SAMPLE = "rbgs.jax.sample(estimator, key, logits)"


@instead_of(dim="axis", rng="key", generator="key", seed="key")
def sample(
    estimator: Estimator,
    key: Generator,
    logits: jax.Array | np.ndarray[Any, Any],
    *,
    noise: jax.Array | np.ndarray[Any, Any] | None = None,
    index: jax.Array | np.ndarray[Any, Any] | int | None = None,
    mask: jax.Array | np.ndarray[Any, Any] | None = None,
    axis: int = -1,
) -> jax.Array:
    r"""Draw a sample as an array whose derivative is the one the estimator gives it.

    The value is the :math:`D \sim \operatorname{Cat}(\operatorname{softmax}(\theta))` of
    :meth:`rbgs.Estimator.sample`, and :math:`\partial D / \partial \theta` is set to the operator A
    of its draw (Paulus et al. 2021, eq. 4 to 10): :meth:`rbgs.Draw.jvp` forward and
    :meth:`rbgs.Draw.vjp` in reverse.

    It works under ``grad``, ``jvp``, ``linearize``, ``vmap``, ``jit``, ``scan``, ``checkpoint`` and
    ``shard_map``. A new key does not trace again.

    Importing this module makes :class:`~rbgs.Draw` a pytree, so that a function under ``jit``,
    ``vmap`` or ``scan`` can take and return one.

    Parameters
    ----------
    estimator : Estimator
        Any whose draws have a derivative; the others, such as :class:`~rbgs.Reinforce`, need the
        loss: see :func:`expectation`. Its temperature may be an array, traced or not, that
        broadcasts against the batch; there is no derivative for it, nor for the noise.
    key : JAX key, rbgs.Key or int seed
        None if ``noise`` is given, or if none is needed.
    logits : floating array ``(..., n)``
        Unnormalised log-probabilities. NumPy arrays become arrays of JAX, all of them.
    noise : floating array ``(..., n)``, optional
        Uniforms from :meth:`rbgs.Estimator.noise` instead of a key.
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
    TypeError
        The logits are no JAX or NumPy array or of a dtype that is not real floating, or the
        estimator uses values of the loss.
    ValueError
        Shapes do not match, there is neither key nor noise, or a derivative for the temperature
        or the noise is asked for.
    NotImplementedError
        A second derivative for the logits is asked for. The one for what the first is linear in,
        the gradient of the loss at the value, is there.

    Examples
    --------
    >>> import jax, rbgs, rbgs.jax
    >>> cost = jax.numpy.asarray([1.0, 2.0, 3.0])
    >>> @jax.jit
    ... def loss(logits, key):
    ...     return (rbgs.jax.sample(rbgs.GumbelRao(0.5), key, logits) @ cost).mean()
    >>> gradient = jax.grad(loss)(jax.numpy.zeros((100, 3)), jax.random.key(0))
    >>> bool(gradient[:, 0].sum() < 0 < gradient[:, 2].sum())
    True
    """
    logits, noise, index, mask = map(to_jax, (logits, noise, index, mask))
    check_pathwise(estimator, INSTEAD)
    check_array(logits)
    axis = check_logits(logits, axis)
    estimator = settled(estimator, logits)
    if isinstance(index, (int, np.integer)):
        index = estimator._structure.check_number(int(index), logits.shape[axis])
    is_drawn = noise is None
    if noise is None and estimator._needs_noise(index):
        noise = estimator.noise(logits, check_source("key", key, logits), axis=axis)
    elif key is not None and noise is not None:
        raise ValueError("both key and noise are given: pass key=None or no noise")
    static, temperature = split_temperature(estimator)
    operands = logits, (noise, index, mask), temperature
    value: jax.Array = _value(static, axis, is_drawn, *operands)
    return value


def split_temperature(estimator: Estimator) -> tuple[Estimator, jax.Array | None]:
    """Return an estimator that is static, and its temperature if that is an array: an operand."""
    temperature = to_jax(temperature_array(estimator))
    return at_temperature(estimator, None if temperature is None else 1.0), temperature


def refuse_derivative(name: str) -> NoReturn:
    """Raise what is said to those who ask for the derivative for an argument that has none."""
    raise ValueError(f"no derivative is defined for the {name}: pass jax.lax.stop_gradient({name})")


def check_array(logits: Any) -> None:
    """Raise unless the logits are an array of JAX."""
    convert, make = "jax.dlpack.from_dlpack(logits)", "jax.numpy.asarray(logits)"
    check_kind(logits, jax.Array, "rbgs.jax", convert, make)


def to_jax(x: Any) -> Any:
    """Return an array of NumPy as one of JAX, and anything else as it is."""
    return jax.numpy.asarray(x) if isinstance(x, np.ndarray) else x


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _value(
    estimator: Estimator, axis: int, is_drawn: bool, logits: Any, others: Any, temperature: Any
) -> Any:
    return _draw(estimator, axis, is_drawn, logits, others, temperature).value


@partial(_value.defjvp, symbolic_zeros=True)
def _value_jvp(
    estimator: Estimator, axis: int, is_drawn: bool, primals: Any, tangents: Any
) -> tuple[Any, Any]:
    logits, others, temperature = primals
    tangent, (of_noise, _, _), of_temperature = tangents
    for name, other in (("temperature", of_temperature), ("noise", of_noise)):
        if not isinstance(other, (SymbolicZero, type(None))):
            refuse_derivative(name)
    if isinstance(tangent, SymbolicZero):
        value = _value(estimator, axis, is_drawn, logits, others, temperature)
        return value, jax.numpy.zeros_like(value)
    draw = _draw(estimator, axis, is_drawn, logits, others, temperature)
    # JAX transposes this function to itself: it need not look inside, nor keep all samples. The
    # first argument would be its inverse, which no derivative of first order calls.
    product = jax.lax.custom_linear_solve(
        lambda x: x, tangent, lambda _, vector: draw.jvp(vector), symmetric=True
    )
    return draw.value, product


def _draw(estimator: Estimator, axis: int, is_drawn: bool, *operands: Any) -> Draw:
    # JAX hands on constants as arrays of NumPy.
    logits, (noise, index, mask), temperature = jax.tree.map(to_jax, operands)
    estimator = at_temperature(estimator, temperature)
    source = None
    if is_drawn and noise is not None:
        source, noise = Drawn(noise), None
    return estimator.sample(logits, rng=source, noise=noise, index=index, mask=mask, axis=axis)
