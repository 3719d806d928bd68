"""A loss that several variables share: enumeration against brute force, and unbiased estimators."""

import dataclasses
import itertools

import numpy as np
import pytest
from array_api_compat import array_namespace
from backends import to_numpy
from cases import CASES, UNBIASED, exp_oracle, name, softmax, standard_error_test

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


def oracle_of(xp, variables, n=4):
    """The same loss with its derivative."""
    there, weights = loss(xp, variables, n), xp.asarray(WEIGHTS[: variables * n])

    def oracle(value):
        flat = xp.reshape(value, (*value.shape[:-2], variables * n))
        hidden = xp.sum(flat[..., None] * weights, axis=-2)
        slope = 1 - xp.tanh(hidden) ** 2
        first = slope[..., 0] + hidden[..., 1] ** 2
        second = slope[..., 1] + 2 * hidden[..., 0] * hidden[..., 1]
        slope = xp.concat([first[..., None], second[..., None], slope[..., 2:]], axis=-1)
        gradient = xp.sum(slope[..., None, :] * weights, axis=-1)
        return there(value), xp.reshape(gradient, value.shape)

    return oracle


def of_joint_variables(estimator):
    """Return the estimator with a control variate that variables share, if it has one."""
    if not isinstance(estimator, rbgs.Relax):
        return estimator

    def control_variate(value):
        losses, gradient = exp_oracle(value)
        return array_namespace(losses).sum(losses, axis=-1), gradient

    return dataclasses.replace(estimator, control_variate=control_variate)


@pytest.mark.parametrize("variables", [2, 3])
@pytest.mark.parametrize("estimator", UNBIASED, ids=name)
def test_unbiased_for_the_enumerated_gradient(estimator, variables):
    logits = 0.7 * np.random.default_rng(variables).normal(size=(variables, 4))
    samples = getattr(estimator, "samples", 1) if isinstance(estimator, rbgs.Vimco) else 1
    oracle = oracle_of(np, variables)
    exact = rbgs.exact_gradient(oracle, logits, samples=samples, max_outcomes=2**18)
    count = 200_000 // variables
    many = np.broadcast_to(logits, (count, variables, 4))
    estimates = of_joint_variables(estimator).gradient(oracle, many, rng=1)
    standard_error_test(estimates, exact)


@pytest.mark.parametrize("estimator", CASES, ids=name)
def test_a_shared_loss_on_every_library(xp, estimator):
    logits = RANDOM.normal(size=(6, 2, 4))
    noise = estimator.noise(logits, 0)
    estimator = of_joint_variables(estimator)
    expected = estimator.gradient(oracle_of(np, 2), logits, noise=noise)
    found = estimator.gradient(oracle_of(xp, 2), xp.asarray(logits), noise=xp.asarray(noise))
    np.testing.assert_allclose(to_numpy(found), expected, atol=1e-9)
    np.testing.assert_allclose(expected.sum(axis=-1), 0, atol=1e-9)
    moved = np.moveaxis(logits, -1, 0)
    there = oracle_of(xp, 2)

    def along_the_first_axis(value):
        losses, gradient = there(xp.moveaxis(value, -3, -1))
        return losses, xp.moveaxis(gradient, -1, -3)

    moved_noise = np.moveaxis(noise, -1, noise.ndim - 3)
    if isinstance(estimator, rbgs.Relax):
        return  # its control variate is for the last axis
    found = estimator.gradient(
        along_the_first_axis, xp.asarray(moved), noise=xp.asarray(moved_noise), axis=0
    )
    np.testing.assert_allclose(np.moveaxis(to_numpy(found), 0, -1), expected, atol=1e-9)
