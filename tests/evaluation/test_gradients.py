"""Gradients of expectations: enumeration and REINFORCE (property 13)."""

import numpy as np
import pytest
from backends import to_numpy
from cases import (
    ESTIMATORS,
    logits_arrays,
    name,
    quadratic,
    softmax,
    standard_error_test,
)
from hypothesis import given

import rbgs

LOGITS = np.asarray([0.3, -0.2, 0.9])
TARGET, WEIGHTS = np.asarray([0.1, 0.7, 0.2]), np.asarray([1.0, 3.0, -2.0])
ORACLE = quadratic(np, TARGET, WEIGHTS)


@given(logits=logits_arrays(forbidden=False))
def test_exact_gradient_is_that_of_finite_differences(logits):
    n = logits.shape[-1]
    losses = np.cos(np.arange(n))

    def oracle(value):
        return (value * losses).sum(axis=-1), np.broadcast_to(losses, value.shape)

    gradient, h = rbgs.exact_gradient(oracle, logits), 1e-5
    for j in range(n):
        step = h * np.eye(n)[j]
        up, down = softmax(logits + step) @ losses, softmax(logits - step) @ losses
        np.testing.assert_allclose(gradient[..., j], (up - down) / (2 * h), atol=1e-9)


def test_exact_gradient_over_libraries_with_mask_axis_and_direct_term(xp):
    logits = np.random.default_rng(0).normal(size=(2, 4, 3))
    mask = np.asarray([True, True, False, True])[:, None]
    direct = np.random.default_rng(1).normal(size=(2, 4, 3))
    cost = np.asarray([1.0, 2.0, 100.0, -1.0])[:, None]

    def oracle(value):
        shape = value.shape
        return (
            xp.sum(value * xp.asarray(cost), axis=-2),
            xp.broadcast_to(xp.asarray(cost), shape),
            xp.broadcast_to(xp.asarray(direct), shape),
        )

    gradient = to_numpy(
        rbgs.exact_gradient(oracle, xp.asarray(logits), mask=xp.asarray(mask), axis=1)
    )
    p = softmax(np.moveaxis(np.where(mask, logits, -np.inf), 1, -1))
    mean = p @ cost
    expected = np.moveaxis(p * (cost[:, 0] - mean), -1, 1) + direct
    np.testing.assert_allclose(gradient, expected, atol=1e-12)


def test_exact_gradient_in_blocks(monkeypatch):
    logits = np.random.default_rng(0).normal(size=(3, 7))

    def oracle(value):
        return (value * np.arange(7.0)).sum(axis=-1), value * 0, value

    whole = rbgs.exact_gradient(oracle, logits)
    monkeypatch.setattr("rbgs.evaluation.exact._BLOCK", 42)
    np.testing.assert_allclose(rbgs.exact_gradient(oracle, logits), whole, atol=1e-14)
    p = softmax(logits)
    np.testing.assert_allclose(whole, p * (np.arange(7) - p @ np.arange(7)[:, None]) + p)


@pytest.mark.parametrize(
    "estimator",
    [
        rbgs.Reinforce(),
        rbgs.Reinforce(baseline=1.5),
        rbgs.Reinforce(baseline="leave_one_out", samples=3),
        rbgs.Reinforce(baseline=0.5, samples=2),
    ],
    ids=str,
)
def test_reinforce_is_unbiased(xp, estimator):
    count = 100_000
    logits = xp.asarray(np.tile(LOGITS, (count, 1)))
    estimates = estimator.gradient(quadratic(xp, TARGET, WEIGHTS), logits, rng=0)
    standard_error_test(to_numpy(estimates), rbgs.exact_gradient(ORACLE, LOGITS))


def test_running_mean_lowers_the_variance_without_bias(xp):
    baseline = rbgs.RunningMean()
    oracle = quadratic(xp, TARGET, WEIGHTS)
    logits = xp.asarray(np.tile(LOGITS, (1000, 1)))
    with_mean, without = rbgs.Reinforce(baseline), rbgs.Reinforce()
    learnt = [to_numpy(with_mean.gradient(oracle, logits, rng=seed)) for seed in range(1, 101)]
    plain = to_numpy(without.gradient(oracle, xp.asarray(np.tile(LOGITS, (100_000, 1))), rng=0))
    estimates = np.concatenate(learnt)
    standard_error_test(estimates, rbgs.exact_gradient(ORACLE, LOGITS))
    assert estimates[1000:].var(axis=0).sum() < 0.8 * plain.var(axis=0).sum()
    p = softmax(LOGITS)
    losses = ORACLE(np.eye(3))[0]
    error = np.sqrt(p @ (losses - p @ losses) ** 2 / 100_000)
    assert abs(baseline.value - p @ losses) < 5 * error


def test_running_mean_with_decay():
    baseline = rbgs.RunningMean(decay=0.9)
    baseline.update(np.asarray([2.0, 4.0]))
    assert baseline.value == 3.0
    baseline.update(np.asarray([13.0]))
    assert baseline.value == pytest.approx(4.0)
    baseline.update(np.asarray([]))
    assert baseline.value == pytest.approx(4.0)


def test_running_mean_leaves_out_what_is_not_finite(xp):
    baseline = rbgs.RunningMean()
    nan = float("nan")
    for losses in ([1.0, nan, 3.0], [nan, float("inf")], [-float("inf"), 8.0]):
        baseline.update(xp.asarray(losses, dtype=xp.float64))
    assert baseline.value == pytest.approx(4.0)
    decaying = rbgs.RunningMean(decay=np.float32(0.5))
    for losses in ([nan], [2.0, nan], [nan], [4.0]):
        decaying.update(xp.asarray(losses, dtype=xp.float64))
    assert type(decaying.value) is float
    assert decaying.value == 3.0


def test_reinforce_goes_on_after_a_loss_that_is_nan():
    estimator = rbgs.Reinforce(rbgs.RunningMean())
    logits = np.zeros((4, 3))

    def oracle(value):
        loss = value @ np.asarray([1.0, 2.0, 3.0])
        return np.where(np.arange(4) == 1, np.nan, loss), value

    first = estimator.gradient(oracle, logits, rng=0)
    second = estimator.gradient(oracle, logits, rng=1)
    for gradient in (first, second):
        np.testing.assert_array_equal(np.isnan(gradient).any(axis=-1), [False, True, False, False])


def test_running_mean_takes_losses_that_require_a_gradient():
    torch = pytest.importorskip("torch")
    baseline = rbgs.RunningMean()
    baseline.update(torch.ones(2, requires_grad=True) * 2)
    assert baseline.value == 2.0


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=name)
def test_the_direct_term_is_added(xp, estimator):
    oracle = quadratic(xp, TARGET, WEIGHTS)
    logits = xp.asarray(LOGITS)
    direct = xp.asarray([1.0, 2.0, 3.0], dtype=xp.float64)

    def with_direct_gradient(value):
        return *oracle(value), xp.broadcast_to(direct, value.shape)

    with_direct = estimator.gradient(with_direct_gradient, logits, rng=0)
    np.testing.assert_allclose(
        to_numpy(with_direct - estimator.gradient(oracle, logits, rng=0)), to_numpy(direct)
    )
