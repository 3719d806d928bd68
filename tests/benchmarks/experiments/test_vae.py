"""The VAE: its bound and its gradients against enumeration."""

import numpy as np
import pytest
from backends import Backend

pytest.importorskip("optax")
pytest.importorskip("typer")
jax = pytest.importorskip("jax")
Backend.JAX.load()

from benchmarks.experiments import categorical_vae as cvae  # noqa: E402
from benchmarks.experiments import estimators, vae  # noqa: E402


@pytest.fixture(autouse=True)
def _single_precision():
    with jax.enable_x64(False):
        yield


@pytest.fixture
def tiny():
    """A model with 8 latent values, and some images."""
    images = jax.numpy.asarray(np.random.default_rng(0).integers(0, 2, size=(3, 6)), "float32")
    model = cvae.initialise(jax.random.key(0), 6, (5,), variables=3, arity=2)
    return model, images


def log_weights(model, images):
    """log p(image, value) - log q(value | image) and q, each (image, value)."""
    values = cvae.all_values(3, 2)
    log_q = jax.nn.log_softmax(cvae.encode(model, images, 2))
    log_q = np.einsum("cvn,bvn->bc", values, log_q)
    losses = np.stack([cvae.reconstruction_loss(model, values, x) for x in images])
    return -np.log(8) - losses - log_q, np.exp(log_q)


def test_all_values_are_there_once():
    values = np.asarray(cvae.all_values(3, 4))
    assert values.shape == (64, 3, 4)
    assert (values.sum(axis=-1) == 1).all()
    assert len(np.unique(values.reshape(64, -1), axis=0)) == 64


@pytest.mark.parametrize(("samples", "chunk"), [(1, 50), (2, 1), (5, 2)])
def test_the_importance_weighted_bound_has_the_enumerated_mean(tiny, samples, chunk):
    model, images = tiny
    weights, q = log_weights(model, images)
    expected = []
    for w, p in zip(weights, q, strict=True):
        tuples = np.indices((8,) * samples).reshape(samples, -1)
        bound = np.log(np.mean(np.exp(w[tuples]), axis=0))
        expected.append(-np.sum(np.prod(p[tuples], axis=0) * bound))

    def bound(key):
        return cvae.importance_weighted_bound(
            model, images, key, arity=2, samples=samples, chunk=chunk
        )

    bounds = np.asarray(jax.vmap(bound)(jax.random.split(jax.random.key(1), 20_000)))
    error = bounds.std(axis=0) / np.sqrt(len(bounds))
    assert (np.abs(bounds.mean(axis=0) - expected) < 4.5 * error).all()


def test_with_many_samples_the_bound_is_the_likelihood(tiny):
    model, images = tiny
    weights, q = log_weights(model, images)
    likelihood = np.log(np.sum(np.exp(weights) * q, axis=1))
    bound = cvae.importance_weighted_bound(
        model, images, jax.random.key(0), arity=2, samples=5000, chunk=64
    )
    np.testing.assert_allclose(bound, -likelihood, atol=0.05)


def test_blocks_of_images_make_no_difference(tiny):
    model, images = tiny
    many = np.tile(images, (5, 1))
    options = {"arity": 2, "samples": 4000}
    whole = cvae.mean_bound(model, many, jax.random.key(0), **options)
    parts = cvae.mean_bound(model, many, jax.random.key(0), rows=4, **options)
    assert abs(whole - parts) < 0.05


def test_the_exact_gradient_is_that_of_the_enumerated_objective(tiny):
    model, images = tiny
    logits = cvae.encode(model, images, 2)

    def objective(logits):
        log_q = np.einsum("cvn,bvn->bc", cvae.all_values(3, 2), jax.nn.log_softmax(logits))
        losses = [cvae.reconstruction_loss(model, cvae.all_values(3, 2), x) for x in images]
        return np.sum(np.exp(log_q) * (np.stack(losses) + log_q + np.log(8)), axis=1).mean()

    exact = np.asarray(cvae.exact_gradient(model, logits, images))
    for place in ((0, 0, 0), (1, 2, 1), (2, 1, 0)):
        step = np.zeros(logits.shape, "f4")
        step[place] = 1e-2
        slope = (objective(logits + step) - objective(logits - step)) / 2e-2
        assert abs(slope - exact[place]) < 2e-3


def test_reinforce_is_unbiased_with_any_baseline(tiny):
    model, images = tiny
    logits = cvae.encode(model, images, 2)
    exact = cvae.exact_gradient(model, logits, images)
    for baseline in (0.0, 4.0):

        def estimate(key, baseline=baseline):
            return jax.grad(cvae.objective, argnums=1, has_aux=True)(
                model,
                logits,
                images,
                estimators.make("REINFORCE", 1.0),
                key,
                jax.numpy.asarray(baseline),
            )[0]

        draws = np.asarray(jax.vmap(estimate)(jax.random.split(jax.random.key(0), 20_000)))
        error = draws.std(axis=0) / np.sqrt(len(draws))
        assert (np.abs(draws.mean(axis=0) - exact) < 4.5 * error + 1e-6).all()


def test_moments_against_the_enumerated_gradient(tiny):
    model, images = tiny
    logits = cvae.encode(model, images, 2)
    exact = cvae.exact_gradient(model, logits, images)

    def moments(name, exact=exact):
        estimator = estimators.make(name, 0.3)
        options = {"draws": 2000}
        return cvae.gradient_moments(
            model,
            logits,
            images,
            estimator,
            jax.random.key(0),
            jax.numpy.zeros(()),
            exact,
            **options,
        )

    one, rao = moments("ST-GS"), moments("GR")
    assert rao["variance"] < one["variance"]
    assert rao["mse"] < one["mse"]
    assert one["mse"] > 0.99 * one["variance"]
    assert np.isnan(moments("ST", None)["mse"])


def test_the_baseline_of_reinforce_is_carried():
    images = jax.numpy.asarray(np.random.default_rng(0).integers(0, 2, size=(50, 6)), "float32")
    config = vae.Config(estimator="REINFORCE", bits=4, hidden=(5,), learning_rate=0.0)
    first = vae.first_state(config, images)
    assert 3 < first.baseline < 6  # near 6 log 2
    moved = first._replace(baseline=jax.numpy.asarray(1000.0))
    state, _ = vae.train_steps(moved, images, config=config, count=10)
    expected = first.baseline + 0.9**10 * (1000 - first.baseline)
    assert abs(state.baseline - expected) < 1


def test_the_size_of_the_latent_space_is_that_of_whole_variables():
    assert [vae.Config(arity=arity).variables for arity in (2, 4, 8, 16)] == [120, 60, 40, 30]
    with pytest.raises(ValueError, match="16-ary"):
        vae.Config(arity=16, bits=6)


def test_a_run_is_determined_by_its_configuration():
    pytest.importorskip("sklearn")
    config = vae.Config(
        estimator="REINFORCE",
        bits=4,
        hidden=[8],
        iterations=20,
        evaluations=2,
        draws=4,
        valid_samples=5,
        test_samples=5,
        temperatures=[0.5],
    )
    first, second = vae.train(config), vae.train(config)
    assert first["test"] == second["test"]
    assert [point["step"] for point in first["curve"]] == [0, 10, 20]
    assert first["curve"][0]["mse"] > 0
    assert first["moments"][0]["temperature"] == 0.5


def test_seeds_share_one_compiled_program():
    pytest.importorskip("sklearn")
    options = {"bits": 4, "hidden": (7,), "iterations": 4, "evaluations": 1, "draws": 2}
    options |= {"valid_samples": 2, "test_samples": 2}
    before = vae.train_steps._cache_size()
    first, second = (vae.train(vae.Config(seed=seed, **options)) for seed in (0, 1))
    assert vae.train_steps._cache_size() == before + 1
    assert first["test"] != second["test"]


def test_a_run_that_diverges_raises():
    pytest.importorskip("sklearn")
    config = vae.Config(bits=4, hidden=(8,), iterations=20, learning_rate=1e20, draws=4)
    with pytest.raises(FloatingPointError, match="loss"):
        vae.train(config)
