"""The derivative as a linear operator: properties 4, 8, 9, 10 and 12."""

import dataclasses

import numpy as np
import pytest
from backends import to_numpy
from cases import ESTIMATORS, NUMBERED, PATHWISE, logits_arrays, name, softmax, temperatures
from hypothesis import given
from hypothesis import strategies as st

import rbgs

seeds = st.integers(0, 2**32 - 1)
each_pathwise = pytest.mark.parametrize("estimator", PATHWISE, ids=name)
each_estimator = pytest.mark.parametrize("estimator", ESTIMATORS, ids=name)


@each_pathwise
@given(logits=logits_arrays(), seed=seeds)
def test_symmetric_linear_and_rows_sum_to_zero(xp, estimator, logits, seed):
    rng = np.random.default_rng(seed)
    draw = estimator.sample(xp.asarray(logits), rng=seed)
    a = to_numpy(draw.jacobian())
    scale = 1e-12 * (1 + np.abs(a).max())
    np.testing.assert_allclose(a, np.swapaxes(a, -1, -2), atol=scale)
    np.testing.assert_allclose(a.sum(axis=-1), 0, atol=10 * scale)
    v, w = rng.normal(size=(2, *logits.shape))
    jvp = to_numpy(draw.jvp(xp.asarray(v)))
    np.testing.assert_allclose(jvp, np.einsum("...ij,...j->...i", a, v), atol=50 * scale)
    np.testing.assert_array_equal(jvp, to_numpy(draw.vjp(xp.asarray(v))))
    both = to_numpy(draw.jvp(xp.asarray(2 * v - 3 * w)))
    apart = 2 * jvp - 3 * to_numpy(draw.jvp(xp.asarray(w)))
    np.testing.assert_allclose(both, apart, atol=100 * scale)


@pytest.mark.parametrize("sampling", ["monte_carlo", "lattice", "exact"])
@given(logits=logits_arrays(), temperature=temperatures, seed=seeds)
def test_gumbel_rao_is_positive_semidefinite(sampling, logits, temperature, seed):
    estimator = rbgs.GumbelRao(temperature, 5, sampling, control_variate=False)
    a = estimator.sample(logits, rng=seed).jacobian()
    assert np.linalg.eigvalsh(a).min() > -1e-12 * (1 + np.abs(a).max())


@each_estimator
@given(logits=logits_arrays(), shift=st.floats(-100, 100), seed=seeds)
def test_a_shift_of_the_logits_changes_nothing(xp, estimator, logits, shift, seed):
    draw = estimator.sample(xp.asarray(logits), rng=seed)
    shifted = estimator.sample(xp.asarray(logits + shift), rng=seed)
    np.testing.assert_allclose(to_numpy(draw.value), to_numpy(shifted.value), atol=1e-9)
    if estimator in PATHWISE:
        v = xp.asarray(np.arange(logits.size, dtype=float).reshape(logits.shape))
        np.testing.assert_allclose(to_numpy(draw.jvp(v)), to_numpy(shifted.jvp(v)), atol=1e-7)


@each_pathwise
@given(logits=logits_arrays(), seed=seeds)
def test_a_permutation_of_categories_permutes_the_result(xp, estimator, logits, seed):
    n = logits.shape[-1]
    order = np.random.default_rng(seed).permutation(n)
    if estimator in NUMBERED:
        estimator = dataclasses.replace(estimator, samples=1)
    noise = to_numpy(estimator.noise(xp.asarray(logits), seed))
    draw = estimator.sample(xp.asarray(logits), noise=xp.asarray(noise))
    permuted = estimator.sample(xp.asarray(logits[..., order]), noise=xp.asarray(noise[..., order]))
    np.testing.assert_allclose(to_numpy(draw.value)[..., order], to_numpy(permuted.value))
    a = to_numpy(draw.jacobian())[..., order, :][..., order]
    np.testing.assert_allclose(a, to_numpy(permuted.jacobian()), atol=1e-10 * (1 + np.abs(a).max()))


@each_estimator
@given(logits=logits_arrays(forbidden=False), seed=seeds, where=st.integers(0, 6))
def test_a_masked_category_equals_a_removed_one(xp, estimator, logits, seed, where):
    if estimator in NUMBERED:
        estimator = dataclasses.replace(estimator, samples=1)
    where %= logits.shape[-1] + 1
    mask = np.insert(np.ones(logits.shape, bool), where, False, axis=-1)
    padded = np.insert(logits, where, 3.0, axis=-1)
    noise = to_numpy(estimator.noise(xp.asarray(padded), seed))
    draw = estimator.sample(xp.asarray(padded), noise=xp.asarray(noise), mask=xp.asarray(mask))
    removed = estimator.sample(
        xp.asarray(logits), noise=xp.asarray(np.delete(noise, where, axis=-1))
    )
    value = to_numpy(draw.value)
    assert np.all(value[..., where] == 0)
    np.testing.assert_allclose(np.delete(value, where, -1), to_numpy(removed.value), atol=1e-12)
    if estimator in PATHWISE:
        a = to_numpy(draw.jacobian())
        assert np.all(a[..., where, :] == 0)
        a = np.delete(np.delete(a, where, -1), where, -2)
        np.testing.assert_allclose(a, to_numpy(removed.jacobian()), atol=1e-10)


@pytest.mark.parametrize("estimator", NUMBERED, ids=name)
def test_a_masked_category_equals_a_removed_one_in_law(estimator):
    # Further samples are numbered by category, so only their law is the same.
    count = 20_000
    logits, mask = np.asarray([0.2, 9.0, -0.5, 0.4]), np.asarray([True, False, True, True])
    padded = estimator.sample(np.tile(logits, (count, 1)), mask=mask, index=0, rng=0).jacobian()
    removed = estimator.sample(np.tile(logits[mask], (count, 1)), index=0, rng=1).jacobian()
    a, b = padded[:, mask][:, :, mask], removed
    error = np.sqrt((a.var(axis=0) + b.var(axis=0)) / count)
    assert np.all(np.abs(a.mean(axis=0) - b.mean(axis=0)) < 5 * error)


@given(logits=logits_arrays(), temperature=temperatures, seed=seeds)
def test_finite_differences_at_fixed_gumbels(logits, temperature, seed):
    rng = np.random.default_rng(seed)
    estimator = rbgs.GumbelSoftmax(temperature)
    noise = np.clip(estimator.noise(logits, rng), 1e-6, 1 - 1e-6)
    gumbels, v, h = -np.log(-np.log1p(-noise)), rng.normal(size=logits.shape), 1e-5

    def relaxed(x):
        return softmax((x + gumbels) / temperature)

    draw = estimator.sample(logits, noise=noise)
    np.testing.assert_allclose(draw.value, relaxed(logits), atol=1e-9)
    difference = (relaxed(logits + h * v) - relaxed(logits - h * v)) / (2 * h)
    tolerance = 1e-6 * (1 + np.abs(v).max() ** 3 / temperature**3)
    np.testing.assert_allclose(draw.jvp(v), difference, atol=tolerance)
    straight = rbgs.StraightThroughGumbelSoftmax(temperature).sample(logits, noise=noise)
    np.testing.assert_array_equal(straight.jvp(v), draw.jvp(v))


@each_estimator
@given(logits=logits_arrays(), seed=seeds)
def test_the_same_noise_gives_the_same_result_in_every_library(xp, estimator, logits, seed):
    noise = estimator.noise(logits, seed)
    here = estimator.sample(logits, noise=noise)
    there = estimator.sample(xp.asarray(logits), noise=xp.asarray(noise))
    np.testing.assert_array_equal(here.index, to_numpy(there.index))
    np.testing.assert_allclose(here.value, to_numpy(there.value), rtol=1e-9, atol=1e-12)
    if estimator in PATHWISE:
        v = np.cos(np.arange(logits.size, dtype=float)).reshape(logits.shape)
        expected = here.jvp(v)
        tolerance = 1e-9 * (1 + np.abs(expected).max())
        np.testing.assert_allclose(
            to_numpy(there.jvp(xp.asarray(v))), expected, rtol=1e-9, atol=tolerance
        )


def test_one_sample_of_gumbel_rao_is_straight_through_gumbel_softmax(xp):
    logits = xp.asarray(np.random.default_rng(0).normal(size=(50, 4)))
    one, rao = (
        rbgs.StraightThroughGumbelSoftmax(0.3),
        rbgs.GumbelRao(0.3, samples=1, control_variate=False),
    )
    noise = one.noise(logits, 0)
    np.testing.assert_allclose(
        to_numpy(one.sample(logits, noise=noise).jacobian()),
        to_numpy(rao.sample(logits, noise=noise).jacobian()),
        atol=1e-14,
    )


@pytest.mark.parametrize("make", [rbgs.StraightThrough, rbgs.StraightThroughGumbelSoftmax])
def test_one_temperature_forward_and_another_one_backward(xp, make):
    forward, backward, count = 2.0, 0.5, 20_000
    logits = np.asarray([1.0, 0.0, -1.0])
    noise = np.random.default_rng(0).random((count, 3))
    rows = xp.asarray(np.tile(logits / forward, (count, 1)))
    draw = make(backward / forward).sample(rows, noise=xp.asarray(noise))
    p = softmax(logits / forward)
    frequency = to_numpy(draw.value).mean(axis=0)
    assert np.all(np.abs(frequency - p) < 5 * np.sqrt(p * (1 - p) / count))
    point = softmax(logits / backward)
    if make is rbgs.StraightThroughGumbelSoftmax:
        # The perturbed logits in terms of the race that the noise is.
        relaxed = rbgs.GumbelSoftmax(backward / forward).sample(rows, noise=xp.asarray(noise))
        point = to_numpy(relaxed.value)
    expected = (point[..., None] * np.eye(3) - point[..., None] * point[..., None, :]) / backward
    jacobian = to_numpy(draw.jacobian()) / forward  # the chain rule
    np.testing.assert_allclose(jacobian, np.broadcast_to(expected, jacobian.shape), atol=1e-12)
