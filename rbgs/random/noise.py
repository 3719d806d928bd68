"""Randomness: uniforms from the generator or key of any library, and what is made of them."""

import math
import sys
from collections.abc import Sequence
from functools import cache
from operator import index
from typing import Any

import numpy as np
from array_api_compat import is_jax_namespace, is_torch_namespace

from rbgs.arrays.devices import device
from rbgs.arrays.namespaces import array_namespace, is_jax_array
from rbgs.arrays.simplex import clamp
from rbgs.arrays.tracing import constant_when_compiled, is_compiled_by_torch
from rbgs.arrays.typing import Array, Generator
from rbgs.random.key import Key
from rbgs.random.source import Drawn, is_of_numpy
from rbgs.random.threefry import further_bits, single_precision


def uniform(rng: Generator, shape: tuple[int, ...], like: Array) -> Array:
    """Draw iid uniforms on [0, 1] in the library, dtype and device of ``like``.

    In single precision they are finer ones, rounded: the exponentials of the rare categories'
    wins are small, and the usual grid of 2^-24 would end the tail of a large vocabulary.

    Parameters
    ----------
    rng : generator, key or int seed
        What `rbgs.random.source.check_source` returns for ``like``.
    shape : tuple of int
        Shape of the result.
    like : array
        float32 or float64 array whose library, dtype and device are wanted.

    Returns
    -------
    array
        Uniforms of the given shape.
    """
    if isinstance(rng, Key):
        return rng.uniform(shape, like)
    if isinstance(rng, Drawn):
        return rng.uniforms
    xp = array_namespace(like)
    if is_of_numpy(rng):
        sizes, single = tuple(map(index, shape)), like.dtype == xp.float32
        drawn = _uniform_of_numpy(rng, sizes, single, is_compiled_by_torch())
        return xp.asarray(drawn, dtype=like.dtype, device=device(like))
    if is_torch_namespace(xp):
        return uniform_of_torch(rng, shape, like.dtype, like.device)
    if is_jax_namespace(xp):
        return _uniform_of_jax(rng, shape, like)
    return xp.astype(rng.random(shape), like.dtype, copy=False)  # CuPy


@constant_when_compiled
def _uniform_of_numpy(rng: Generator, shape: tuple[int, ...], single: bool, compiled: bool) -> Any:
    """Return uniforms of NumPy, to PyTorch's compiler as a tensor: of all arrays it exports one."""
    drawn = np.random.default_rng(rng).random(shape)
    if single:
        drawn = drawn.astype(np.float32)
    return sys.modules["torch"].from_numpy(drawn) if compiled else drawn


def uniform_of_torch(
    generator: Generator, shape: tuple[int, ...], dtype: Any, device: Any
) -> Array:
    """Draw what :func:`uniform` does from a PyTorch generator, or from PyTorch's own for None."""
    torch: Any = sys.modules["torch"]
    # Were generator=None passed on, its compiler would not take sizes that change.
    options = {} if generator is None else {"generator": generator}
    if dtype != torch.float32:
        return torch.rand(shape, dtype=dtype, device=device, **options)
    if torch.device(device).type == "cpu":
        return torch.rand(shape, dtype=torch.float64, device=device, **options).to(dtype)
    # Not all devices have double precision.
    drawn = torch.rand((2, *shape), dtype=dtype, device=device, **options)
    return torch.add(drawn[0], drawn[1], alpha=2.0**-24)


def _uniform_of_jax(key: Generator, shape: tuple[int, ...], like: Array) -> Array:
    """Draw what :meth:`rbgs.Key.uniform` does, from a key of JAX."""
    jax: Any = sys.modules["jax"]
    if like.dtype != jax.numpy.float32:
        return jax.random.uniform(key, shape, dtype=like.dtype)
    return _single_of_jax()(key, tuple(shape))


@cache
def _single_of_jax() -> Any:
    """Return a function of JAX that is one operation, traced or not."""
    jax: Any = sys.modules["jax"]

    def draw(key: Generator, shape: tuple[int, ...]) -> Array:
        bits = jax.random.bits(key, shape, jax.numpy.uint32)
        words = jax.random.key_data(key)[-2:].astype(jax.numpy.int32)
        # Axis by axis, so that devices that share the numbers need not exchange them.
        counter = jax.numpy.zeros(shape, jax.numpy.int32)
        for axis in range(len(shape)):
            place = jax.lax.broadcasted_iota(jax.numpy.int32, shape, axis)
            counter = counter + place * math.prod(shape[axis + 1 :])
        further = further_bits((words[0], words[1]), (jax.numpy.zeros_like(counter), counter))
        return single_precision(bits, further, jax.numpy.float32)

    return jax.jit(draw, static_argnums=1)


def split(rng: Generator, count: int) -> Sequence[Generator]:
    """Return ``count`` sources of independent randomness: split a key, repeat what has state."""
    if isinstance(rng, Key):
        return rng.split(count)
    if is_of_numpy(rng):
        return [np.random.default_rng(rng)] * count
    if is_jax_array(rng):
        keys: Sequence[Generator] = sys.modules["jax"].random.split(rng, count)
        return keys
    return [rng] * count


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
    _, high = bounds(float(xp.finfo(uniforms.dtype).eps))
    below_one = clamp(uniforms, high=high)
    return xp.astype(xp.floor((below_one - 0.5) * 2.0**32), xp.int32)
