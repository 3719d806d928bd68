"""REINFORCE's state: the normalisation of NVIL."""

import numpy as np
import pytest
from backends import to_numpy
from cases import quadratic

import rbgs

LOGITS = np.random.default_rng(0).normal(size=(500, 3))
TARGET, WEIGHTS = np.asarray([0.1, 0.7, 0.2]), np.asarray([10.0, 30.0, -20.0])


def test_the_signal_is_divided_by_what_is_above_one(xp):
    logits, oracle = xp.asarray(LOGITS[:2]), quadratic(xp, TARGET, WEIGHTS)
    plain = to_numpy(rbgs.Reinforce(1.5).gradient(oracle, logits, rng=0))
    for scale, divisor in ((4.0, 4.0), (0.2, 1.0), (xp.asarray([0.2, 4.0]), [[1.0], [4.0]])):
        estimator = rbgs.Reinforce(1.5, scale=scale)
        found = to_numpy(estimator.gradient(oracle, logits, rng=0))
        np.testing.assert_allclose(found, plain / np.asarray(divisor))


def test_a_running_deviation_scales_by_the_signals_of_earlier_calls(xp):
    logits, oracle = xp.asarray(LOGITS), quadratic(xp, TARGET, WEIGHTS)
    scale = rbgs.RunningDeviation()
    estimator = rbgs.Reinforce(2.0, scale=scale)
    first = to_numpy(estimator.gradient(oracle, logits, rng=0))
    plain = rbgs.Reinforce(2.0)
    np.testing.assert_allclose(first, to_numpy(plain.gradient(oracle, logits, rng=0)))
    losses = to_numpy(oracle(plain.sample(logits, rng=0).value)[0])
    assert scale.value == pytest.approx(losses.std())
    assert scale.value > 1
    second = to_numpy(estimator.gradient(oracle, logits, rng=1))
    expected = to_numpy(plain.gradient(oracle, logits, rng=1)) / losses.std()
    np.testing.assert_allclose(second, expected)


def test_a_running_deviation_forgets():
    scale = rbgs.RunningDeviation(decay=0.5)
    for _ in range(40):
        scale.update(np.asarray([-1.0, 5.0, np.nan]))
    assert scale.value == pytest.approx(3.0)
    for _ in range(40):
        scale.update(np.asarray([99.0, 101.0]))
    assert scale.value == pytest.approx(1.0)
    assert repr(scale) == f"RunningDeviation(value={scale.value})"


def test_state_inside_a_program_of_jax_is_refused_with_the_way_out():
    jax = pytest.importorskip("jax")
    logits, oracle = jax.numpy.zeros((4, 3)), quadratic(jax.numpy, TARGET, WEIGHTS)
    for estimator in (
        rbgs.Reinforce(rbgs.RunningMean()),
        rbgs.Reinforce(scale=rbgs.RunningDeviation()),
        rbgs.Rebar(eta=rbgs.RunningCoefficient()),
    ):
        with pytest.raises(TypeError, match=r"traced by JAX: carry its number as an array"):
            jax.jit(lambda x, e=estimator: e.gradient(oracle, x, rng=0))(logits)
