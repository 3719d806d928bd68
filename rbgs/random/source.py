"""Which generators and keys serve which arrays; messages name the argument as the caller does."""

from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np

from rbgs.arrays.devices import device
from rbgs.arrays.inputs import library
from rbgs.arrays.namespaces import array_namespace, loaded
from rbgs.arrays.scalars import as_int
from rbgs.arrays.tracing import is_traced
from rbgs.arrays.typing import Array, Generator
from rbgs.random.key import Key

_OF_NUMPY = (np.random.Generator, np.random.BitGenerator, np.random.SeedSequence)
_OWN = {
    "torch": "a torch.Generator, ",
    "jax": "a jax.random.key(seed), ",
    "cupy": "a cupy.random.Generator, ",
}
_NATIVE = {"torch": "Generator", "jax": "Array", "cupy": "random.Generator"}


@dataclass(frozen=True)
class Drawn:
    """Uniforms that were drawn before, as a source: unlike given noise they need no check."""

    uniforms: Array


def check_source(name: str, rng: Generator, like: Array) -> Generator:
    """Return a generator, a key or a seed that serves arrays like ``like``; a seed as an int."""
    if rng is None:
        raise ValueError(
            f"randomness is explicit here: {_how(name, like)}, or noise=estimator.noise(...)"
        )
    if isinstance(rng, (Key, Drawn)):
        return rng
    if isinstance(rng, _OF_NUMPY):
        if is_traced(like):
            raise ValueError(
                f"{name} is a NumPy generator inside a JAX transformation, where it would be drawn "
                "from once, at tracing: pass a JAX key, or draw the noise outside and pass noise="
            )
        return rng
    native = _native_library(rng)
    if native is None:
        return _seed(name, rng, like)
    wanted = library(array_namespace(like))
    if native != wanted:
        raise ValueError(
            f"{name} is a generator of {native}, but the logits are of {wanted}: "
            f"pass a generator of {wanted} or numpy.random.default_rng(seed)"
        )
    if native == "jax":
        here, there = device(like), device(rng)
        if not (here is None or there is None or here == there):
            raise ValueError(
                f"{name} is a JAX key on {there}, but the logits are on {here}: "
                f"move it with jax.device_put({name}, logits.device)"
            )
    if native == "torch" and rng.device.type != like.device.type:
        raise ValueError(
            f"{name} is a torch.Generator on {rng.device}, but the logits are on {like.device}: "
            f"make it with torch.Generator(device={str(like.device)!r})"
        )
    return rng


def is_of_numpy(rng: Generator) -> bool:
    """Tell whether a source is a seed or one of NumPy's, which serve every library."""
    return isinstance(rng, (int, *_OF_NUMPY))


def _how(name: str, like: Array) -> str:
    own = _OWN.get(library(array_namespace(like)), "")
    return f"pass {name}=numpy.random.default_rng(seed), {own}a rbgs.Key or an int seed"


def _native_library(rng: Generator) -> str | None:
    """Name the library whose generator or key ``rng`` is, if it is one of them."""
    for name, kind in _NATIVE.items():
        module = loaded(name)
        if module is not None and isinstance(rng, attrgetter(kind)(module)):
            return name
    return None


def _seed(name: str, rng: Any, like: Array) -> int:
    try:
        seed = as_int(name, rng)
    except TypeError:
        known = f"which is no known generator: {_how(name, like)}"
        raise TypeError(f"{name} is a {type(rng).__name__}, {known}") from None
    if seed < 0:
        raise ValueError(f"{name} is the seed {seed}, but a seed is 0 or above")
    return seed
