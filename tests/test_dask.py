"""Dask: lazy, the same for any chunking, on threads and on a cluster of processes."""

import numpy as np
import pytest
from cases import PATHWISE, name
from hypothesis import given, settings
from hypothesis import strategies as st

import rbgs

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
door = pytest.importorskip("rbgs.dask")

SHAPE = (6, 5, 4)
LOGITS = np.random.default_rng(0).normal(size=SHAPE)
VECTOR = np.random.default_rng(1).normal(size=SHAPE)


@pytest.fixture(autouse=True)
def one_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.mark.parametrize("estimator", PATHWISE, ids=name)
@settings(max_examples=8)
@given(data=st.data(), axis=st.integers(-3, 2))
def test_the_same_for_any_chunks(estimator, data, axis):
    chunks = [data.draw(st.integers(1, size)) for size in SHAPE]
    chunks[axis] = -1
    logits = da.from_array(LOGITS, chunks=tuple(chunks))
    key = rbgs.Key(7)
    lazy = door.sample(estimator, logits, key=key, axis=axis)
    draw = estimator.sample(LOGITS, rng=key, axis=axis)
    results = {
        "value": (lazy.value, draw.value),
        "index": (lazy.index, draw.index),
        "vjp": (lazy.vjp(VECTOR), draw.vjp(VECTOR)),
        "jvp": (lazy.jvp(da.from_array(VECTOR)), draw.jvp(VECTOR)),
        "jacobian": (lazy.jacobian(), draw.jacobian()),
    }
    for what, (chunked, whole) in results.items():
        assert chunked.shape == whole.shape
        assert chunked.dtype == whole.dtype
        computed = chunked.compute()
        np.testing.assert_allclose(computed, whole, atol=1e-12, err_msg=what)
    assert lazy.value.chunks == logits.chunks


@pytest.mark.parametrize("shape", [None, (9, 8, 4)])
def test_a_key_of_a_shard(shape):
    estimator = rbgs.GumbelRao(0.5)
    logits = da.from_array(LOGITS, chunks=(2, 3, 4))
    key = rbgs.Key(7).at(3) if shape is None else rbgs.Key(7).at(3, 1, shape=shape)
    whole = rbgs.Key(7).uniform(shape or (9, 5, 4), np.zeros(1))
    of_shard = whole[3:] if shape is None else whole[3:, 1:6]
    np.testing.assert_array_equal(door.noise(estimator, logits, key).compute(), of_shard)
    draw = estimator.sample(LOGITS, rng=key)
    np.testing.assert_array_equal(
        door.sample(estimator, logits, key=key).value.compute(), draw.value
    )
    with pytest.raises(ValueError, match="does not fit into the whole"):
        door.noise(estimator, logits, rbgs.Key(7).at(4, shape=(9, 5, 4)))


def test_nothing_is_computed_before_it_is_asked_for():
    def fail(_):
        raise AssertionError("computed")

    logits = da.map_blocks(
        fail, da.zeros((4, 3), chunks=(2, 3)), dtype=float, meta=np.zeros((0, 0))
    )
    lazy = door.sample(rbgs.GumbelRao(0.5), logits, key=rbgs.Key(0))
    product = lazy.vjp(lazy.value)
    with pytest.raises(AssertionError, match="computed"):
        product.compute()


def test_half_precision_mask_index_and_noise():
    logits = da.from_array(LOGITS.astype("float32"), chunks=(2, 5, 4))
    mask = np.asarray([True, False, True, True])
    index = np.asarray([0, 2, 3, 0, 2])
    estimator = rbgs.GumbelRao(0.5, 8, "monte_carlo")
    noise = door.noise(estimator, logits, rbgs.Key(1))
    assert noise.shape == (6, 5, 6)
    lazy = door.sample(
        estimator, logits, noise=noise, mask=mask, index=da.broadcast_to(index, (6, 5))
    )
    draw = estimator.sample(
        LOGITS.astype("float32"),
        noise=noise.compute(),
        mask=mask,
        index=np.broadcast_to(index, (6, 5)),
    )
    np.testing.assert_array_equal(lazy.value.compute(), draw.value)
    given = door.sample(estimator, logits, noise=noise, index=2)
    assert (given.index.compute() == 2).all()


def test_index_and_noise_of_numpy():
    logits = da.from_array(LOGITS, chunks=(4, 2, 4))
    estimator, key = rbgs.GumbelRao(0.5), rbgs.Key(1)
    index = np.random.default_rng(2).integers(4, size=(6, 5))
    noise = estimator.noise(LOGITS, key)
    expected = estimator.sample(LOGITS, noise=noise, index=index)
    lazy = door.sample(estimator, logits, noise=noise, index=index)
    np.testing.assert_array_equal(lazy.index.compute(), index)
    np.testing.assert_allclose(lazy.vjp(VECTOR).compute(), expected.vjp(VECTOR), atol=1e-12)
    for one in (2, np.int64(2), np.int8(2), np.asarray(2), da.asarray(2)):
        given = door.sample(estimator, logits, key=key, index=one)
        assert (given.index.compute() == 2).all()
    with pytest.raises(ValueError, match=r"index has shape \(5, 6\); shape \(6, 5\)"):
        door.sample(estimator, logits, key=key, index=index.T)
    with pytest.raises(ValueError, match=r"noise has shape \(6, 5\); shape \(6, 5, 4\)"):
        door.sample(estimator, logits, noise=noise[..., 0])
    with pytest.raises(ValueError, match=r"mask has shape \(3,\), which does not broadcast"):
        door.sample(estimator, logits, key=key, mask=np.ones(3, bool))


def test_errors_name_the_fix():
    estimator, key, logits = rbgs.GumbelRao(0.5), rbgs.Key(0), da.zeros((4, 4), chunks=2)
    with pytest.raises(ValueError, match=r"from logits\.rechunk\(\{-1: -1\}\)"):
        door.sample(estimator, logits, key=key)
    logits = logits.rechunk({-1: -1})
    with pytest.raises(TypeError, match=r"a rbgs\.Key\(seed\) is wanted"):
        door.sample(estimator, logits, key=np.random.default_rng(0))
    with pytest.raises(TypeError, match=r"pass float\(temperature\)"):
        door.sample(rbgs.GumbelRao(np.asarray([0.5])), logits, key=key)
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        door.sample(estimator, logits[da.arange(4, chunks=2) > 1], key=key)
    with pytest.raises(ValueError, match="pass one of them"):
        door.sample(estimator, logits, key=key, noise=logits)
    with pytest.raises(ValueError, match="cotangent has shape"):
        door.sample(estimator, logits, key=key).vjp(logits[:2])


def test_two_workers_of_a_cluster():
    distributed = pytest.importorskip("distributed")
    estimator, key = rbgs.GumbelRao(0.5), rbgs.Key(0)
    logits = np.random.default_rng(0).normal(size=(400, 10, 4)).astype("float32")
    expected = estimator.sample(logits, rng=key)

    def where(_):
        worker = distributed.get_worker().address
        return np.full((1, 1, 1), hash(worker) % 2**53, dtype=float)

    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster) as client,
        dask.config.set(scheduler=client),
    ):
        client.wait_for_workers(2)
        chunked = da.from_array(logits, chunks=(50, 10, 4))
        draw = door.sample(estimator, chunked, key=key)
        gradient = draw.vjp(2 * (draw.value - 0.25))
        workers = gradient.map_blocks(where, dtype=float, chunks=(1, 1, 1))
        value, gradient, workers = dask.compute(draw.value, gradient, workers)
    np.testing.assert_array_equal(value, expected.value)
    np.testing.assert_allclose(gradient, expected.vjp(2 * (expected.value - 0.25)), atol=1e-6)
    assert len(np.unique(workers)) == 2
