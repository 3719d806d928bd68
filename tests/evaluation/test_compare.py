"""Compare: moments and their standard errors, against the exact gradient and a reference."""

import itertools

import numpy as np
import pytest
from array_api_compat import array_namespace
from backends import to_numpy
from cases import CASES, name, quadratic, softmax, standard_error_test

import rbgs

LOGITS = np.asarray([0.3, -0.2, 0.9])
TARGET, WEIGHTS = np.asarray([0.1, 0.7, 0.2]), np.asarray([1.0, 3.0, -2.0])
ORACLE = quadratic(np, TARGET, WEIGHTS)
JOINT = np.asarray([[0.5, -0.3, 0.1], [-0.2, 0.4, 0.9]])  # two variables that share a loss
RLOO = rbgs.Reinforce("leave_one_out", samples=4)


def cubic(value):
    """Return the oracle of the cube of a sum over the variables that share it."""
    xp = array_namespace(value)
    weights = xp.asarray([[0.3, 1.0, -0.8], [0.9, -0.4, 0.6]], dtype=value.dtype)
    total = xp.sum(weights * value, axis=(-2, -1))
    return total**3, 3 * total[..., None, None] ** 2 * weights


def joint_moments(estimator, logits):
    """Return bias², variance and MSE of a function of the outcome, from the definition."""
    p, exact = softmax(logits), rbgs.exact_gradient(cubic, logits)
    joint = list(itertools.product(range(3), repeat=2))
    chance = np.asarray([p[0, i] * p[1, j] for i, j in joint])
    found = np.asarray([estimator.gradient(cubic, logits, index=np.asarray(x)) for x in joint])
    mean = np.tensordot(chance, found, 1)
    mse = chance @ np.sum((found - exact) ** 2, axis=(1, 2))
    bias2 = np.sum((mean - exact) ** 2)
    return bias2, mse - bias2, mse


def test_compare_measures_what_is_known(xp):
    # Against direct formulas on many draws, and for the biased, deterministic estimator exactly.
    oracle = quadratic(xp, TARGET, WEIGHTS)
    estimators = [rbgs.StraightThroughGumbelSoftmax(0.5), rbgs.StraightThrough(0.8)]
    sampled, enumerated = rbgs.compare(estimators, oracle, xp.asarray(LOGITS), draws=20_000, rng=0)
    exact = rbgs.exact_gradient(ORACLE, LOGITS)
    estimates = estimators[0].gradient(ORACLE, np.tile(LOGITS, (400_000, 1)), rng=1)
    mse = np.sum((estimates - exact) ** 2, axis=-1)
    assert abs(float(sampled.mse) - mse.mean()) < 5 * np.hypot(
        float(sampled.mse_se), mse.std() / np.sqrt(400_000)
    )
    variance = estimates.var(axis=0).sum()
    assert abs(float(sampled.variance) - variance) < 6 * float(sampled.variance_se)
    bias2 = np.sum((estimates.mean(axis=0) - exact) ** 2)
    assert abs(float(sampled.bias2) - bias2) < 6 * float(sampled.bias2_se)

    p = softmax(LOGITS)
    given = np.asarray([estimators[1].gradient(ORACLE, LOGITS, index=i) for i in range(3)])
    assert float(enumerated.bias2) == pytest.approx(np.sum((p @ given - exact) ** 2))
    assert float(enumerated.variance) == pytest.approx(p @ np.sum((given - p @ given) ** 2, axis=1))
    assert float(enumerated.mse) == pytest.approx(p @ np.sum((given - exact) ** 2, axis=1))
    assert float(enumerated.mse_se) == 0
    assert enumerated.draws == 0


def test_the_standard_errors_of_compare_are_right():
    estimator = rbgs.StraightThroughGumbelSoftmax(0.5)
    logits = np.tile(LOGITS, (300, 1))  # 300 repetitions of the same measurement
    (moments,) = rbgs.compare([estimator], ORACLE, logits, draws=512, rng=0)
    for statistic in ("bias2", "variance", "mse"):
        spread = getattr(moments, statistic).std()
        error = np.sqrt(np.mean(getattr(moments, statistic + "_se") ** 2))
        assert 0.85 < error / spread < 1.15


def test_compare_estimates_the_squared_bias_without_bias():
    unbiased = rbgs.Reinforce(baseline=0.5, samples=2)
    (moments,) = rbgs.compare([unbiased], ORACLE, np.tile(LOGITS, (300, 1)), draws=512, rng=0)
    standard_error_test(moments.bias2, 0.0)


def test_compare_does_not_depend_on_the_chunks(monkeypatch):
    estimator = rbgs.StraightThroughGumbelSoftmax(0.5)
    logits = np.stack([LOGITS, -LOGITS])
    (whole,) = rbgs.compare([estimator], ORACLE, logits, draws=1003, rng=0)
    monkeypatch.setattr("rbgs.evaluation.measurement._CHUNK", 5 * logits.size)
    (chunked,) = rbgs.compare([estimator], ORACLE, logits, draws=1003, rng=0)
    for statistic in ("bias2", "bias2_se", "variance", "variance_se", "mse", "mse_se"):
        np.testing.assert_allclose(getattr(whole, statistic), getattr(chunked, statistic))


def test_compare_with_mask_axis_and_native_generator(backend, xp):
    logits = np.random.default_rng(0).normal(size=(4, 2))
    mask = np.asarray([True, False, True, True])[:, None]

    def oracle(value):
        weights = xp.reshape(xp.asarray([1.0, 9.0, 2.0, -1.0], dtype=xp.float64), (4, 1))
        return xp.sum(weights * value**2, axis=-2), 2 * weights * value

    estimators = [rbgs.GumbelRao(0.5, samples=4), rbgs.GumbelRao(0), rbgs.Reinforce()]
    moments = rbgs.compare(
        estimators,
        oracle,
        xp.asarray(logits),
        draws=1000,
        rng=backend.native_generator(0),
        mask=xp.asarray(mask),
        axis=0,
    )
    for row in moments:
        assert tuple(row.mse.shape) == (2,)
        assert np.all(to_numpy(row.mse) > 0)
    assert np.all(np.abs(to_numpy(moments[2].bias2)) < 1e-20)


@pytest.mark.parametrize("estimator", [c for c in CASES if c._function_of_outcome], ids=name)
def test_joint_outcomes_are_enumerated(xp, estimator):
    logits = np.stack([JOINT, -2 * JOINT])
    (found,) = rbgs.compare([estimator], cubic, xp.asarray(logits), draws=9, rng=0)
    assert (found.draws, tuple(found.mse.shape)) == (0, (2,))
    wanted = np.transpose([joint_moments(estimator, x) for x in logits])
    for statistic, value in zip(("bias2", "variance", "mse"), wanted, strict=True):
        np.testing.assert_allclose(to_numpy(getattr(found, statistic)), value, atol=1e-12)
        assert np.all(to_numpy(getattr(found, statistic + "_se")) == 0)


def test_more_joint_outcomes_than_draws_are_sampled_with_the_same_moments():
    estimator, logits = rbgs.GumbelRao(0), np.tile(JOINT, (300, 1, 1))
    (found,) = rbgs.compare([estimator], cubic, logits, draws=8, rng=0)
    assert found.draws == 8
    for statistic, value in zip(
        ("bias2", "variance", "mse"), joint_moments(estimator, JOINT), strict=True
    ):
        standard_error_test(getattr(found, statistic), value)


def test_a_loss_shared_by_all_variables_has_one_moment_each(xp):
    estimators = [rbgs.GumbelRao(0.5), RLOO]
    for moments in rbgs.compare(estimators, cubic, xp.asarray(JOINT), draws=20, rng=0):
        assert tuple(moments.mse.shape) == tuple(moments.bias2_se.shape) == ()


def test_the_target_of_vimco_is_the_gradient_of_its_bound():
    logits = np.tile(JOINT, (200, 1, 1))
    (found,) = rbgs.compare([rbgs.Vimco(2)], cubic, logits, draws=128, rng=0)
    standard_error_test(found.bias2, 0.0)
    (other,) = rbgs.compare(
        [rbgs.Vimco(2)], cubic, logits, draws=128, rng=0, reference=rbgs.Vimco(2)
    )
    standard_error_test(other.bias2, 0.0)


@pytest.mark.parametrize(
    ("estimator", "evaluations"),
    [
        (rbgs.GumbelRao(0.5), 1),
        (rbgs.StraightThrough(), 1),
        (RLOO, 4),
        (rbgs.MuProp(), 2),
        (rbgs.IndeCateR(), 7),
        (rbgs.Rebar(), 2),
        (rbgs.Relax(control_variate=cubic), 1),  # another function's do not count
        (rbgs.Vimco(3), 3),
    ],
    ids=str,
)
def test_evaluations_are_counted(estimator, evaluations):
    for draws in (10, 5):  # enumerated or not
        (found,) = rbgs.compare([estimator], cubic, JOINT, draws=draws, rng=0)
        assert found.evaluations == evaluations


def test_against_a_reference_the_squared_bias_is_unbiased_with_right_errors(xp):
    """For what is sampled, for what is enumerated, and without bias where the errors are larger."""
    logits = xp.asarray(np.tile(LOGITS, (300, 1)))  # 300 repetitions of the same measurement
    estimators = [rbgs.StraightThroughGumbelSoftmax(1.0), rbgs.StraightThrough(0.8), RLOO]
    oracle, draws = quadratic(xp, TARGET, WEIGHTS), 256
    known = rbgs.compare(estimators[:2], ORACLE, LOGITS, draws=100_000, rng=1)
    bias2 = [float(moments.bias2) for moments in known] + [0.0]
    error = [float(moments.bias2_se) for moments in known] + [0.0]
    against = rbgs.compare(
        estimators, oracle, logits, draws=draws, rng=0, reference=RLOO, reference_draws=128
    )
    for moments, wanted, its_error in zip(against, bias2, error, strict=True):
        found = to_numpy(moments.bias2)
        its_error = np.hypot(its_error, found.std() / np.sqrt(len(found)))
        assert abs(found.mean() - wanted) < 4 * its_error
        for statistic in ("bias2", "mse"):
            spread = to_numpy(getattr(moments, statistic)).std()
            errors = to_numpy(getattr(moments, statistic + "_se"))
            assert 0.85 < np.sqrt(np.mean(errors**2)) / spread < (1.15 if wanted else 1.7)
    assert np.all(to_numpy(against[1].variance_se) == 0)


def test_the_reference_has_randomness_of_its_own(backend, xp):
    """Were it that of the estimator, the difference of the same estimates would be 0."""
    logits, oracle = xp.asarray(LOGITS), quadratic(xp, TARGET, WEIGHTS)
    for rng in (0, np.random.SeedSequence(0), rbgs.Key(0), backend.native_generator(0)):
        (found,) = rbgs.compare([RLOO], oracle, logits, draws=8, rng=rng, reference=RLOO)
        assert abs(float(found.bias2) + float(found.variance) / 4) > 1e-6


def test_with_a_reference_nothing_is_enumerated():
    def oracle(value):
        assert value.shape[-3] <= 8
        total = np.sum(value[..., 0], axis=-1)
        return total, np.broadcast_to([1.0, 0.0], value.shape)

    (found,) = rbgs.compare(
        [rbgs.GumbelRao(1.0)], oracle, np.zeros((40, 2)), draws=8, rng=0, reference=RLOO
    )
    assert np.isfinite(found.mse)
