"""What is particular to JAX's oracles: transformations, precision, a derivative that is lost."""

import numpy as np
import pytest
from backends import Backend

import rbgs

jax = pytest.importorskip("jax")
door = pytest.importorskip("rbgs.jax")
jnp = jax.numpy

LOGITS = np.random.default_rng(0).normal(size=(6, 4))
ESTIMATOR = rbgs.StraightThrough()  # for which JAX compiles little


@pytest.fixture(autouse=True)
def double_precision():
    Backend.JAX.load()


def square(value):
    return (value**2).sum(axis=-1)


@pytest.mark.parametrize("transformed", [jax.jit, jax.vmap, lambda f: jax.jit(jax.vmap(f))])
def test_inside_transformations(transformed):
    value = jnp.asarray(LOGITS)
    loss, derivative = transformed(door.oracle(square))(value)
    np.testing.assert_allclose(loss, square(value))
    np.testing.assert_allclose(derivative, 2 * value)
    loss, derivative = door.oracle(transformed(square))(value)
    np.testing.assert_allclose(derivative, 2 * value)


def test_a_gradient_under_jit():
    def gradient(logits, cost):
        return ESTIMATOR.gradient(door.oracle(lambda v: v**2 @ cost), logits, rng=rbgs.Key(0))

    logits, cost = jnp.asarray(LOGITS), jnp.asarray(LOGITS[0])
    np.testing.assert_allclose(jax.jit(gradient)(logits, cost), gradient(logits, cost), atol=1e-12)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit, jax.checkpoint])
def test_a_lost_derivative(wrap):
    """Also where something else has one: that for the cost is not that for the value."""

    def lost(cost):
        oracle = door.oracle(wrap(lambda v: jax.lax.stop_gradient(v) @ cost))
        return oracle(jnp.asarray(LOGITS))[0].sum()

    for function in (lost, jax.jit(lost), jax.grad(lost)):
        with pytest.raises(TypeError, match="an index or stop_gradient in between"):
            function(jnp.ones(4))


def test_the_derivative_of_an_oracle():
    """It is a function like any other: its losses may be differentiated for what they depend on."""
    value = jnp.asarray(LOGITS)
    gradient = jax.grad(lambda cost: door.oracle(lambda v: v @ cost)(value)[0].sum())(jnp.ones(4))
    np.testing.assert_allclose(gradient, LOGITS.sum(axis=0))


def test_arrays_of_numpy_without_double_precision():
    with jax.enable_x64(False):
        (moments,) = rbgs.compare([ESTIMATOR], door.oracle(square), LOGITS[0], draws=8, rng=0)
        assert isinstance(moments.variance, (np.ndarray, np.floating))
    (wanted,) = rbgs.compare([ESTIMATOR], door.oracle(square), LOGITS[0], draws=8, rng=0)
    np.testing.assert_allclose(moments.variance, wanted.variance, rtol=1e-5)
