"""The tutorial's rule for a framework without an array-API namespace."""

import numpy as np
import pytest
from cases import PATHWISE, name
from documents import TUTORIALS, definitions, run, scripts

import rbgs

tf = pytest.importorskip("tensorflow")
(script,) = scripts(TUTORIALS / "autodiff.md")
recipe = definitions(script)

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(3, 5, 4)).astype("float32")
VECTOR = RANDOM.normal(size=(3, 5, 4)).astype("float32")


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("estimator", PATHWISE, ids=name)
def test_value_and_gradient_are_those_of_the_draw(estimator, graph):
    def value_and_gradient(logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = recipe.sample(estimator, logits, rbgs.Key(0))
            loss = tf.reduce_sum(value * VECTOR)
        return value, tape.gradient(loss, logits)

    if graph:
        value_and_gradient = tf.function(value_and_gradient)
    value, gradient = value_and_gradient(tf.constant(LOGITS))
    draw = estimator.sample(LOGITS, rng=rbgs.Key(0))
    np.testing.assert_array_equal(value.numpy(), draw.value)
    np.testing.assert_allclose(gradient.numpy(), draw.vjp(VECTOR), atol=1e-6)


def test_a_model_is_trained():
    x = tf.constant(np.tile([[2.0, 0], [-2, 0], [0, 2], [0, -2]], (64, 1)), tf.float32)
    initial = 0.1 * np.random.default_rng(0).normal(size=(2, 4))
    encoder, decoder = tf.Variable(initial, dtype=tf.float32), tf.Variable(tf.zeros((4, 2)))
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(200):
        with tf.GradientTape() as tape:
            code = recipe.sample(rbgs.GumbelRao(0.5), x @ encoder, rng)
            loss = tf.reduce_mean(tf.reduce_sum((code @ decoder - x) ** 2, axis=-1))
        for variable, gradient in zip(
            (encoder, decoder), tape.gradient(loss, (encoder, decoder)), strict=True
        ):
            variable.assign_sub(0.5 * gradient)
        losses.append(float(loss))
    assert losses[0] == 4
    assert np.mean(losses[-10:]) < 0.4


def test_the_script_runs_as_it_is_printed():
    run(script.code, str(script))
