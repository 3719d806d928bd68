"""The categorical VAE of Paulus, Maddison & Krause (2021), section 5.4, on images of digits.

The only sample is that of the reconstruction term. Along training are measured the bound on
validation images and the moments of the gradient for the encoder's logits, for one fixed minibatch.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp

import rbgs
from benchmarks.experiments import categorical_vae as cvae
from benchmarks.experiments import images, training

# Up to this many latent values the gradient is enumerated.
_ENUMERABLE = 2**12


@dataclass(frozen=True)
class Config(training.Config):
    """What a run depends on. With ``draws`` 0 no moments are measured."""

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
        """The number of latent variables, and of their categories."""
        return self.variables, self.arity


def problem(config: Config, folder: Path | None) -> training.Problem:
    """Return what is trained; the images are kept as bytes.

    Parameters
    ----------
    config : Config
        Of any of the runs.
    folder : Path, optional
        Of the IDX files, if the run is to read them.
    """
    splits = images.load(config.data, folder, config.binarisation)
    data = {
        "train": jnp.asarray(splits.train, jnp.uint8),
        "valid": jnp.asarray(splits.valid[: config.valid_images], jnp.uint8),
        "test": jnp.asarray(splits.test[: config.test_images], jnp.uint8),
    }
    pixels = splits.train.shape[1]

    def batch(key: jax.Array, data: dict[str, jax.Array]) -> jax.Array:
        train = data["train"]
        chosen = jax.random.randint(key, (config.batch,), 0, len(train))
        return train[chosen].astype(jnp.float32)

    def loss(
        model: cvae.Autoencoder, batch: jax.Array, estimator: rbgs.Estimator, key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        logits = cvae.encode(model, batch, config.arity)
        return cvae.objective(model, logits, batch, estimator, key)

    def score(model: cvae.Autoencoder, key: jax.Array, data: dict[str, jax.Array]) -> jax.Array:
        return cvae.mean_bound(
            model, data["valid"], key, arity=config.arity, samples=config.valid_samples
        )

    def test(
        model: cvae.Autoencoder, key: jax.Array, data: dict[str, jax.Array]
    ) -> dict[str, jax.Array]:
        bound = cvae.mean_bound(
            model, data["test"], key, arity=config.arity, samples=config.test_samples
        )
        return {"test": bound}

    def probe(
        model: cvae.Autoencoder,
        estimator: rbgs.Estimator,
        key: jax.Array,
        data: dict[str, jax.Array],
    ) -> dict[str, jax.Array]:
        return cvae.gradient_moments(
            model,
            data["valid"][: config.probe_images].astype(jnp.float32),
            config.arity,
            estimator,
            key,
            draws=config.draws,
            enumerable=config.arity**config.variables <= _ENUMERABLE,
        )

    def initialise(key: jax.Array) -> cvae.Autoencoder:
        return cvae.initialise(key, pixels, config.hidden, config.variables, config.arity)

    return training.Problem(
        data, initialise, batch, loss, score, test, probe if config.draws else None
    )
