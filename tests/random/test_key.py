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


def test_keys_of_a_shard_stay_keys_of_it():
    shard = rbgs.Key(3).at(4, shape=(6, 2))
    assert shard.fold_in(7) == rbgs.Key(3).fold_in(7).at(4, shape=(6, 2))
    assert shard.split(3) == [key.at(4, shape=(6, 2)) for key in rbgs.Key(3).split(3)]
    like = np.zeros(1)
    whole = rbgs.Key(3).fold_in(7).uniform((6, 2), like)
    np.testing.assert_array_equal(shard.fold_in(7).uniform((2, 2), like), whole[4:])


def test_a_part_of_a_shard(xp):
    like = xp.zeros(1, dtype=xp.float64)
    whole = rbgs.Key(3).uniform((6, 5, 4), np.zeros(1))
    shard = rbgs.Key(3).at(2, 1, shape=(6, 5, 4))._part((1, 0, 2), (3, 4, 4))
    np.testing.assert_array_equal(to_numpy(shard.uniform((2, 3, 2), like)), whole[3:5, 1:4, 2:])
    rows = rbgs.Key(3).at(2)._part((1, 0, 2), (3, 5, 4))
    np.testing.assert_array_equal(to_numpy(rows.uniform((2, 3, 2), like)), whole[3:5, :3, 2:])


def test_counters_from_two_to_the_31_on(xp):
    like = xp.zeros(1, dtype=xp.float64)
    for start in (2**31 - 2, 2**31, 2**32 - 4):
        flat = to_numpy(rbgs.Key(3).at(start).uniform((4,), like))
        pairs = to_numpy(rbgs.Key(3).at(start // 2).uniform((2, 2), like))
        cut = rbgs.Key(3).at(start // 4, start % 4, shape=(2**30, 4)).uniform((1, 2), like)
        np.testing.assert_array_equal(flat, pairs.reshape(-1))
        np.testing.assert_array_equal(flat[:2], to_numpy(cut)[0])
    with pytest.raises(ValueError, match="split it"):
        rbgs.Key(3).at(2**32 - 3).uniform((4,), like)


@pytest.mark.parametrize(
    ("start", "shape", "of_part", "error", "message"),
    [
        ((-1,), None, (2, 3), ValueError, "at least 0, got -1"),
        ((1.5,), None, (2, 3), TypeError, "must be an int, got float"),
        ((True,), None, (2, 3), TypeError, "must be an int, got bool"),
        ((0,), (2.5, 3), (2, 3), TypeError, "must be an int, got float"),
        ((0,), (-2, 3), (2, 3), ValueError, "at least 0, got -2"),
        ((0, 0, 0), (6, 3), (2, 3), ValueError, "outside the shape"),
        ((7,), (6, 3), (2, 3), ValueError, "outside the shape"),
        ((0, 0, 0), None, (2, 3), ValueError, "another number of axes"),
        ((0,), (6,), (2, 3), ValueError, "another number of axes"),
        ((0,), (6, 3, 1), (2, 3), ValueError, "another number of axes"),
        ((5,), (6, 3), (2, 3), ValueError, "does not fit into the whole"),
        ((0, 1), (6, 3), (2, 3), ValueError, "does not fit into the whole"),
        ((0,), (6, 2), (2, 3), ValueError, "does not fit into the whole"),
        ((0, 1), None, (2, 3), ValueError, r"needs the shape of the whole.*key\.at"),
        ((2**31,), None, (2, 3), ValueError, "split it"),
    ],
    ids=str,
)
def test_a_place_that_is_none_is_refused(start, shape, of_part, error, message):
    with pytest.raises(error, match=message):
        rbgs.Key(0).at(*start, shape=shape).uniform(of_part, np.zeros(1))
    with pytest.raises(error, match=message):
        rbgs.Key(0, start, shape).uniform(of_part, np.zeros(1))


def test_a_traced_start():
    jax = pytest.importorskip("jax")

    def part(start, shape):
        return rbgs.Key(3).fold_in(1).at(start, shape=shape).uniform((2, 3), jax.numpy.zeros(1))

    whole = rbgs.Key(3).fold_in(1).uniform((6, 3), np.zeros(1, jax.numpy.zeros(1).dtype))
    for shape in (None, (6, 3)):
        np.testing.assert_array_equal(jax.jit(part, static_argnums=1)(4, shape), whole[4:])
    assert rbgs.Key(0).at(jax.numpy.asarray(4)) == rbgs.Key(0).at(np.int32(4)) == rbgs.Key(0).at(4)
    with pytest.raises(TypeError, match=r"must be an integer \(\), got float"):
        jax.jit(part, static_argnums=1)(1.5, None)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=name)
def test_the_same_draw_in_every_library(xp, estimator):
    logits = np.random.default_rng(0).normal(size=(6, 4))
    ours = estimator.sample(logits, rng=rbgs.Key(5))
    theirs = estimator.sample(xp.asarray(logits), rng=rbgs.Key(5))
    np.testing.assert_array_equal(ours.index, to_numpy(theirs.index))
    if estimator._pathwise:
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
    with pytest.raises(TypeError, match="must be an int, got bool"):
        rbgs.Key(True)
    with pytest.raises(TypeError, match="must be an int, got float"):
        rbgs.Key(0).split(1.5)
    with pytest.raises(ValueError, match="count must be at least 0, got -1"):
        rbgs.Key(0).split(-1)


def test_too_many_numbers_are_refused():
    with pytest.raises(ValueError, match="split it"):
        rbgs.Key(0).uniform((2**17, 2**16), np.zeros(1))


def test_a_traced_number_is_refused_with_the_way_out():
    jax = pytest.importorskip("jax")
    with pytest.raises(TypeError, match=r"use jax\.random\.fold_in"):
        jax.jit(lambda step: rbgs.Key(0).fold_in(step))(1)
