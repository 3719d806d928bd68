"""What is timed beside the estimators: the doors to the frameworks, and a `Key` as generator."""

from collections.abc import Callable
from typing import Any

import numpy as np

import rbgs
from benchmarks.measurements import peers

Pairs = dict[str, tuple[peers.Call, peers.Call]]


def doors(estimator: Any, logits: np.ndarray, cotangent: np.ndarray) -> Pairs:
    """Name pairs of calls: sample and gradient through a door, and by `Draw` itself."""
    return {
        "rbgs.torch, Draw on NumPy": (
            torch_door(estimator, logits, cotangent),
            peers.ours(estimator, logits, cotangent, compiled=True),
        ),
        "rbgs.torch, Draw on PyTorch": (
            torch_door(estimator, logits, cotangent),
            torch_draw(estimator, logits, cotangent),
        ),
        "rbgs.jax, Draw on JAX, both jitted": (
            jax_door(estimator, logits, cotangent),
            peers.ours_in_jax(estimator, logits, cotangent, compiled=True),
        ),
    }


def torch_door(estimator: Any, logits: np.ndarray, cotangent: np.ndarray) -> peers.Call:
    """Forward and backward through `rbgs.torch`."""
    import torch

    import rbgs.torch

    leaf, gradient = torch.tensor(logits, requires_grad=True), torch.tensor(cotangent)
    generator = torch.Generator().manual_seed(0)

    def call() -> Any:
        rbgs.set_compiled(True)
        value = rbgs.torch.sample(estimator, leaf, generator=generator)
        return torch.autograd.grad(value, leaf, gradient)

    return call


def torch_draw(estimator: Any, logits: np.ndarray, cotangent: np.ndarray) -> peers.Call:
    """Sample and vjp on tensors."""
    import torch

    x, g, generator = torch.tensor(logits), torch.tensor(cotangent), torch.Generator()
    return lambda: estimator.sample(x, rng=generator).vjp(g)


def jax_door(estimator: Any, logits: np.ndarray, cotangent: np.ndarray) -> peers.Call:
    """Value and gradient through `rbgs.jax`, jitted."""
    import rbgs.jax

    def draw(x: Any, key: Any) -> Any:
        rbgs.set_compiled(True)  # while it is traced
        return rbgs.jax.sample(estimator, key, x)

    return peers.jax_gradient(draw, logits, cotangent)


def keys(shape: tuple[int, ...]) -> Pairs:
    """Name pairs of calls: noise of a `Key`, and of the library's own generator."""
    import jax
    import torch

    estimator, key = rbgs.StraightThrough(), rbgs.Key(0)
    zeros = {
        "NumPy": np.zeros(shape, np.float32),
        "PyTorch": torch.zeros(shape),
        "JAX, jitted": jax.numpy.zeros(shape),
    }
    own = {
        "NumPy": np.random.default_rng(0),
        "PyTorch": torch.Generator(),
        "JAX, jitted": jax.random.key(0),
    }

    def draw(library: str, rng: Any) -> peers.Call:
        x = zeros[library]
        noise: Callable[..., Any] = estimator.noise
        if library.startswith("JAX"):
            noise = jax.jit(noise, static_argnums=1) if rng is key else jax.jit(noise)
            return lambda: jax.block_until_ready(noise(x, rng))
        return lambda: noise(x, rng)

    return {
        f"noise, {library}: Key, own generator": (draw(library, key), draw(library, own[library]))
        for library in zeros
    }
