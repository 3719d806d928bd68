"""The variational autoencoder with categorical latent variables, and what is measured of it.

The prior is uniform, so the Kullback-Leibler term is in closed form and only the reconstruction
needs a sample. Latent values are one-hot along the last axis: ``(..., variable, category)``.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp

import rbgs
import rbgs.jax

Params = list[tuple[jax.Array, jax.Array]]


class Autoencoder(NamedTuple):
    """The weights of both networks."""

    encoder: Params
    decoder: Params


def initialise(
    key: jax.Array, pixels: int, hidden: tuple[int, ...], variables: int, arity: int
) -> Autoencoder:
    """Draw the weights; the decoder has the encoder's hidden layers in reverse order."""
    latent = variables * arity
    keys = jax.random.split(key)
    return Autoencoder(
        _layers(keys[0], (pixels, *hidden, latent)),
        _layers(keys[1], (latent, *reversed(hidden), pixels)),
    )


def _layers(key: jax.Array, sizes: tuple[int, ...]) -> Params:
    keys = jax.random.split(key, len(sizes))
    draw = jax.nn.initializers.glorot_uniform()
    return [
        (draw(k, shape, jnp.float32), jnp.zeros(shape[1]))
        for k, shape in zip(keys, pairwise(sizes), strict=False)
    ]


def _network(params: Params, x: jax.Array) -> jax.Array:
    for weight, bias in params[:-1]:
        x = jax.nn.leaky_relu(x @ weight + bias)
    weight, bias = params[-1]
    return x @ weight + bias


def encode(model: Autoencoder, images: jax.Array, arity: int) -> jax.Array:
    """Return the logits ``(image, variable, category)`` of the latent variables."""
    logits = _network(model.encoder, images)
    return logits.reshape(*logits.shape[:-1], -1, arity)


def reconstruction_loss(model: Autoencoder, value: jax.Array, images: jax.Array) -> jax.Array:
    """Return -log p(image | value), summed over the pixels."""
    logits = _network(model.decoder, value.reshape(*value.shape[:-2], -1))
    return jnp.sum(jax.nn.softplus(logits) - images * logits, axis=-1)


def divergence(logits: jax.Array) -> jax.Array:
    """Return the Kullback-Leibler divergence of the latent variables from uniform ones."""
    log_probs = jax.nn.log_softmax(logits)
    per_variable = jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1) + jnp.log(logits.shape[-1])
    return per_variable.sum(axis=-1)


def objective(
    model: Autoencoder,
    logits: jax.Array,
    images: jax.Array,
    estimator: rbgs.Estimator,
    key: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Return the mean negative bound of one sample an image, and the mean reconstruction loss.

    Its derivative for the logits is the gradient estimate.
    """
    losses = rbgs.jax.expectation(
        estimator, key, lambda value: reconstruction_loss(model, value, images), logits
    )
    return jnp.mean(losses + divergence(logits)), losses.mean()


def all_values(variables: int, arity: int) -> jax.Array:
    """Return all latent values, ``(arity ** variables, variable, category)``."""
    numbers = jnp.arange(arity**variables)[:, None] // arity ** jnp.arange(variables)
    return jax.nn.one_hot(numbers % arity, arity)


def exact_gradient(model: Autoencoder, logits: jax.Array, images: jax.Array) -> jax.Array:
    """Return the derivative of the expected objective for the logits, by enumeration."""
    values = all_values(*logits.shape[-2:])
    losses = jax.vmap(lambda image: reconstruction_loss(model, values, image))(images)

    def expected(logits: jax.Array) -> jax.Array:
        log_q = jnp.einsum("cvn,bvn->bc", values, jax.nn.log_softmax(logits))
        return jnp.mean(jnp.sum(jnp.exp(log_q) * losses, axis=-1) + divergence(logits))

    return jax.grad(expected)(logits)


def gradient_moments(
    model: Autoencoder,
    images: jax.Array,
    arity: int,
    estimator: rbgs.Estimator,
    key: jax.Array,
    *,
    draws: int,
    enumerable: bool,
) -> dict[str, jax.Array]:
    """Return moments of the gradient estimate for the logits of some images.

    Parameters
    ----------
    model : Autoencoder
        The weights.
    images : array ``(image, pixel)``
        A fixed minibatch.
    arity : int
        Categories of a variable.
    estimator : rbgs.Estimator
        Of the gradient.
    key : JAX key
        Of the draws.
    draws : int
        How many.
    enumerable : bool
        Whether the latent space is small enough for the exact gradient.

    Returns
    -------
    dict
        ``variance``, the trace of the covariance; with the exact gradient also ``bias2``, the
        squared distance of its mean from that, without bias itself, their sum ``mse``, and
        ``norm2``, the squared norm of the exact gradient.
    """
    logits = encode(model, images, arity)

    def estimate(key: jax.Array) -> jax.Array:
        return jax.grad(objective, argnums=1, has_aux=True)(model, logits, images, estimator, key)[
            0
        ]

    estimates = jax.lax.map(estimate, jax.random.split(key, draws))
    variance = estimates.var(axis=0, ddof=1).sum()
    if not enumerable:
        return {"variance": variance}
    exact = exact_gradient(model, logits, images)
    bias2 = jnp.sum((estimates.mean(axis=0) - exact) ** 2) - variance / draws
    return {
        "variance": variance,
        "bias2": bias2,
        "mse": bias2 + variance,
        "norm2": jnp.sum(exact**2),
    }


def importance_weighted_bound(
    model: Autoencoder,
    images: jax.Array,
    key: jax.Array,
    *,
    arity: int,
    samples: int,
    chunk: int = 50,
) -> jax.Array:
    """Return for each image the importance-weighted bound on -log p(image).

    The samples are streamed: memory grows with the chunk, not with their number.
    """
    logits = encode(model, images, arity)
    log_probs = jax.nn.log_softmax(logits)
    log_prior = -logits.shape[-2] * jnp.log(arity)

    upper = jnp.cumsum(jnp.exp(log_probs), axis=-1)
    lower = jnp.pad(upper[..., :-1], [(0, 0)] * (upper.ndim - 1) + [(1, 0)])
    upper = upper.at[..., -1].set(jnp.inf)

    def log_weights(key: jax.Array, count: int) -> jax.Array:
        uniform = jax.random.uniform(key, (count, *logits.shape[:-1], 1))
        value = ((lower <= uniform) & (uniform < upper)).astype(logits.dtype)
        log_q = jnp.sum(value * log_probs, axis=(-2, -1))
        return log_prior - log_q - reconstruction_loss(model, value, images)

    def add(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        return jnp.logaddexp(total, jax.nn.logsumexp(log_weights(key, chunk), axis=0)), None

    full, rest = divmod(samples, chunk)
    keys = jax.random.split(key, full + 1)
    total = jnp.full(len(images), -jnp.inf)
    total, _ = jax.lax.scan(add, total, keys[:full])
    if rest:
        total = jnp.logaddexp(total, jax.nn.logsumexp(log_weights(keys[-1], rest), axis=0))
    return jnp.log(samples) - total


def mean_bound(
    model: Autoencoder,
    images: jax.Array,
    key: jax.Array,
    *,
    arity: int,
    samples: int,
    rows: int = 1000,
) -> jax.Array:
    """Return the mean bound over images, a block of so many rows at a time."""
    rows = math.gcd(rows, len(images))
    blocks = images.reshape(-1, rows, images.shape[-1])

    def bound(block_and_key: tuple[jax.Array, jax.Array]) -> jax.Array:
        block, key = block_and_key
        return importance_weighted_bound(
            model, block.astype(jnp.float32), key, arity=arity, samples=samples
        ).mean()

    return jax.lax.map(bound, (blocks, jax.random.split(key, len(blocks)))).mean()
