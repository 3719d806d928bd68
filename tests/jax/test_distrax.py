"""Distrax: its own answers where it has them, with an estimator's gradient."""

import importlib

import numpy as np
import pytest
from backends import Backend

import rbgs

pytestmark = pytest.mark.slow  # it imports a second probabilistic library
distrax = pytest.importorskip("distrax")
jax = pytest.importorskip("jax")
door = importlib.import_module("rbgs.jax")
OneHotCategorical = importlib.import_module("rbgs.distrax").OneHotCategorical
Backend.JAX.load()  # sets double precision

RANDOM = np.random.default_rng(0)
LOGITS = jax.numpy.asarray(RANDOM.normal(size=(6, 4)))
MASK = jax.numpy.asarray((RANDOM.random(size=(6, 4)) < 0.6) | (np.arange(4) == 1))
COST = jax.numpy.asarray(RANDOM.normal(size=4))
ESTIMATOR = rbgs.StraightThroughGumbelSoftmax(0.5)
KEY = jax.random.key(0)


def close(a, b, atol=1e-9):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=atol, rtol=0)


def test_value_and_gradient_are_those_of_sample():
    def expected(x):
        logits = jax.numpy.log(0.8 * jax.nn.softmax(x) + 0.2 / 4)
        value = door.sample(ESTIMATOR, KEY, logits[None])[0]
        return (value @ COST).sum(), value

    def found(x):
        value = OneHotCategorical(x, ESTIMATOR, unimix=0.2).sample(seed=KEY)
        return (value @ COST).sum(), value

    (gradient, value), (wanted, same) = (
        jax.jit(jax.grad(f, has_aux=True))(LOGITS) for f in (found, expected)
    )
    close(gradient, wanted)
    assert (value == same).all()
    assert value.dtype == LOGITS.dtype
    assert set(np.unique(value)) == {0.0, 1.0}  # exactly


def test_the_rest_is_that_of_distrax():
    law, base = OneHotCategorical(LOGITS, ESTIMATOR), distrax.OneHotCategorical(logits=LOGITS)
    value = np.eye(4)[:, None, :].repeat(6, axis=1)
    close(law.log_prob(value), base.log_prob(value))
    close(law.prob(value), base.prob(value))
    close(law.entropy(), base.entropy())
    close(law.mode(), base.mode())
    assert (law.batch_shape, law.event_shape) == ((6,), (4,))
    other = LOGITS[::-1]
    expected = base.kl_divergence(distrax.OneHotCategorical(logits=other))
    for q in (OneHotCategorical(other, ESTIMATOR), distrax.OneHotCategorical(logits=other)):
        close(law.kl_divergence(q), expected)
    close(distrax.OneHotCategorical(logits=LOGITS).kl_divergence(q), expected)


@pytest.mark.parametrize("shape", [(), 3, (2, 1)])
def test_sample_and_log_prob(shape):
    law = OneHotCategorical(LOGITS, ESTIMATOR, mask=MASK)
    value, log_prob = jax.jit(
        lambda law, key: law.sample_and_log_prob(seed=key, sample_shape=shape)
    )(law, KEY)
    assert value.shape == (*np.atleast_1d(shape).astype(int), 6, 4)
    close(log_prob, law.log_prob(value))
    assert np.isfinite(log_prob).all()


def test_frequencies_are_the_probabilities():
    law = OneHotCategorical(LOGITS, ESTIMATOR, mask=MASK, unimix=0.3)
    found = jax.jit(lambda: law.sample(seed=0, sample_shape=40_000).mean(axis=0))()
    error = np.sqrt(law.probs * (1 - law.probs) / 40_000)
    assert (abs(found - law.probs) <= 4.5 * error).all()
    assert (found[~MASK] == 0).all()


@pytest.mark.parametrize("unimix", [0.0, 0.01])
def test_forbidden_categories_leave_everything_finite(unimix):
    prior = distrax.OneHotCategorical(logits=jax.numpy.where(MASK, 0.0, -jax.numpy.inf))

    @jax.jit
    @jax.grad
    def derivatives(logits):
        law = OneHotCategorical(logits, ESTIMATOR, mask=MASK, unimix=unimix)
        value = law.sample(seed=KEY)
        divergences = law.kl_divergence(prior), prior.kl_divergence(law)
        return 1e6 * sum((*divergences, law.entropy(), law.log_prob(value))).sum()

    for logits in (LOGITS, jax.numpy.where(MASK, LOGITS, -jax.numpy.inf)):
        found = derivatives(logits)
        assert np.isfinite(found).all()
        assert (found[~MASK] == 0).all()


@pytest.mark.parametrize("temperature", [0.5, jax.numpy.linspace(0.3, 0.8, 6)])
def test_parts_and_pytrees(temperature):
    law = OneHotCategorical(
        LOGITS, rbgs.StraightThroughGumbelSoftmax(temperature), mask=MASK, unimix=0.1
    )
    for index in (2, slice(1, 4), (..., None), np.asarray([0, 3])):
        part = law[index]
        assert type(part) is OneHotCategorical
        rows = np.arange(6)[index]
        close(part.logits, law.logits[rows])
        assert jax.eval_shape(lambda part=part: part.sample(seed=0)).shape == (*rows.shape, 4)
    if not isinstance(temperature, float):
        assert float(law[2].estimator.temperature) == temperature[2]
    leaves, structure = jax.tree.flatten(law)
    other = jax.tree.unflatten(structure, leaves)
    assert other.estimator == law.estimator
    sample = jax.jit(lambda law: law.sample(seed=KEY))
    close(sample(law), sample(other))


def test_what_makes_no_sense():
    for estimator, message in (
        (rbgs.Reinforce(), r"call rbgs\.jax\.expectation\(estimator, key, loss, logits\)"),
        (rbgs.GumbelSoftmax(1.0), r"relaxed.*take rbgs\.jax\.sample\(estimator, key, logits\)"),
    ):
        with pytest.raises(TypeError, match=message):
            OneHotCategorical(LOGITS, estimator)
    with pytest.raises(ValueError, match=r"unimix must lie in \[0, 1\]"):
        OneHotCategorical(LOGITS, ESTIMATOR, unimix=-1.0)
