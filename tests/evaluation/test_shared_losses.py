"""A loss that several variables share: enumeration against brute force, and unbiased estimators."""

import itertools

import numpy as np
import pytest
from backends import to_numpy
from cases import softmax

import rbgs

RANDOM = np.random.default_rng(0)
WEIGHTS = RANDOM.normal(size=(12, 5))


def loss(xp, variables, n=4):
    """A loss of the variables on the last axis but one: neither linear nor quadratic."""
    weights = xp.asarray(WEIGHTS[: variables * n])

    def evaluate(value):
        flat = xp.reshape(value, (*value.shape[:-2], variables * n))
        hidden = xp.sum(flat[..., None] * weights, axis=-2)
        return xp.sum(xp.tanh(hidden), axis=-1) + hidden[..., 0] * hidden[..., 1] ** 2

    return evaluate


def brute_force(logits, evaluate, direct=None):
    """Return the gradient for logits (L, n), from the definition."""
    p, (variables, n) = softmax(logits), logits.shape
    total = np.zeros_like(logits)
    for outcome in itertools.product(range(n), repeat=variables):
        value = np.eye(n)[list(outcome)]
        chance = np.prod((value * p).sum(axis=-1))
        total += chance * float(evaluate(value)) * (value - p)
        if direct is not None:
            total += chance * direct(value)
    return total


@pytest.mark.parametrize("variables", [2, 3])
def test_exact_gradient_enumerates_joint_outcomes(xp, variables, monkeypatch):
    logits = RANDOM.normal(size=(2, variables, 4))
    evaluate = loss(xp, variables)
    expected = [brute_force(x, loss(np, variables)) for x in logits]
    gradient = rbgs.exact_gradient(evaluate, xp.asarray(logits))
    np.testing.assert_allclose(to_numpy(gradient), expected, atol=1e-12)
    monkeypatch.setattr("rbgs.evaluation.exact._BLOCK", 7 * logits.size)
    gradient = rbgs.exact_gradient(evaluate, xp.asarray(logits))
    np.testing.assert_allclose(to_numpy(gradient), expected, atol=1e-12)


def test_exact_gradient_of_a_shared_loss_with_mask_axis_and_direct_term(xp):
    logits = RANDOM.normal(size=(2, 4, 3))  # (example, category, variable)
    mask = np.asarray([True, True, False, True])[:, None]
    there = loss(xp, 3)

    def oracle(value):
        return there(xp.moveaxis(value, -2, -1)), None, xp.sin(value)

    gradient = rbgs.exact_gradient(oracle, xp.asarray(logits), mask=xp.asarray(mask), axis=1)
    masked = np.moveaxis(np.where(mask, logits, -np.inf), 1, 2)
    expected = [brute_force(x, loss(np, 3), np.sin) for x in masked]
    np.testing.assert_allclose(to_numpy(gradient), np.moveaxis(expected, 2, 1), atol=1e-12)


def test_the_whole_batch_may_share_one_loss(xp):
    logits = RANDOM.normal(size=(2, 4))
    gradient = rbgs.exact_gradient(loss(xp, 2), xp.asarray(logits))
    np.testing.assert_allclose(to_numpy(gradient), brute_force(logits, loss(np, 2)), atol=1e-12)


def test_one_loss_for_each_variable_is_another_expectation():
    """What the same function gives, evaluated with all variables at the same category."""
    logits = RANDOM.normal(size=(2, 4))
    shared = loss(np, 2)
    separate = rbgs.exact_gradient(
        lambda value: np.broadcast_to(shared(value)[..., None], value.shape[:-1]), logits
    )
    assert np.abs(separate - rbgs.exact_gradient(shared, logits)).max() > 0.1


def test_exact_gradient_of_the_multi_sample_bound(xp):
    logits, samples = RANDOM.normal(size=(2, 3)), 3
    p, evaluate = softmax(logits), loss(np, 2, 3)
    joint = [np.eye(3)[list(i)] for i in itertools.product(range(3), repeat=2)]
    expected = np.zeros_like(logits)
    for values in itertools.product(joint, repeat=samples):
        chance = np.prod([(value * p).sum(axis=-1) for value in values])
        weights = np.exp([-evaluate(value) for value in values])
        bound = -np.log(weights.mean())
        for value, weight in zip(values, weights / weights.sum(), strict=True):
            expected += chance * (bound * (value - p) + weight * np.cos(value))
    there = loss(xp, 2, 3)
    gradient = rbgs.exact_gradient(
        lambda value: (there(value), None, xp.cos(value)), xp.asarray(logits), samples=samples
    )
    np.testing.assert_allclose(to_numpy(gradient), expected, atol=1e-11)
