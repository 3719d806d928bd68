"""Randomness: uniforms from the generator or key of any library, and what is made of them."""

import math
import sys
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import numpy as np
from array_api_compat import (
    array_namespace,
    is_cupy_namespace,
    is_jax_namespace,
    is_torch_namespace,
)

from rbgs.arrays.devices import device
from rbgs.arrays.inputs import library
from rbgs.arrays.simplex import clamp
from rbgs.arrays.tracing import is_traced
from rbgs.arrays.typing import Array, Generator
from rbgs.random.key import Key
from rbgs.random.threefry import further_bits, single_precision

_HOW_TO_PASS = (
    "pass rng=numpy.random.default_rng(seed), a torch.Generator, a jax.random.key, "
    "a cupy.random.Generator, a rbgs.Key or an int seed"
)
_NUMPY_SEEDS = (
    int,
    np.integer,
    np.random.Generator,
    np.random.BitGenerator,
    np.random.SeedSequence,
)
_NATIVE = {"torch": "Generator", "jax": "Array", "cupy": "random.Generator"}


def _native_library(rng: Generator) -> str | None:
    """Name the library whose generator or key ``rng`` is; None for what NumPy takes."""
    if isinstance(rng, _NUMPY_SEEDS):
        return None
    for name, kind in _NATIVE.items():
        module = sys.modules.get(name)
        if module is not None and isinstance(rng, attrgetter(kind)(module)):
            return name
    raise TypeError(f"rng is a {type(rng).__name__}, which is no known generator: {_HOW_TO_PASS}")


def uniform(rng: Generator, shape: tuple[int, ...], like: Array) -> Array:
    """Draw iid uniforms on [0, 1] in the library, dtype and device of ``like``.

    In single precision they are finer ones, rounded: the exponentials of the rare categories'
    wins are small, and the usual grid of 2^-24 would end the tail of a large vocabulary.

    Parameters
    ----------
    rng : generator, key or int seed
        A generator or key of the library of ``like``, a :class:`~rbgs.Key`, or whatever
        ``numpy.random.default_rng`` takes: NumPy's generators serve every library.
    shape : tuple of int
        Shape of the result.
    like : array
        float32 or float64 array whose library, dtype and device are wanted.

    Returns
    -------
    array
        Uniforms of the given shape.

    Raises
    ------
    ValueError
        ``rng`` is None, belongs to another library or device, or is a stateful NumPy generator
        under a JAX transformation, where it would be drawn from only once.
    TypeError
        ``rng`` is not a generator.
    """
    if rng is None:
        raise ValueError(
            f"randomness is explicit here: {_HOW_TO_PASS}, or noise=estimator.noise(...)"
        )
    if isinstance(rng, Key):
        return rng.uniform(shape, like)
    xp = array_namespace(like)
    native = _native_library(rng)
    if native is None:
        if is_traced(like) and not isinstance(rng, (int, np.integer)):
            raise ValueError(
                "rng is a NumPy generator inside a JAX transformation, where it would be drawn "
                "from once, at tracing: pass a JAX key, or draw the noise outside and pass noise="
            )
        drawn = np.random.default_rng(rng).random(shape)
        if like.dtype == xp.float32:
            drawn = drawn.astype(np.float32)
        return xp.asarray(drawn, dtype=like.dtype, device=device(like))
    if native == "torch" and is_torch_namespace(xp):
        if rng.device.type != like.device.type:
            raise ValueError(
                f"rng is a torch.Generator on {rng.device}, but the logits are on {like.device}: "
                f"make it with torch.Generator(device={str(like.device)!r})"
            )
        return uniform_of_torch(rng, shape, like.dtype, like.device)
    if native == "jax" and is_jax_namespace(xp):
        return _uniform_of_jax(rng, shape, like)
    if native == "cupy" and is_cupy_namespace(xp):
        return xp.astype(rng.random(shape), like.dtype, copy=False)
    raise ValueError(
        f"rng is a generator of {native}, but the logits are of {library(xp)}: "
        f"pass a generator of {library(xp)} or numpy.random.default_rng(seed)"
    )


def uniform_of_torch(
    generator: Generator, shape: tuple[int, ...], dtype: Any, device: Any
) -> Array:
    """Draw what :func:`uniform` does from a PyTorch generator, or from PyTorch's own for None."""
    torch: Any = sys.modules["torch"]
    if dtype != torch.float32:
        return torch.rand(shape, generator=generator, dtype=dtype, device=device)
    # Not all devices have double precision.
    drawn = torch.rand((2, *shape), generator=generator, dtype=dtype, device=device)
    return torch.add(drawn[0], drawn[1], alpha=2.0**-24)


def _uniform_of_jax(key: Generator, shape: tuple[int, ...], like: Array) -> Array:
    """Draw what :meth:`rbgs.Key.uniform` does, from a key of JAX."""
    random, jnp = sys.modules["jax"].random, sys.modules["jax"].numpy
    if like.dtype != jnp.float32:
        return random.uniform(key, shape, dtype=like.dtype)
    bits = random.bits(key, shape, jnp.uint32)
    words = random.key_data(key)[-2:].astype(jnp.int32)
    counter = jnp.arange(math.prod(shape), dtype=jnp.int32).reshape(shape)
    further = further_bits((words[0], words[1]), (jnp.zeros_like(counter), counter))
    return single_precision(bits, further, like.dtype)


def split(rng: Generator, count: int) -> Sequence[Generator]:
    """Return ``count`` sources of independent randomness: split a key, repeat what has state."""
    if rng is None:
        raise ValueError(f"randomness is explicit here: {_HOW_TO_PASS}")
    if isinstance(rng, Key):
        return rng.split(count)
    native = _native_library(rng)
    if native == "jax":
        keys: Sequence[Generator] = sys.modules["jax"].random.split(rng, count)
        return keys
    return [np.random.default_rng(rng) if native is None else rng] * count


def exponential(uniforms: Array) -> Array:
    """Return standard exponentials ``-log(1 - u)``, kept off 0 and infinity."""
    xp = array_namespace(uniforms)
    low, high = bounds(float(xp.finfo(uniforms.dtype).eps))
    return -xp.log1p(-clamp(uniforms, low=low, high=high))


def bounds(eps: float) -> tuple[float, float]:
    """Return what a uniform of a precision is kept within: half the finest step, and below 1."""
    return 2.0**-54, 1 - eps / 2


def generator_key(uniforms: Array) -> Array:
    """Return the int32 words whose bits are the leading binary digits of the uniforms."""
    xp = array_namespace(uniforms)
    eps = xp.finfo(uniforms.dtype).eps
    below_one = clamp(uniforms, high=1 - eps / 2)
    return xp.astype(xp.floor((below_one - 0.5) * 2.0**32), xp.int32)
