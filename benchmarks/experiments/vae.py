"""The categorical VAE of Paulus, Maddison & Krause (2021), section 5.4.

Whole blocks of training steps are one call of a compiled program. Along training are measured the
bound on validation images and the moments of the gradient for the encoder's logits, for one fixed
minibatch. The weights with the best validation bound are those that are tested.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import typer

from benchmarks.experiments import categorical_vae as cvae
from benchmarks.experiments import estimators, images

# Up to this many latent values the gradient is enumerated.
_ENUMERABLE = 2**12
_PER_CALL = 1000  # training steps, at most
_FORGET = 0.1  # the weight of a new loss in the running mean
SMOKE_MARGIN = 1.0  # nats
# Of the command, by the data.
_DIGITS: dict[str, Any] = {"bits": 12, "hidden": (64,), "learning_rate": 1e-2}
_MNIST: dict[str, Any] = {"learning_rate": 1e-3}
_SMOKE = ("GS", "REINFORCE", "ST", "ST-GS", "GR")


@dataclass(frozen=True)
class Config:
    """What a run depends on.

    ``bits`` is the size of the latent space, log2 of its values. At ``temperatures`` the moments of
    the gradient are measured once more, at the end of training.
    """

    estimator: str = "GR"
    temperature: float = 0.5
    arity: int = 4
    bits: int = 120
    hidden: tuple[int, ...] = (512, 256)
    batch: int = 20
    learning_rate: float = 2e-3
    momentum: float = 0.9
    iterations: int = 2000
    evaluations: int = 10
    valid_images: int = 500
    valid_samples: int = 100
    test_images: int = 10_000
    test_samples: int = 1000
    draws: int = 64
    temperatures: tuple[float, ...] = ()
    data: str = "digits"
    binarisation: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("hidden", "temperatures"):  # lists, where they come from a file
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.arity**self.variables != 2**self.bits:
            raise ValueError(f"{self.bits} bits are no number of {self.arity}-ary variables")

    @property
    def variables(self) -> int:
        """The number of latent variables."""
        return round(self.bits / math.log2(self.arity))


class State(NamedTuple):
    """What a training step changes; the baseline of REINFORCE is a running mean of the losses."""

    model: cvae.Autoencoder
    momentum: optax.OptState
    baseline: jax.Array
    key: jax.Array


def optimiser(config: Config) -> optax.GradientTransformation:
    """Return the paper's: stochastic gradient descent with momentum."""
    return optax.sgd(config.learning_rate, config.momentum)


def first_state(config: Config, batch: jax.Array) -> State:
    """Draw the weights, which depend on the seed alone, and evaluate the losses of some images."""
    of_weights, key = jax.random.split(jax.random.key(config.seed))
    model = cvae.initialise(
        of_weights, batch.shape[1], config.hidden, config.variables, config.arity
    )
    logits = cvae.encode(model, batch, config.arity)
    estimator = estimators.make("ST", 1.0)
    _, losses = cvae.objective(model, logits, batch, estimator, jax.random.key(3), jnp.zeros(()))
    return State(model, optimiser(config).init(model), losses.mean(), key)


@partial(jax.jit, static_argnames=("config", "count"), donate_argnames="state")
def train_steps(
    state: State, train: jax.Array, *, config: Config, count: int
) -> tuple[State, jax.Array]:
    """Take many training steps; return the mean of their losses as well."""
    estimator = estimators.make(config.estimator, config.temperature)

    def loss(
        model: cvae.Autoencoder, batch: jax.Array, key: jax.Array, baseline: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        logits = cvae.encode(model, batch, config.arity)
        return cvae.objective(model, logits, batch, estimator, key, baseline)

    def step(state: State, _: None) -> tuple[State, jax.Array]:
        key, of_batch, of_sample = jax.random.split(state.key, 3)
        batch = train[jax.random.randint(of_batch, (config.batch,), 0, len(train))]
        (value, losses), gradient = jax.value_and_grad(loss, has_aux=True)(
            state.model, batch, of_sample, state.baseline
        )
        updates, momentum = optimiser(config).update(gradient, state.momentum)
        model = optax.apply_updates(state.model, updates)
        baseline = (1 - _FORGET) * state.baseline + _FORGET * losses.mean()
        return State(model, momentum, baseline, key), value

    state, losses = jax.lax.scan(step, state, length=count)
    return state, losses.mean()


def moments(
    config: Config, state: State, probe: jax.Array, temperatures: tuple[float, ...]
) -> list[dict[str, float]]:
    """Measure the gradient for the logits of one fixed minibatch, at each temperature."""
    logits = cvae.encode(state.model, probe, config.arity)
    small = 2**config.bits <= _ENUMERABLE
    exact = cvae.exact_gradient(state.model, logits, probe) if small else None
    results = []
    for temperature in temperatures:
        estimator = estimators.make(config.estimator, temperature)
        measured = cvae.gradient_moments(
            state.model,
            logits,
            probe,
            estimator,
            jax.random.key(1),
            state.baseline,
            exact,
            draws=config.draws,
        )
        results.append({"temperature": temperature, **{k: float(v) for k, v in measured.items()}})
    return results


def train(
    config: Config,
    data: Path | None = None,
    advance: Callable[[int], Any] = lambda _: None,
) -> dict[str, Any]:
    """Train, and return what was measured.

    Parameters
    ----------
    config : Config
        The run.
    data : Path, optional
        The folder of the IDX files, if the run is to read them.
    advance : callable
        Called with the number of further steps taken.

    Returns
    -------
    dict
        ``valid`` and ``test``, the bounds at the best evaluation; ``independent``, the negative
        log-likelihood without latent variables on the same validation images; ``curve``, a dict
        for each evaluation; ``moments``, those at ``config.temperatures`` at the end of training;
        ``milliseconds``, the fastest training step, which leaves compilation out.
    """
    program = replace(config, seed=0)  # which all seeds share
    splits = images.load(config.data, data, config.binarisation)
    train_images = jnp.asarray(splits.train)
    valid, test = splits.valid[: config.valid_images], splits.test[: config.test_images]
    probe = jnp.asarray(splits.valid[: config.batch])
    state = first_state(config, probe)
    of_valid, of_test = jax.random.split(jax.random.key(2))
    bound = partial(cvae.mean_bound, arity=config.arity)

    curve: list[dict[str, float]] = []
    best, best_model, times, done, loss = math.inf, state.model, [], 0, math.nan
    for target in jnp.linspace(0, config.iterations, config.evaluations + 1).astype(int).tolist():
        while done < target:
            count = min(_PER_CALL, target - done)
            start = time.perf_counter()
            state, mean_loss = train_steps(state, train_images, config=program, count=count)
            loss = float(mean_loss)
            times.append((time.perf_counter() - start) / count)
            done += count
            advance(count)
        valid_bound = bound(state.model, valid, of_valid, samples=config.valid_samples)
        (measured,) = moments(config, state, probe, (config.temperature,))
        curve.append({"step": done, "loss": loss, "bound": valid_bound, **measured})
        if valid_bound < best:
            # A copy, because the next step reuses the memory of the state.
            best, best_model = valid_bound, jax.tree.map(jnp.copy, state.model)
        if not math.isfinite(loss) and done:
            raise FloatingPointError(f"the loss is {loss} after {done} steps")
    return {
        "valid": best,
        "test": bound(best_model, test, of_test, samples=config.test_samples),
        "independent": images.independent_pixels(splits.train, valid),
        "curve": curve,
        "moments": moments(config, state, probe, config.temperatures),
        "milliseconds": 1e3 * min(times),
    }


def smoke() -> Config:
    """Return a run of seconds, whose gradient can be enumerated."""
    return Config(
        **(_DIGITS | {"bits": 8}),
        arity=4,
        iterations=1000,
        evaluations=5,
        valid_samples=50,
        test_samples=500,
    )


def check_smoke(results: dict[str, dict[str, Any]]) -> None:
    """Raise unless the latent variables are of use and Gumbel-Rao has the smaller variance."""
    for name, result in results.items():
        # In so few steps REINFORCE learns no more than the mean image.
        margin = -SMOKE_MARGIN if name == estimators.REINFORCE else SMOKE_MARGIN
        gain = result["independent"] - result["valid"]
        if not gain > margin:
            raise AssertionError(
                f"{name} is {gain:.2f} nats better than independent pixels, not {margin}"
            )
    at_start = {name: result["curve"][0]["variance"] for name, result in results.items()}
    if not at_start["GR"] < at_start["ST-GS"]:
        raise AssertionError("the variance of GR is not below that of ST-GS")


def main(
    estimator: Annotated[
        list[str] | None, typer.Option(help=f"May be repeated: {', '.join(estimators.NAMES)}.")
    ] = None,
    data: Annotated[
        str, typer.Option(help="'digits', 'openml', or a folder with MNIST's IDX files.")
    ] = "digits",
    arity: Annotated[int, typer.Option(help="Categories of a latent variable.")] = 4,
    bits: Annotated[
        int | None, typer.Option(help="Size of the latent space; 12 for digits, otherwise 120.")
    ] = None,
    temperature: Annotated[float, typer.Option(help="Of all estimators that have one.")] = 0.5,
    batch: Annotated[int, typer.Option(help="Images a training step.")] = 20,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Of SGD with momentum 0.9; 0.01 for digits, otherwise 0.001."),
    ] = None,
    iterations: Annotated[int, typer.Option(help="Training steps.")] = 2000,
    test_samples: Annotated[int, typer.Option(help="M of the bound at test.")] = 1000,
    seeds: Annotated[int, typer.Option(help="Runs of each estimator; --smoke: 1.")] = 3,
    figure: Annotated[Path, typer.Option(help="Where the PNG goes.")] = Path("out/vae.png"),
    smoke_run: Annotated[bool, typer.Option("--smoke", help="Seconds; asserts learning.")] = False,
) -> None:
    """Train the VAE with several estimators; print a table and draw the course of training."""
    # Only the command needs these.
    from benchmarks.experiments import plots
    from benchmarks.experiments.runs import train_all

    folder = None if data in images.SOURCES else Path(data)
    names = estimator or estimators.NAMES
    chosen = {"bits": bits, "learning_rate": learning_rate}
    of_data = _DIGITS if data == "digits" else _MNIST
    given = {name: value for name, value in chosen.items() if value is not None}
    base = Config(
        temperature=temperature,
        arity=arity,
        batch=batch,
        iterations=iterations,
        test_samples=test_samples,
        data=data if folder is None else "idx",
        **(of_data | given),
    )
    if smoke_run:
        base, names, seeds = smoke(), _SMOKE, 1
    rows = train_all(
        [replace(base, estimator=name, seed=seed) for name in names for seed in range(seeds)],
        lambda config, advance: train(config, folder, advance),
    )
    table = plots.runs_table(
        rows,
        "Bound on the negative log-likelihood in nats, lower is better; "
        f"M = {base.valid_samples} in validation, {base.test_samples} at test",
        {
            "valid": plots.Column("validation"),
            "test": plots.Column("test"),
            "milliseconds": plots.Column("fastest step, ms"),
        },
    )
    typer.echo(table)
    plots.draw_training(rows, figure, ("bound", "variance", "mse"))
    typer.echo(f"figure: {figure}")
    if smoke_run:
        check_smoke({row["estimator"]: row for row in rows})
        typer.echo(f"all but REINFORCE beat independent pixels by more than {SMOKE_MARGIN} nat")


if __name__ == "__main__":
    typer.run(main)
