"""Structured prediction: its bound and its gradients against enumeration."""

from functools import partial

import numpy as np
import pytest
from backends import Backend

pytest.importorskip("optax")
jax = pytest.importorskip("jax")
Backend.JAX.load()

from benchmarks.experiments import estimators, images, prediction, training, units, vae  # noqa: E402

pytestmark = pytest.mark.usefixtures("single_precision")


@pytest.fixture
def tiny():
    """A model of 2 units with 4 values in all, and some images."""
    pixels = np.random.default_rng(0).integers(0, 2, size=(3, 6))
    model = units.initialise(jax.random.key(0), 3, (4,), variables=2, arity=2)
    return jax.tree.map(lambda x: 2 * x, model), jax.numpy.asarray(pixels, "float32")


def enumerated(model, logits, lower, samples):
    """The mean objective, over all tuples of values."""
    jnp, values = jax.numpy, vae.all_values(2, 2)
    log_p = jnp.einsum("cvn,bvn->cb", values, jax.nn.log_softmax(logits))
    losses = units.reconstruction_loss(model, values[:, None], lower)
    tuples = np.indices((4,) * samples).reshape(samples, -1)
    bound = -jnp.log(jnp.mean(jnp.exp(-losses[tuples]), axis=0))
    return jnp.sum(jnp.exp(log_p[tuples].sum(axis=0)) * bound, axis=0).mean()


def within(draws, exact, errors=4.5):
    error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
    return (np.abs(draws.mean(axis=0) - exact) < errors * error + 1e-6).all()


def test_an_image_is_cut_between_its_rows():
    upper, lower = prediction.halves(np.arange(2 * 64).reshape(2, 64))
    np.testing.assert_array_equal(upper[1].reshape(4, 8), np.arange(64, 96).reshape(4, 8))
    np.testing.assert_array_equal(lower[1].reshape(4, 8), np.arange(96, 128).reshape(4, 8))


@pytest.mark.parametrize("samples", [1, 3])
def test_the_bound_has_the_enumerated_mean(tiny, samples):
    model, pixels = tiny
    upper, lower = prediction.halves(pixels)
    exact = enumerated(model, units.encode(model, upper, 2), lower, samples)
    task = prediction.task(prediction.Config())

    def bound(key):
        return units.mean_bound(task, model, pixels, key, arity=2, samples=samples)

    bounds = np.asarray(jax.vmap(bound)(jax.random.split(jax.random.key(1), 20_000)))
    assert within(bounds, exact)


@pytest.mark.parametrize(
    ("name", "knob"),
    [("REINFORCE", None), ("RLOO", 2), ("VIMCO", None), ("MuProp", None), ("REBAR", None)],
)
def test_unbiased_estimators_have_the_enumerated_mean(tiny, name, knob):
    model, pixels = tiny
    upper, lower = prediction.halves(pixels)
    logits = units.encode(model, upper, 2)
    exact = jax.value_and_grad(enumerated, argnums=(0, 1))(model, logits, lower, 2)
    config = prediction.Config(name, knob, samples=2)
    estimator = estimators.make(name, 0.5, config.knob)
    objective = prediction.task(config).objective
    # Each draw is the mean over 300 copies of the images.
    logits, lower = (jax.numpy.tile(x, (300,) + (1,) * (x.ndim - 1)) for x in (logits, lower))

    @jax.jit
    @jax.vmap
    def estimate(key):
        (value, _), (of_model, of_logits) = jax.value_and_grad(
            objective, argnums=(0, 1), has_aux=True
        )(model, logits, lower, estimator, key)
        return value, (of_model, of_logits.reshape(300, 3, 2, 2).sum(axis=0))

    draws = estimate(jax.random.split(jax.random.key(0), 200))
    assert float(np.abs(exact[1][1]).max()) > 0.01
    assert jax.tree.all(jax.tree.map(lambda x, y: within(np.asarray(x), y), draws, exact))


@pytest.mark.parametrize("name", estimators.NAMES)
def test_every_estimator_runs_at_several_temperatures_together(tiny, name):
    model, pixels = tiny
    upper, lower = prediction.halves(pixels)
    config = prediction.Config(name, estimators.knobs(name)[0], samples=2)
    make = partial(estimators.make, name, knob=config.knob)
    objective = prediction.task(config).objective

    @jax.jit
    @jax.vmap
    def estimate(temperature):
        def loss(model):
            logits = units.encode(model, upper, 2)
            return objective(model, logits, lower, make(temperature), jax.random.key(0))[0]

        return jax.value_and_grad(loss)(model)

    bounds, gradients = estimate(jax.numpy.asarray([0.5, 1.0]))
    assert (np.asarray(bounds) > 0).all()
    assert all(np.isfinite(x).all() and x.any() for x in jax.tree.leaves(gradients))


def test_one_evaluation_is_of_all_samples_of_an_image():
    options = {"variables": 3, "samples": 5, "budget": 120}
    assert prediction.Config("GR", **options).steps == 120
    assert prediction.Config("RLOO", 4, **options).steps == 30
    assert prediction.Config("IndeCateR", **options).steps == 120 // 31
    vimco = prediction.Config("VIMCO", 2, **options)
    assert (vimco.steps, vimco.knob) == (120, 5)


def test_the_bound_of_one_sample_is_not_for_vimco():
    config = prediction.Config("VIMCO", samples=1)
    with pytest.raises(ValueError, match="samples must be at least 2, got 1"):
        estimators.make(config.estimator, config.temperature, config.knob)


@pytest.mark.slow
@pytest.mark.parametrize("samples", [1, 5])
def test_the_lower_half_of_digits_is_learnt_from_the_upper_one(samples):
    pytest.importorskip("sklearn")
    options = {"variables": 20, "hidden": (50,), "learning_rate": 0.01, "budget": 600}
    options |= {"evaluations": 2, "draws": 5, "test_samples": 50, "samples": samples}
    configs = [prediction.Config("GR", seed=seed, **options) for seed in (0, 1)]
    problem = prediction.problem(configs[0], None)
    rows, weights = training.train(problem, configs)
    splits = images.load("digits", None, 0)
    alone = images.independent_pixels(splits.train[:, 32:], splits.test[:, 32:])
    for number, row in enumerate(rows):
        assert row["curve"][0]["variance"] > 0
        assert training.test(problem, training.one_of(weights, number))["test"] < alone - 0.5
