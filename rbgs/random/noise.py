"""Randomness: uniforms from the generator or key of any library, and what is made of them."""

import sys
from collections.abc import Sequence
from operator import attrgetter

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
    """Draw iid uniforms on [0, 1) in the library, dtype and device of ``like``.

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
        single = like.dtype == xp.float32
        drawn = np.random.default_rng(rng).random(shape, np.float32 if single else np.float64)
        return xp.asarray(drawn, dtype=like.dtype, device=device(like))
    if native == "torch" and is_torch_namespace(xp):
        if rng.device.type != like.device.type:
            raise ValueError(
                f"rng is a torch.Generator on {rng.device}, but the logits are on {like.device}: "
                f"make it with torch.Generator(device={str(like.device)!r})"
            )
        return sys.modules["torch"].rand(shape, generator=rng, dtype=like.dtype, device=like.device)
    if native == "jax" and is_jax_namespace(xp):
        here, there = device(like), device(rng)
        if not (here is None or there is None or here == there):
            raise ValueError(
                f"rng is a JAX key on {there}, but the logits are on {here}: "
                "move it with jax.device_put(rng, logits.device)"
            )
        return sys.modules["jax"].random.uniform(rng, shape, dtype=like.dtype)
    if native == "cupy" and is_cupy_namespace(xp):
        return rng.random(shape, dtype=like.dtype)
    raise ValueError(
        f"rng is a generator of {native}, but the logits are of {library(xp)}: "
        f"pass a generator of {library(xp)} or numpy.random.default_rng(seed)"
    )


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
    eps = xp.finfo(uniforms.dtype).eps
    low, high = eps / 4, 1 - eps / 2
    return -xp.log1p(-clamp(uniforms, low=low, high=high))


def generator_key(uniforms: Array) -> Array:
    """Return the int32 words whose bits are the leading binary digits of the uniforms."""
    xp = array_namespace(uniforms)
    eps = xp.finfo(uniforms.dtype).eps
    below_one = clamp(uniforms, high=1 - eps / 2)
    return xp.astype(xp.floor((below_one - 0.5) * 2.0**32), xp.int32)
