"""Images through discrete units: what the VAE and structured prediction share.

One network makes the logits of the units from an input, another one pixels from their value. Values
are one-hot along the last axis: ``(..., variable, category)``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

import rbgs
from benchmarks.experiments import images, training

Params = list[tuple[jax.Array, jax.Array]]


@dataclass(frozen=True)
class Config(training.Config):
    """What a run depends on. With ``draws`` 0 no moments of the gradient are measured."""

    variables: int = 6
    arity: int = 4
    hidden: tuple[int, ...] = (512, 256)
    valid_images: int = 500
    valid_samples: int = 50
    test_images: int = 10_000
    test_samples: int = 5000
    probe_images: int = 20
    draws: int = 0
    data: str = "digits"
    binarisation: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))  # a list, where it is from a file

    @property
    def shape(self) -> tuple[int, int]:
        """The number of units, and of their categories."""
        return self.variables, self.arity


class Model(NamedTuple):
    """The weights of both networks."""

    encoder: Params
    decoder: Params


class Task(NamedTuple):
    """What is made of the two networks.

    Attributes
    ----------
    view : callable
        ``view(images)`` returns what the encoder gets, and what the decoder is to make.
    objective : callable
        ``objective(model, logits, targets, estimator, key)`` returns the mean loss, and the mean of
        what the estimator is asked about. Its derivative for the logits is the gradient estimate.
    log_weight : callable
        ``log_weight(model, logits, targets, value)``, of which `bound` takes the mean.
    exact : callable, optional
        ``exact(model, logits, targets)``, the gradient for the logits by enumeration.
    """

    view: Callable[[jax.Array], tuple[jax.Array, jax.Array]]
    objective: Callable[..., tuple[jax.Array, jax.Array]]
    log_weight: Callable[[Model, jax.Array, jax.Array, jax.Array], jax.Array]
    exact: Callable[[Model, jax.Array, jax.Array], jax.Array] | None = None


def initialise(
    key: jax.Array, pixels: int, hidden: tuple[int, ...], variables: int, arity: int
) -> Model:
    """Draw the weights; the decoder has the encoder's layers in reverse order."""
    sizes = (pixels, *hidden, variables * arity)
    keys = jax.random.split(key)
    return Model(_layers(keys[0], sizes), _layers(keys[1], sizes[::-1]))


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


def encode(model: Model, inputs: jax.Array, arity: int) -> jax.Array:
    """Return the logits ``(image, variable, category)`` of the units."""
    logits = _network(model.encoder, inputs)
    return logits.reshape(*logits.shape[:-1], -1, arity)


def reconstruction_loss(model: Model, value: jax.Array, targets: jax.Array) -> jax.Array:
    """Return -log p(target | value), summed over the pixels."""
    logits = _network(model.decoder, value.reshape(*value.shape[:-2], -1))
    return jnp.sum(jax.nn.softplus(logits) - targets * logits, axis=-1)


def bound(
    log_weight: Callable[[jax.Array], jax.Array],
    logits: jax.Array,
    key: jax.Array,
    *,
    samples: int,
    chunk: int = 50,
) -> jax.Array:
    """Return minus the logarithm of the mean weight of so many values, for each image.

    The values are streamed: memory grows with the chunk, not with their number.

    Parameters
    ----------
    log_weight : callable
        ``log_weight(value)`` of values ``(sample, image, variable, category)``.
    logits : array ``(image, variable, category)``
        Of the values.
    key : JAX key
        Of the draws.
    samples : int
        How many values.
    chunk : int
        How many at a time.
    """
    upper = jnp.cumsum(jax.nn.softmax(logits), axis=-1)
    lower = jnp.pad(upper[..., :-1], [(0, 0)] * (upper.ndim - 1) + [(1, 0)])
    upper = upper.at[..., -1].set(jnp.inf)

    def log_sum(key: jax.Array, count: int) -> jax.Array:
        uniform = jax.random.uniform(key, (count, *logits.shape[:-1], 1))
        value = ((lower <= uniform) & (uniform < upper)).astype(logits.dtype)
        return jax.nn.logsumexp(log_weight(value), axis=0)

    def add(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        return jnp.logaddexp(total, log_sum(key, chunk)), None

    full, rest = divmod(samples, chunk)
    keys = jax.random.split(key, full + 1)
    total, _ = jax.lax.scan(add, jnp.full(len(logits), -jnp.inf), keys[:full])
    if rest:
        total = jnp.logaddexp(total, log_sum(keys[-1], rest))
    return jnp.log(samples) - total


def mean_bound(
    task: Task,
    model: Model,
    images: jax.Array,
    key: jax.Array,
    *,
    arity: int,
    samples: int,
    rows: int = 1000,
) -> jax.Array:
    """Return the mean `bound` over images, a block of so many rows at a time."""
    rows = math.gcd(rows, len(images))
    blocks = images.reshape(-1, rows, images.shape[-1])

    def of_block(block_and_key: tuple[jax.Array, jax.Array]) -> jax.Array:
        block, key = block_and_key
        inputs, targets = task.view(block.astype(jnp.float32))
        logits = encode(model, inputs, arity)

        def log_weight(value: jax.Array) -> jax.Array:
            return task.log_weight(model, logits, targets, value)

        return bound(log_weight, logits, key, samples=samples).mean()

    return jax.lax.map(of_block, (blocks, jax.random.split(key, len(blocks)))).mean()


def gradient_moments(
    task: Task,
    model: Model,
    images: jax.Array,
    estimator: rbgs.Estimator,
    key: jax.Array,
    *,
    arity: int,
    draws: int,
) -> dict[str, jax.Array]:
    """Return moments of the gradient estimate for the logits of some images.

    Parameters
    ----------
    task : Task
        Whose objective is differentiated.
    model : Model
        The weights.
    images : array ``(image, pixel)``
        A fixed minibatch.
    estimator : rbgs.Estimator
        Of the gradient.
    key : JAX key
        Of the draws.
    arity : int
        Categories of a unit.
    draws : int
        How many estimates.

    Returns
    -------
    dict
        ``variance``, the trace of the covariance; with the exact gradient also ``bias2``, the
        squared distance of its mean from that, without bias itself, their sum ``mse``, and
        ``norm2``, the squared norm of the exact gradient.
    """
    inputs, targets = task.view(images)
    logits = encode(model, inputs, arity)

    def estimate(key: jax.Array) -> jax.Array:
        slope = jax.grad(task.objective, argnums=1, has_aux=True)
        return slope(model, logits, targets, estimator, key)[0]

    estimates = jax.lax.map(estimate, jax.random.split(key, draws))
    variance = estimates.var(axis=0, ddof=1).sum()
    if task.exact is None:
        return {"variance": variance}
    exact = task.exact(model, logits, targets)
    bias2 = jnp.sum((estimates.mean(axis=0) - exact) ** 2) - variance / draws
    norm2 = jnp.sum(exact**2)
    return {"variance": variance, "bias2": bias2, "mse": bias2 + variance, "norm2": norm2}


def problem(config: Config, folder: Path | None, task: Task) -> training.Problem:
    """Return what is trained; the images are kept as bytes.

    Parameters
    ----------
    config : Config
        Of any of the runs.
    folder : Path, optional
        Of the IDX files, if the run is to read them.
    task : Task
        What is made of the images.
    """
    splits = images.load(config.data, folder, config.binarisation)
    data = {
        "train": jnp.asarray(splits.train, jnp.uint8),
        "valid": jnp.asarray(splits.valid[: config.valid_images], jnp.uint8),
        "test": jnp.asarray(splits.test[: config.test_images], jnp.uint8),
    }
    pixels = task.view(splits.train[:1])[0].shape[1]
    arity = config.arity

    def initial(key: jax.Array) -> Model:
        return initialise(key, pixels, config.hidden, config.variables, arity)

    def batch(key: jax.Array, data: dict[str, jax.Array]) -> jax.Array:
        train = data["train"]
        chosen = jax.random.randint(key, (config.batch,), 0, len(train))
        return train[chosen].astype(jnp.float32)

    def loss(
        model: Model, batch: jax.Array, estimator: rbgs.Estimator, key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        inputs, targets = task.view(batch)
        return task.objective(model, encode(model, inputs, arity), targets, estimator, key)

    def score(model: Model, key: jax.Array, data: dict[str, jax.Array]) -> jax.Array:
        return mean_bound(
            task, model, data["valid"], key, arity=arity, samples=config.valid_samples
        )

    def test(model: Model, key: jax.Array, data: dict[str, jax.Array]) -> dict[str, jax.Array]:
        bound = mean_bound(task, model, data["test"], key, arity=arity, samples=config.test_samples)
        return {"test": bound}

    def probe(
        model: Model, estimator: rbgs.Estimator, key: jax.Array, data: dict[str, jax.Array]
    ) -> dict[str, jax.Array]:
        chosen = data["valid"][: config.probe_images].astype(jnp.float32)
        return gradient_moments(
            task, model, chosen, estimator, key, arity=arity, draws=config.draws
        )

    return training.Problem(
        data, initial, batch, loss, score, test, probe if config.draws else None
    )
