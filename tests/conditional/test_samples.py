"""The lattice, the control variate and the engines: what they promise beyond the mean."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from backends import to_numpy
from cases import logits_arrays, temperatures
from hypothesis import given
from hypothesis import strategies as st

import rbgs
from rbgs.arrays.simplex import log_softmax
from rbgs.conditional import control_variate
from rbgs.conditional.lattice import generators
from rbgs.conditional.race import race

LOGITS = np.asarray([0.518, 1.232, 0.496, -0.955])


def variance(estimator, logits, rows=4000, index=0):
    """Return the variance of the product with a fixed vector, given the outcome."""
    v = np.cos(np.arange(len(logits)))
    draw = estimator.sample(np.tile(logits, (rows, 1)), index=index, rng=0)
    return draw.jvp(np.tile(v, (rows, 1))).var(axis=0).sum()


@pytest.mark.parametrize("samples", [1, 2, 3, 4, 10, 16, 97, 1000, 70_001, 10**6])
def test_generators_make_every_coordinate_equidistant(samples):
    for z in generators(samples)[:4]:
        assert 0 < z <= max(1, samples)
        assert z * (samples - 1) < 2**31
        turns = np.arange(samples, dtype=np.int64) * z % samples
        assert len(np.unique(turns)) == samples


@given(
    logits=logits_arrays(forbidden=False), temperature=st.floats(0.05, 2), seed=st.integers(0, 99)
)
def test_two_categories_are_exact_with_the_control_variate(logits, temperature, seed):
    logits = logits[..., :2] if logits.shape[-1] >= 2 else np.repeat(logits, 2, axis=-1)
    logits = np.clip(logits, -3, 3)
    exact = rbgs.GumbelRao(temperature, sampling="exact").sample(logits, rng=seed)
    for sampling in ("monte_carlo", "lattice"):
        estimator = rbgs.GumbelRao(temperature, 3, sampling, control_variate=True)
        draw = estimator.sample(logits, rng=seed, index=exact.index)
        np.testing.assert_allclose(draw.jacobian(), exact.jacobian(), atol=2e-8)


@pytest.mark.parametrize(
    ("sampling", "reduced", "temperature", "factor"),
    [
        # Variance-reduction factors at K = 16, below what `nox -s variance` measures.
        ("lattice", False, 0.5, 4.0),
        ("lattice", False, 1.0, 5.0),
        ("monte_carlo", True, 0.1, 20.0),
        ("monte_carlo", True, 0.5, 3.0),
        ("lattice", True, 0.1, 20.0),
        ("lattice", True, 0.5, 10.0),
        ("lattice", True, 1.0, 8.0),
    ],
)
@pytest.mark.usefixtures("engine")
def test_the_variance_falls(sampling, reduced, temperature, factor):
    paper = rbgs.GumbelRao(temperature, 16, "monte_carlo", control_variate=False)
    better = rbgs.GumbelRao(temperature, 16, sampling, control_variate=reduced)
    assert variance(paper, LOGITS) > factor * variance(better, LOGITS)


def test_the_constants_of_the_control_variate():
    # Against a fine rule in q: P(q > x) = 1 / (1 + p x), r = (1 + q)^(-1/tau).
    u = (np.arange(2_000_000) + 0.5) / 2_000_000
    p = np.asarray([[0.5], [0.3], [0.15], [0.05]])
    winner = np.asarray([[1.0], [0.0], [0.0], [0.0]])
    for temperature in (0.3, 1.0):
        others, expected = control_variate.constants(p, winner, temperature)
        for j in range(1, 4):
            r = (1 + (1 / u - 1) / p[j]) ** (-1 / temperature)
            assert expected[j, 0] == pytest.approx(np.mean(r / (others[j] + r) ** 2), rel=1e-5)
        assert expected[0, 0] == 0


@given(
    logits=logits_arrays(),
    temperature=st.one_of(temperatures, st.sampled_from([1.0, 0.5, 0.25, 0.125])),
    seed=st.integers(0, 99),
)
@pytest.mark.parametrize("sampling", ["monte_carlo", "lattice"])
@pytest.mark.parametrize("reduced", [True, False])
def test_the_compiled_engine_equals_numpy(sampling, reduced, logits, temperature, seed):
    pytest.importorskip("numba")
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-5)):
        if dtype == np.float32 and temperature < 0.1:
            continue
        row = logits.astype(dtype)
        estimator = rbgs.GumbelRao(temperature, 33, sampling, reduced)
        draw = estimator.sample(row, rng=seed)
        v = np.cos(np.arange(row.size, dtype=dtype)).reshape(row.shape)
        rbgs.set_compiled(True)
        compiled = draw.jvp(v)
        rbgs.set_compiled(False)
        reference = draw.jvp(v)
        rbgs.set_compiled(True)
        scale = 1 + np.abs(reference).max()
        np.testing.assert_allclose(compiled, reference, atol=tolerance * scale)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 700), (4, 1), (2000, 40)])
def test_the_compiled_race_equals_numpy(shape, dtype):
    pytest.importorskip("numba")
    rng = np.random.default_rng(0)
    log_probs = log_softmax(3 * rng.normal(size=shape)).astype(dtype)
    log_probs[1] = -np.inf
    uniforms = rng.random(shape).astype(dtype)
    uniforms[0, 0], uniforms[2, 0] = 0, 1
    rbgs.set_compiled(False)
    index, winner, remaining = race(log_probs, uniforms)
    rbgs.set_compiled(True)
    compiled_index, compiled_winner, compiled_remaining = race(log_probs, uniforms)
    np.testing.assert_array_equal(index, compiled_index)
    np.testing.assert_array_equal(winner, compiled_winner)
    tolerance = 1e-12 if dtype == "float64" else 2e-6
    np.testing.assert_allclose(remaining, compiled_remaining, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shape", [(3, 700, 4), (5, 300), (2, 3000), (1, 3)])
@pytest.mark.parametrize("sampling", ["monte_carlo", "lattice"])
def test_the_compiled_engine_equals_numpy_in_all_its_blocks(sampling, shape):
    pytest.importorskip("numba")
    rng = np.random.default_rng(0)
    logits, v = rng.normal(size=(2, *shape))
    logits[..., 0, :] = np.nan
    temperatures = np.full(shape[:-1], 0.7)
    for temperature in (0.7, temperatures):
        estimator = rbgs.GumbelRao(temperature, 9, sampling, control_variate=True)
        draw = estimator.sample(logits, rng=0)
        rbgs.set_compiled(True)
        compiled = draw.jvp(v)
        rbgs.set_compiled(False)
        np.testing.assert_allclose(compiled, draw.jvp(v), atol=1e-12)
        rbgs.set_compiled(True)


@pytest.mark.parametrize("sampling", ["monte_carlo", "lattice"])
@pytest.mark.usefixtures("engine")
def test_the_result_does_not_depend_on_the_threads(sampling):
    rng = np.random.default_rng(0)
    for shape, samples in (((2000, 7), 40), ((3, 50), 5000)):
        logits, v = rng.normal(size=(2, *shape))
        draw = rbgs.GumbelRao(0.3, samples, sampling).sample(logits, rng=0)
        before, results = rbgs.get_num_threads(), []
        for threads in (1, 2, 3):
            rbgs.set_num_threads(threads)
            results.append(draw.jvp(v))
        rbgs.set_num_threads(before)
        np.testing.assert_array_equal(results[0], results[1])
        np.testing.assert_array_equal(results[0], results[2])


@pytest.mark.parametrize("sampling", ["monte_carlo", "lattice"])
@pytest.mark.usefixtures("engine")
def test_memory_does_not_grow_with_the_samples(sampling):
    logits = np.random.default_rng(0).normal(size=(6000, 4)).astype(np.float32)
    before, peaks = rbgs.get_num_threads(), []
    rbgs.set_num_threads(1)
    for samples in (100, 1000):
        estimator = rbgs.GumbelRao(0.5, samples, sampling)
        estimator.sample(logits, rng=0).vjp(logits)
        tracemalloc.start()
        estimator.sample(logits, rng=0).vjp(logits)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    rbgs.set_num_threads(before)
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.parametrize("sampling", ["monte_carlo", "lattice"])
@pytest.mark.usefixtures("engine")
def test_many_categories_and_samples(sampling):
    rng = np.random.default_rng(0)
    logits, v = rng.normal(size=(2, 50_000))
    few = rbgs.GumbelRao(0.5, 3, sampling).sample(logits, rng=0)
    assert np.all(np.isfinite(few.jvp(v)))
    many = rbgs.GumbelRao(0.5, 50_000, sampling).sample(LOGITS, index=0, rng=0)
    exact = rbgs.GumbelRao(0.5, sampling="exact").sample(LOGITS, index=0)
    np.testing.assert_allclose(many.jacobian(), exact.jacobian(), atol=0.01)


@pytest.mark.parametrize("samples", [2, 3, 4, 5, 6, 7, 8, 12])
def test_the_lattice_is_unbiased_for_every_number_of_samples(xp, samples):
    rows, v = 20_000, np.asarray([1.0, -0.5, 0.3, 2.0])
    exact = rbgs.GumbelRao(0.5, sampling="exact").sample(LOGITS, index=0).jvp(v)
    logits = xp.asarray(np.tile(LOGITS, (rows, 1)))
    for reduced in (False, True):
        estimator = rbgs.GumbelRao(0.5, samples, "lattice", reduced)
        products = estimator.sample(logits, index=0, rng=2).jvp(xp.asarray(np.tile(v, (rows, 1))))
        products = to_numpy(products)
        error = products.std(axis=0) / np.sqrt(rows)
        assert np.all(np.abs(products.mean(axis=0) - exact) < 5 * error)


def test_defaults():
    assert rbgs.GumbelRao(0.5) == rbgs.GumbelRao(0.5, None, "lattice", None)
    for n, samples in ((2, 16), (63, 16), (64, 8), (1000, 8)):
        assert rbgs.GumbelRao(0.5).sample(np.zeros(n), rng=0)._operator.samples == samples
    assert control_variate.pays(4, 0.7)
    assert not control_variate.pays(4, 3.0)
    assert not control_variate.pays(1000, 1.0)
    assert control_variate.pays(1000, 0.1)
    assert control_variate.pays(100, 0.5)
    assert not control_variate.pays(1000, 0.5)
    changed = dataclasses.replace(rbgs.GumbelRao(0.5), control_variate=False)
    assert not changed.sample(LOGITS, rng=0)._operator.control_variate
