"""The categorical VAE of Paulus, Maddison & Krause (2021), section 5.4, on images of digits.

The prior is uniform, so the Kullback-Leibler term is in closed form and the only sample is that of
the reconstruction term. Along training are measured the bound on validation images and the moments
of the gradient for the encoder's logits, for one fixed minibatch.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp

import rbgs
import rbgs.jax
from benchmarks.experiments import training, units

# Up to this many latent values the gradient is enumerated.
_ENUMERABLE = 2**12


@dataclass(frozen=True)
class Config(units.Config):
    """What a run depends on."""


def problem(config: Config, folder: Path | None) -> training.Problem:
    """Return what is trained.

    Parameters
    ----------
    config : Config
        Of any of the runs.
    folder : Path, optional
        Of the IDX files, if the run is to read them.
    """
    return units.problem(config, folder, task(config))


def task(config: Config) -> units.Task:
    """Return the objective, and its exact gradient if the latent space is small enough."""
    enumerable = config.arity**config.variables <= _ENUMERABLE
    return units.Task(
        lambda images: (images, images),
        objective,
        log_weight,
        exact_gradient if enumerable else None,
    )


def divergence(logits: jax.Array) -> jax.Array:
    """Return the Kullback-Leibler divergence of the latent variables from uniform ones."""
    log_probs = jax.nn.log_softmax(logits)
    per_variable = jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1) + jnp.log(logits.shape[-1])
    return per_variable.sum(axis=-1)


def objective(
    model: units.Model,
    logits: jax.Array,
    images: jax.Array,
    estimator: rbgs.Estimator,
    key: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Return the mean negative bound of one sample an image, and the mean reconstruction loss."""
    losses = rbgs.jax.expectation(
        estimator, key, lambda value: units.reconstruction_loss(model, value, images), logits
    )
    return jnp.mean(losses + divergence(logits)), losses.mean()


def log_weight(
    model: units.Model, logits: jax.Array, images: jax.Array, value: jax.Array
) -> jax.Array:
    """Return log p(image, value) - log q(value | image), of the importance-weighted bound."""
    log_q = jnp.sum(value * jax.nn.log_softmax(logits), axis=(-2, -1))
    log_prior = -logits.shape[-2] * jnp.log(logits.shape[-1])
    return log_prior - log_q - units.reconstruction_loss(model, value, images)


def all_values(variables: int, arity: int) -> jax.Array:
    """Return all latent values, ``(arity ** variables, variable, category)``."""
    numbers = jnp.arange(arity**variables)[:, None] // arity ** jnp.arange(variables)
    return jax.nn.one_hot(numbers % arity, arity)


def exact_gradient(model: units.Model, logits: jax.Array, images: jax.Array) -> jax.Array:
    """Return the derivative of the expected objective for the logits, by enumeration."""
    values = all_values(*logits.shape[-2:])
    losses = jax.vmap(lambda image: units.reconstruction_loss(model, values, image))(images)

    def expected(logits: jax.Array) -> jax.Array:
        log_q = jnp.einsum("cvn,bvn->bc", values, jax.nn.log_softmax(logits))
        return jnp.mean(jnp.sum(jnp.exp(log_q) * losses, axis=-1) + divergence(logits))

    return jax.grad(expected)(logits)
