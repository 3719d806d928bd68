"""The VAE: its bound and its gradients against enumeration."""

from functools import partial

import numpy as np
import pytest
from backends import Backend

pytest.importorskip("optax")
jax = pytest.importorskip("jax")
Backend.JAX.load()

from benchmarks.experiments import estimators, training, units, vae  # noqa: E402

pytestmark = pytest.mark.usefixtures("single_precision")


@pytest.fixture
def tiny():
    """A model with 8 latent values, and some images."""
    images = jax.numpy.asarray(np.random.default_rng(0).integers(0, 2, size=(3, 6)), "float32")
    model = units.initialise(jax.random.key(0), 6, (5,), variables=3, arity=2)
    return model, images


TASK = vae.task(vae.Config(variables=3, arity=2))


def log_weights(model, images):
    """log p(image, value) - log q(value | image) and q, each (image, value)."""
    values = vae.all_values(3, 2)
    log_q = jax.nn.log_softmax(units.encode(model, images, 2))
    log_q = np.einsum("cvn,bvn->bc", values, log_q)
    losses = np.stack([units.reconstruction_loss(model, values, x) for x in images])
    return -np.log(8) - losses - log_q, np.exp(log_q)


def bound(model, images, key, **options):
    logits = units.encode(model, images, 2)
    return units.bound(partial(vae.log_weight, model, logits, images), logits, key, **options)


def test_all_values_are_there_once():
    values = np.asarray(vae.all_values(3, 4))
    assert values.shape == (64, 3, 4)
    assert (values.sum(axis=-1) == 1).all()
    assert len(np.unique(values.reshape(64, -1), axis=0)) == 64


@pytest.mark.parametrize(("samples", "chunk"), [(1, 50), (2, 1), (3, 2)])
def test_the_importance_weighted_bound_has_the_enumerated_mean(tiny, samples, chunk):
    model, images = tiny
    weights, q = log_weights(model, images)
    expected = []
    for w, p in zip(weights, q, strict=True):
        tuples = np.indices((8,) * samples).reshape(samples, -1)
        value = np.log(np.mean(np.exp(w[tuples]), axis=0))
        expected.append(-np.sum(np.prod(p[tuples], axis=0) * value))
    draw = jax.vmap(lambda key: bound(model, images, key, samples=samples, chunk=chunk))
    bounds = np.asarray(draw(jax.random.split(jax.random.key(1), 10_000)))
    error = bounds.std(axis=0) / np.sqrt(len(bounds))
    assert (np.abs(bounds.mean(axis=0) - expected) < 4.5 * error).all()


def test_with_many_samples_the_bound_is_the_likelihood(tiny):
    model, images = tiny
    weights, q = log_weights(model, images)
    likelihood = np.log(np.sum(np.exp(weights) * q, axis=1))
    bounds = bound(model, images, jax.random.key(0), samples=5000, chunk=64)
    np.testing.assert_allclose(bounds, -likelihood, atol=0.05)


def test_blocks_of_images_make_no_difference(tiny):
    model, images = tiny
    many = np.tile(images, (5, 1))
    options = {"arity": 2, "samples": 4000}
    whole = units.mean_bound(TASK, model, many, jax.random.key(0), **options)
    parts = units.mean_bound(TASK, model, many, jax.random.key(0), rows=4, **options)
    assert abs(whole - parts) < 0.05


def test_the_exact_gradient_is_that_of_the_enumerated_objective(tiny):
    model, images = tiny
    logits = units.encode(model, images, 2)

    def objective(logits):
        log_q = np.einsum("cvn,bvn->bc", vae.all_values(3, 2), jax.nn.log_softmax(logits))
        losses = [units.reconstruction_loss(model, vae.all_values(3, 2), x) for x in images]
        return np.sum(np.exp(log_q) * (np.stack(losses) + log_q + np.log(8)), axis=1).mean()

    exact = np.asarray(vae.exact_gradient(model, logits, images))
    for place in ((0, 0, 0), (1, 2, 1), (2, 1, 0)):
        step = np.zeros(logits.shape, "f4")
        step[place] = 1e-2
        slope = (objective(logits + step) - objective(logits - step)) / 2e-2
        assert abs(slope - exact[place]) < 2e-3


@pytest.mark.parametrize("baseline", [0.0, 4.0])
def test_reinforce_is_unbiased_with_any_baseline(tiny, baseline):
    model, images = tiny
    logits = units.encode(model, images, 2)
    exact = vae.exact_gradient(model, logits, images)
    reinforce = training.with_baseline(
        estimators.make("REINFORCE", 1.0), jax.numpy.asarray(baseline)
    )
    slope = jax.grad(vae.objective, argnums=1, has_aux=True)
    draw = jax.vmap(lambda key: slope(model, logits, images, reinforce, key)[0])
    draws = np.asarray(draw(jax.random.split(jax.random.key(0), 20_000)))
    error = draws.std(axis=0) / np.sqrt(len(draws))
    assert (np.abs(draws.mean(axis=0) - exact) < 4.5 * error + 1e-6).all()


def test_moments_against_the_enumerated_gradient(tiny):
    model, images = tiny

    def moments(name, task=TASK, draws=2000):
        estimator = estimators.make(name, 0.3)
        return units.gradient_moments(
            task, model, images, estimator, jax.random.key(0), arity=2, draws=draws
        )

    one, rao = moments("ST-GS"), moments("GR")
    assert rao["variance"] < one["variance"]
    assert rao["mse"] < one["mse"]
    assert one["mse"] > 0.99 * one["variance"]
    logits = units.encode(model, images, 2)
    assert one["norm2"] == pytest.approx(
        np.sum(np.square(vae.exact_gradient(model, logits, images))), rel=1e-5
    )
    assert set(moments("ST", TASK._replace(exact=None), 2)) == {"variance"}


def test_large_latent_spaces_have_no_exact_gradient():
    assert vae.task(vae.Config(variables=6, arity=4)).exact is not None
    assert vae.task(vae.Config(variables=7, arity=4)).exact is None


@pytest.mark.slow
def test_digits_are_learnt():
    pytest.importorskip("sklearn")
    options = {"hidden": [50], "budget": 400, "evaluations": 2, "draws": 4, "learning_rate": 0.01}
    configs = [vae.Config(temperature=t, test_samples=50, **options) for t in (0.3, 1.0)]
    problem = vae.problem(configs[0], None)
    rows, weights = training.train(problem, configs)
    for number, row in enumerate(rows):
        first, last = row["curve"]
        assert last["score"] < first["score"] < 40
        assert first["mse"] > 0
        test = training.test(problem, training.one_of(weights, number))["test"]
        assert abs(test - row["valid"]) < 2
