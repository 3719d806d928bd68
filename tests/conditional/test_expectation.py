"""Means and variances of Gumbel-Rao: properties 5, 6 and 7, and the limit of temperature zero."""

import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from backends import to_numpy
from cases import logits_arrays, quadratic, standard_error_test
from hypothesis import given
from hypothesis import strategies as st

import rbgs
from rbgs.conditional import quadrature

REFERENCE = json.loads(
    Path(__file__).parents[1].joinpath("support", "reference_values.json").read_text()
)
LOGITS = np.asarray([0.518, 1.232, 0.496, -0.955])
ORACLE = quadratic(np, np.asarray([0.1, 0.4, 0.2, 0.3]), np.asarray([1.0, -2.0, 0.5, 3.0]))

SCHEMES = list(itertools.product(["monte_carlo", "lattice"], [False, True]))


def case_name(case):
    return f"n{len(case['logits'])}-t{case['temperature']}"


@pytest.mark.parametrize("case", REFERENCE, ids=case_name)
def test_exact_sampling_agrees_with_reference_values(xp, case):
    estimator = rbgs.GumbelRao(case["temperature"], sampling="exact")
    draw = estimator.sample(xp.asarray(case["logits"], dtype=xp.float64), index=case["index"])
    np.testing.assert_allclose(to_numpy(draw.jacobian()), case["jacobian"], atol=1e-10)
    v = np.cos(np.arange(len(case["logits"])))
    expected = np.asarray(case["jacobian"]) @ v
    np.testing.assert_allclose(to_numpy(draw.jvp(xp.asarray(v))), expected, atol=1e-10)


@pytest.mark.parametrize("case", REFERENCE, ids=case_name)
def test_exact_sampling_in_single_precision(case):
    logits = np.asarray(case["logits"], np.float32)
    draw = rbgs.GumbelRao(case["temperature"], sampling="exact").sample(logits, index=case["index"])
    np.testing.assert_allclose(draw.jacobian(), case["jacobian"], atol=2e-5)


def test_exact_sampling_takes_array_temperatures_and_many_categories():
    rng = np.random.default_rng(0)
    temperatures, logits = np.asarray([0.1, 1.0, 3.0]), rng.normal(size=(3, 200))
    together = rbgs.GumbelRao(temperatures, sampling="exact").sample(logits, index=5).jacobian()
    for temperature, row, jacobian in zip(temperatures, logits, together, strict=True):
        alone = rbgs.GumbelRao(float(temperature), sampling="exact").sample(row, index=5)
        np.testing.assert_allclose(jacobian, alone.jacobian(), atol=1e-11)


@pytest.mark.parametrize(("n", "temperature"), [(16, 0.5), (64, 2.0)])
def test_exact_sampling_agrees_with_monte_carlo_for_many_categories(n, temperature):
    rng = np.random.default_rng(0)
    logits, v = rng.normal(size=n), rng.normal(size=n)
    exact = rbgs.GumbelRao(temperature, sampling="exact").sample(logits, index=3).jvp(v)
    for scheme in SCHEMES:
        estimator = rbgs.GumbelRao(temperature, 40, *scheme)
        many = estimator.sample(np.tile(logits, (4000, 1)), index=3, rng=1)
        standard_error_test(many.jvp(np.tile(v, (4000, 1))), exact)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
def test_the_mean_of_the_samples_is_the_exact_expectation(xp, temperature, scheme):
    rows, samples = 50_000, 4
    v = np.asarray([1.0, -0.5, 0.3, 2.0])
    exact = rbgs.GumbelRao(temperature, sampling="exact").sample(LOGITS, index=0).jvp(v)
    logits = xp.asarray(np.tile(LOGITS, (rows, 1)))
    draw = rbgs.GumbelRao(temperature, samples, *scheme).sample(logits, index=0, rng=3)
    standard_error_test(to_numpy(draw.jvp(xp.asarray(np.tile(v, (rows, 1))))), exact)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_the_mean_in_single_precision_from_native_generators(backend, xp, scheme):
    rows = 200_000
    exact = rbgs.GumbelRao(0.5, sampling="exact").sample(LOGITS, index=1).jvp(np.arange(4.0))
    logits = xp.asarray(np.tile(LOGITS.astype("float32"), (rows, 1)))
    v = xp.asarray(np.tile(np.arange(4, dtype="float32"), (rows, 1)))
    draw = rbgs.GumbelRao(0.5, 2, *scheme).sample(logits, index=1, rng=backend.native_generator(0))
    standard_error_test(to_numpy(draw.jvp(v)).astype(np.float64), exact)


def test_the_mean_over_outcomes_is_that_of_straight_through_gumbel_softmax(xp):
    # E[GR] = E[ST-GS]: what differentiating through eq. 9 would break.
    count, temperature = 200_000, 0.5
    exact = rbgs.GumbelRao(temperature, sampling="exact")
    p = np.exp(LOGITS) / np.exp(LOGITS).sum()
    mean = sum(p[i] * exact.gradient(ORACLE, LOGITS, index=i) for i in range(4))
    oracle = quadratic(xp, np.asarray([0.1, 0.4, 0.2, 0.3]), np.asarray([1.0, -2.0, 0.5, 3.0]))
    logits = xp.asarray(np.tile(LOGITS, (count, 1)))
    for estimator in (
        rbgs.StraightThroughGumbelSoftmax(temperature),
        rbgs.GumbelRao(temperature, samples=3),
    ):
        standard_error_test(to_numpy(estimator.gradient(oracle, logits, rng=4)), mean)


@given(logits=logits_arrays(), seed=st.integers(0, 1000))
def test_exact_sampling_tends_to_the_limit(logits, seed):
    limit = rbgs.GumbelRao(0).sample(logits, rng=seed)
    errors = [
        np.abs(
            rbgs.GumbelRao(t, sampling="exact").sample(logits, index=limit.index).jacobian()
            - limit.jacobian()
        ).max()
        for t in (1e-2, 1e-3)
    ]
    # The error is proportional to the temperature.
    assert errors[0] < 0.05
    assert errors[1] < 0.11 * errors[0] + 1e-10


def test_the_limit_in_closed_form(xp):
    p = np.exp(LOGITS) / np.exp(LOGITS).sum()
    d = np.eye(4)[2]
    expected = (np.diag(p) + np.diag(d) - np.outer(p, d) - np.outer(d, p)) / 2
    draw = rbgs.GumbelRao(0).sample(xp.asarray(LOGITS), index=2)
    np.testing.assert_allclose(to_numpy(draw.jacobian()), expected, atol=1e-14)


def test_the_limit_is_unbiased_for_quadratic_losses():
    (moments,) = rbgs.compare([rbgs.GumbelRao(0)], ORACLE, LOGITS, draws=4, rng=0)
    assert moments.bias2 < 1e-28


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
def test_the_law_of_total_variance(temperature):
    # Eq. 13: var = E[var(STGS | D)] / (B K) + var(GR) / B.
    count = 40_000
    exact = rbgs.GumbelRao(temperature, sampling="exact")
    p = np.exp(LOGITS) / np.exp(LOGITS).sum()
    given = np.asarray([exact.gradient(ORACLE, LOGITS, index=i) for i in range(4)])
    between = np.sum(p[:, None] * (given - p @ given) ** 2)
    many = np.tile(LOGITS, (count, 1))
    one = rbgs.StraightThroughGumbelSoftmax(temperature)
    squares = np.asarray(
        [
            np.sum((one.gradient(ORACLE, many, index=i, rng=10 + i) - given[i]) ** 2, axis=-1)
            for i in range(4)
        ]
    )
    within = p @ squares.mean(axis=-1)
    within_error = np.sqrt(p**2 @ squares.var(axis=-1) / count)
    for b, k in ((1, 1), (1, 4), (4, 1), (3, 5), (2, 20)):
        rows = np.tile(LOGITS, (count, b, 1))
        paper = rbgs.GumbelRao(temperature, k, "monte_carlo", control_variate=False)
        estimates = paper.gradient(ORACLE, rows, rng=100 * b + k)
        estimates = estimates.mean(axis=1)
        deviations = np.sum((estimates - estimates.mean(axis=0)) ** 2, axis=-1)
        expected = within / (b * k) + between / b
        error = np.hypot(deviations.std() / np.sqrt(count), within_error / (b * k))
        assert abs(deviations.mean() - expected) < 5 * error


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0, 3.0])
def test_gumbel_rao_never_has_more_error(temperature):
    # Propositions 1 and 2; common random numbers make the comparison sharp.
    estimators = [
        rbgs.StraightThroughGumbelSoftmax(temperature),
        *(rbgs.GumbelRao(temperature, k, "monte_carlo", False) for k in (1, 2, 10)),
        rbgs.GumbelRao(temperature, sampling="exact"),
    ]
    moments = rbgs.compare(estimators, ORACLE, LOGITS, draws=20_000, rng=0)
    for worse, better in itertools.pairwise(moments):
        error = np.hypot(worse.mse_se, better.mse_se)
        assert better.mse < worse.mse + 3 * error
        assert better.variance < worse.variance + 3 * error
    # Where the temperature is low the gain is far beyond the error.
    if temperature <= 0.5:
        assert moments[0].mse > moments[3].mse + 5 * np.hypot(moments[0].mse_se, moments[3].mse_se)


def test_numpy_multiplies_one_matrix_for_all_rows(monkeypatch):
    """A stack of small ones makes its threads wait for each other once for each."""
    xp, axes = quadrature.array_namespace(np.zeros(1)), []

    def matmul(a, b):
        axes.append(a.ndim)
        return xp.matmul(a, b)

    recording = SimpleNamespace(**vars(xp) | {"matmul": matmul})
    monkeypatch.setattr(quadrature, "array_namespace", lambda _: recording)
    draw = rbgs.GumbelRao(0.5, sampling="exact").sample(np.zeros((20, 3)), rng=0)
    draw.vjp(np.ones((20, 3)))
    assert set(axes) == {2}
