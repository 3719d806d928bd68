"""`rbgs.Key`: the same numbers in every library, for every sharding, and those of JAX."""

import numpy as np
import pytest
from backends import to_numpy
from cases import ESTIMATORS, name
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

import rbgs

SEEDS = (0, 1, 2**31, 2**63 + 12345)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_numbers_in_every_library(xp, seed, dtype):
    here = rbgs.Key(seed).uniform((5, 3), xp.zeros(1, dtype=getattr(xp, dtype)))
    there = rbgs.Key(seed).uniform((5, 3), np.zeros(1, dtype))
    np.testing.assert_array_equal(to_numpy(here), there)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_numbers_and_keys_of_jax(seed):
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    words = jax.numpy.asarray([seed >> 32, seed % 2**32], dtype="uint32")
    ours, theirs = rbgs.Key(seed), jax.random.wrap_key_data(words)

    def seed_of(key):
        high, low = jax.random.key_data(key)
        return int(high) * 2**32 + int(low)

    estimator = rbgs.StraightThroughGumbelSoftmax(0.5)
    for dtype in ("float32", "float64"):
        drawn = estimator.noise(jax.numpy.zeros((4, 5), dtype), theirs)
        assert drawn.dtype == dtype
        np.testing.assert_array_equal(ours.uniform((4, 5), np.zeros(1, dtype)), drawn)
        # JAX's own numbers are the left ends of cells, in single precision 2^-23 wide.
        within = drawn - jax.random.uniform(theirs, (4, 5), dtype=dtype)
        assert within.min() >= 0
        assert within.max() <= (2.0**-23 if dtype == "float32" else 0)
    bits = jax.random.bits(theirs, (20,), "uint64") >> 12
    np.testing.assert_array_equal(ours.uniform((20,), np.zeros(1)) * 2.0**52, bits)
    assert ours.fold_in(77).seed == seed_of(jax.random.fold_in(theirs, 77))
    assert [key.seed for key in ours.split(3)] == [seed_of(k) for k in jax.random.split(theirs, 3)]


@given(
    seed=st.integers(0, 2**64 - 1),
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    data=st.data(),
)
def test_a_shard_has_its_part_of_the_noise(seed, shape, data):
    start = [data.draw(st.integers(0, size - 1)) for size in shape]
    stop = [data.draw(st.integers(a + 1, size)) for a, size in zip(start, shape, strict=True)]
    like = np.zeros(1)
    whole = rbgs.Key(seed).uniform(tuple(shape), like)
    sizes = tuple(b - a for a, b in zip(start, stop, strict=True))
    part = rbgs.Key(seed).at(*start, shape=tuple(shape)).uniform(sizes, like)
    chosen = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    np.testing.assert_array_equal(part, whole[chosen])


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=name)
def test_the_same_draw_in_every_library(xp, estimator):
    logits = np.random.default_rng(0).normal(size=(6, 4))
    ours = estimator.sample(logits, rng=rbgs.Key(5))
    theirs = estimator.sample(xp.asarray(logits), rng=rbgs.Key(5))
    np.testing.assert_array_equal(ours.index, to_numpy(theirs.index))
    if not isinstance(estimator, rbgs.Reinforce):
        product = to_numpy(theirs.vjp(xp.asarray(logits)))
        np.testing.assert_allclose(product, ours.vjp(logits), atol=1e-12)


def test_uniform_and_without_correlation_between_keys_and_neighbours():
    keys = rbgs.Key(3).split(20)
    drawn = np.stack([key.uniform((20_000,), np.zeros(1, "f4")) for key in keys])
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert kstest(drawn.ravel(), "uniform").pvalue > 1e-3
    scaled = (drawn - 0.5) * np.sqrt(12)
    error = 1 / np.sqrt(drawn.shape[1])
    between_keys = np.corrcoef(scaled)[np.triu_indices(20, 1)]
    assert np.abs(between_keys).max() < 5 * error
    neighbours = (scaled[:, 1:] * scaled[:, :-1]).mean(axis=1)
    assert np.abs(neighbours).max() < 5 * error


def test_compare_takes_a_key():
    def oracle(value):
        return (value**2).sum(axis=-1), 2 * value

    estimators = [rbgs.StraightThroughGumbelSoftmax(0.5)]
    first, second = (
        rbgs.compare(estimators, oracle, np.zeros(3), draws=200, rng=rbgs.Key(seed))[0].variance
        for seed in (0, 0)
    )
    assert first == second


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match="must lie in 0"):
        rbgs.Key(seed)


def test_a_seed_of_another_kind_is_refused():
    with pytest.raises(TypeError, match="must be an int, got float"):
        rbgs.Key(0.5)


def test_too_many_numbers_are_refused():
    with pytest.raises(ValueError, match="split it"):
        rbgs.Key(0).uniform((2**17, 2**16), np.zeros(1))


def test_a_traced_number_is_refused_with_the_way_out():
    jax = pytest.importorskip("jax")
    with pytest.raises(TypeError, match=r"use jax\.random\.fold_in"):
        jax.jit(lambda step: rbgs.Key(0).fold_in(step))(1)
