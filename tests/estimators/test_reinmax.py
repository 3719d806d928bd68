"""ReinMax against its authors' package and the limit of Gumbel-Rao; ReinMax-Rao by definition."""

import dataclasses

import numpy as np
import pytest
from backends import to_numpy
from cases import softmax, standard_error_test

import rbgs

LOGITS = np.random.default_rng(0).normal(size=(50, 5))
VECTOR = np.cos(np.arange(LOGITS.size, dtype=float)).reshape(LOGITS.shape)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.3])
def test_reinmax_is_that_of_its_authors(temperature):
    torch, package = pytest.importorskip("torch"), pytest.importorskip("reinmax")
    torch.manual_seed(0)
    logits = torch.tensor(LOGITS, requires_grad=True)
    value, _ = package.reinmax(logits, temperature)
    (gradient,) = torch.autograd.grad(value, logits, torch.tensor(VECTOR))
    index = value.argmax(dim=-1).numpy()
    draw = rbgs.ReinMax(temperature).sample(LOGITS, index=index)
    np.testing.assert_array_equal(draw.value, value.detach().numpy())
    np.testing.assert_allclose(draw.vjp(VECTOR), gradient.numpy(), atol=1e-6)


def test_reinmax_at_temperature_1_is_the_limit_of_gumbel_rao(xp):
    logits, vector = xp.asarray(LOGITS), xp.asarray(VECTOR)
    limit = rbgs.GumbelRao(0).sample(logits, rng=0)
    for temperature in (1.0, xp.ones((50,), dtype=xp.float64)):
        draw = rbgs.ReinMax(temperature).sample(logits, rng=0)
        np.testing.assert_array_equal(to_numpy(draw.value), to_numpy(limit.value))
        np.testing.assert_allclose(to_numpy(draw.vjp(vector)), to_numpy(limit.vjp(vector)))
    assert (
        np.abs(
            to_numpy(rbgs.ReinMax(1.1).sample(logits, rng=0).vjp(vector) - draw.vjp(vector))
        ).max()
        > 1e-3
    )


def test_reinmax_is_exact_for_a_quadratic_loss():
    weights = np.random.default_rng(1).normal(size=(5, 5))

    def oracle(value):
        return ((value @ weights) ** 2).sum(axis=-1), 2 * value @ weights @ weights.T

    (moments,) = rbgs.compare([rbgs.ReinMax()], oracle, LOGITS, draws=10, rng=0)
    assert moments.draws == 0  # enumerated
    np.testing.assert_allclose(moments.bias2, 0, atol=1e-20)


@pytest.mark.parametrize("temperature", [0.4, 1.0])
def test_reinmax_rao_is_gumbel_rao_halfway_to_the_outcome(temperature):
    index = np.arange(50) % 5
    p = softmax(LOGITS)
    halfway = np.log((p + np.eye(5)[index]) / 2)
    rao = rbgs.GumbelRao(temperature, 7)
    estimator = rbgs.ReinMaxRao(temperature, 7)
    noise = rao.noise(LOGITS, 0)
    expected = 2 * rao.sample(halfway, noise=noise, index=index).jacobian()
    expected -= (p[:, :, None] * np.eye(5) - p[:, :, None] * p[:, None, :]) / 2
    draw = estimator.sample(LOGITS, noise=noise, index=index)
    np.testing.assert_allclose(draw.jacobian(), expected, atol=1e-12)
    product = np.einsum("...ij,...j->...i", expected, VECTOR)
    np.testing.assert_allclose(draw.vjp(VECTOR), product, atol=1e-12)


def test_reinmax_rao_has_the_mean_of_its_definition():
    # The expectation itself, by quadrature, for each outcome; drawn together with the outcome.
    logits, count = LOGITS[0], 20_000
    estimator = rbgs.ReinMaxRao(0.5, samples=1)
    drawn = estimator.sample(np.tile(logits, (count, 1)), rng=0)
    mean, p = 0.0, softmax(logits)
    for i in range(5):
        halfway = np.log((p + np.eye(5)[i]) / 2)
        exact = rbgs.GumbelRao(0.5, sampling="exact").sample(halfway, index=i).jacobian()
        mean = mean + p[i] * (2 * exact - (np.diag(p) - np.outer(p, p)) / 2)
    standard_error_test(drawn.jacobian(), mean)


def test_reinmax_rao_has_the_samples_of_gumbel_rao():
    for n in (5, 64):
        logits = np.zeros((2, n))
        rao = rbgs.GumbelRao(0.3).sample(logits, rng=0)._operator
        ours = rbgs.ReinMaxRao(0.3).sample(logits, rng=0)._operator.operators[0]
        for field in ("samples", "control_variate", "temperature"):
            assert getattr(ours, field) == getattr(rao, field)


def test_reinmax_rao_has_less_variance_and_more_bias_than_reinmax():
    weights = np.random.default_rng(1).normal(size=(5, 5))

    def oracle(value):
        return ((value @ weights) ** 2).sum(axis=-1), 2 * value @ weights @ weights.T

    estimators = [rbgs.ReinMax(), rbgs.ReinMaxRao()]
    plain, rao = rbgs.compare(estimators, oracle, LOGITS[:8], draws=2000, rng=0)
    assert np.all(rao.variance + 5 * rao.variance_se < plain.variance)
    assert rao.bias2.mean() > plain.bias2.mean()


@pytest.mark.parametrize("estimator", [rbgs.ReinMaxRao(0.5), rbgs.ReinMaxRao(0.5, samples=3)])
def test_an_improbable_outcome_keeps_its_digits(estimator):
    # 1/2 (p + D) is 1/2 at the outcome, however small p is.
    logits = np.asarray([[0.0, -300.0, -40.0]])
    double = estimator.sample(logits, index=1, rng=0).jacobian()
    single = estimator.sample(logits.astype(np.float32), index=1, rng=0).jacobian()
    assert np.isfinite(single).all()
    np.testing.assert_allclose(single, double, atol=1e-4)
    both = dataclasses.replace(estimator).sample(np.zeros((1, 2)), index=1, rng=0).jacobian()
    assert both.shape == (1, 2, 2)
