"""What the library is measured against: estimators as a user of PyTorch or JAX writes them.

The dense Gumbel-Rao follows eq. 9 and 10 of Paulus, Maddison & Krause (2021): tensors of K times n
numbers for each row, a softmax, and the framework's own differentiation.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

Call = Callable[[], Any]


def torch_gumbel_softmax(logits: np.ndarray, cotangent: np.ndarray, temperature: float) -> Call:
    """``torch.nn.functional.gumbel_softmax(hard=True)``, forward and backward."""
    import torch

    leaf, gradient = torch.tensor(logits, requires_grad=True), torch.tensor(cotangent)

    def call() -> Any:
        value = torch.nn.functional.gumbel_softmax(leaf, tau=temperature, hard=True)
        return torch.autograd.grad(value, leaf, gradient)

    return call


def torch_dense(
    logits: np.ndarray, cotangent: np.ndarray, temperature: float, samples: int
) -> Call:
    """Dense GR-MCK in PyTorch, forward and backward."""
    import torch

    leaf, gradient = torch.tensor(logits, requires_grad=True), torch.tensor(cotangent)

    def call() -> Any:
        with torch.no_grad():
            index = torch.distributions.Categorical(logits=leaf).sample()
            winner = torch.nn.functional.one_hot(index, leaf.shape[-1]).to(leaf.dtype)
            drawn = torch.distributions.Exponential(torch.ones_like(leaf)).sample((samples,))
            of_winner = (winner * drawn).sum(dim=-1, keepdim=True)
            weights = leaf.exp()
            total = weights.sum(dim=-1, keepdim=True)
            perturbed = winner * (total.log() - of_winner.log()) - (1 - winner) * torch.log(
                drawn / weights + of_winner / total
            )
            gumbels = perturbed - leaf
        relaxed = torch.softmax((leaf + gumbels) / temperature, dim=-1).mean(dim=0)
        value = winner - relaxed.detach() + relaxed
        return torch.autograd.grad(value, leaf, gradient)

    return call


def jax_dense(
    logits: np.ndarray, cotangent: np.ndarray, temperature: float, samples: int, *, scan: bool
) -> Call:
    """Dense GR-MCK in JAX, jitted: all samples at once, or one after the other in a scan."""
    import jax

    jnp = jax.numpy

    def one(logits: Any, winner: Any, key: Any, cotangent: Any) -> Any:
        drawn = jax.random.exponential(key, logits.shape, logits.dtype)
        of_winner = jnp.sum(winner * drawn, axis=-1, keepdims=True)
        weights = jnp.exp(logits)
        total = jnp.sum(weights, axis=-1, keepdims=True)
        perturbed = winner * (jnp.log(total) - jnp.log(of_winner)) - (1 - winner) * jnp.log(
            drawn / weights + of_winner / total
        )
        gumbels = perturbed - logits
        _, pull = jax.vjp(lambda x: jax.nn.softmax((x + gumbels) / temperature), logits)
        return pull(cotangent)[0]

    @jax.jit
    def estimate(logits: Any, key: Any, cotangent: Any) -> Any:
        key, first = jax.random.split(key)
        index = jax.random.categorical(first, logits)
        winner = jax.nn.one_hot(index, logits.shape[-1], dtype=logits.dtype)
        keys = jax.random.split(key, samples)
        if not scan:
            many = jax.vmap(one, in_axes=(None, None, 0, None))(logits, winner, keys, cotangent)
            return winner, jnp.mean(many, axis=0)

        def step(total: Any, key: Any) -> Any:
            return total + one(logits, winner, key, cotangent), None

        total, _ = jax.lax.scan(step, jnp.zeros_like(logits), keys)
        return winner, total / samples

    return with_new_keys(estimate, logits, cotangent)


def jax_straight_through(logits: np.ndarray, cotangent: np.ndarray, temperature: float) -> Call:
    """Straight-through Gumbel-softmax in JAX, value and gradient, jitted."""
    import jax

    def draw(x: Any, key: Any) -> Any:
        soft = jax.nn.softmax((x + jax.random.gumbel(key, x.shape, x.dtype)) / temperature)
        hard = jax.nn.one_hot(soft.argmax(axis=-1), x.shape[-1], dtype=x.dtype)
        return jax.lax.stop_gradient(hard - soft) + soft

    return jax_gradient(draw, logits, cotangent)


def jax_gradient(
    draw: Callable[[Any, Any], Any], logits: np.ndarray, cotangent: np.ndarray
) -> Call:
    """Value and gradient of a function of logits and a key, jitted."""
    import jax

    @jax.jit
    def estimate(x: Any, key: Any, g: Any) -> Any:
        value, pull = jax.vjp(lambda x: draw(x, key), x)
        return value, pull(g)[0]

    return with_new_keys(estimate, logits, cotangent)


def ours(
    estimator: Any, logits: np.ndarray, cotangent: np.ndarray, *, compiled: bool = False
) -> Call:
    """Sample and vjp of an estimator of this library on NumPy arrays."""
    import rbgs

    rng = np.random.default_rng(0)

    def call() -> Any:
        rbgs.set_compiled(compiled)
        return estimator.sample(logits, rng=rng).vjp(cotangent)

    return call


def ours_in_jax(
    estimator: Any, logits: np.ndarray, cotangent: np.ndarray, *, compiled: bool = False
) -> Call:
    """Sample and vjp of an estimator of this library, jitted by JAX."""
    import jax

    import rbgs

    def estimate(x: Any, key: Any, g: Any) -> Any:
        rbgs.set_compiled(compiled)  # while it is traced
        return estimator.sample(x, rng=key).vjp(g)

    return with_new_keys(jax.jit(estimate), logits, cotangent)


def with_new_keys(estimate: Callable[..., Any], logits: np.ndarray, cotangent: np.ndarray) -> Call:
    """Call a jitted function of logits, key and cotangent, each time with another key."""
    import jax

    x, g = jax.numpy.asarray(logits), jax.numpy.asarray(cotangent)
    state = [jax.random.key(0)]

    def call() -> Any:
        state[0], key = jax.random.split(state[0])
        return jax.block_until_ready(estimate(x, key, g))

    return call
