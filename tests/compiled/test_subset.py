"""The compiled race and product of k-subsets equal enumeration and those of the array API."""

from dataclasses import fields, replace
from itertools import combinations

import numpy as np
import pytest

import rbgs
from rbgs.arrays import loops
from rbgs.arrays.engine import engine_for_numpy
from rbgs.arrays.rows import normalise
from rbgs.random.noise import exponential
from rbgs.structures.points import TraceSamples

pytestmark = pytest.mark.usefixtures("compiled")

DTYPES = [(np.float32, 1e-5), (np.float64, 1e-12)]


def drawn(n, k, rows, dtype, samples=4, temperature=0.5, relaxation="gibbs", scale=2.0):
    """Return the points of the engine's race, the uniforms that made it, and a vector."""
    rng = np.random.default_rng([n, k, rows])
    log_probs, _ = normalise((scale * rng.normal(size=(n, rows))).astype(dtype))
    uniforms = rng.random((n, rows)).astype(dtype)
    order, step, _, remaining = engine_for_numpy(log_probs).race_of_subset(log_probs, uniforms, k)
    subset = rbgs.Subset(k, relaxation)
    points = TraceSamples(subset, temperature, samples, log_probs, order, step, remaining)
    return points, uniforms, rng.normal(size=(n, rows)).astype(dtype)


def in_double(points):
    """Return the same points in double precision."""
    floats = {x.name: getattr(points, x.name) for x in fields(points)}
    wide = {
        name: x.astype(np.float64)
        for name, x in floats.items()
        if isinstance(x, np.ndarray) and x.dtype == np.float32
    }
    return replace(points, **wide)


def by_the_array_api(points, vector):
    rbgs.set_compiled(False)
    product = points.product(vector)
    rbgs.set_compiled(True)
    return product


def assert_close(product, expected, tolerance):
    np.testing.assert_allclose(product, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
def test_one_point_is_that_of_the_race_itself(dtype, tolerance):
    n, k, temperature = 7, 3, 0.5
    points, uniforms, vector = drawn(n, k, 40, dtype, 1, temperature)
    times = np.log(exponential(uniforms.astype(np.float64))) - points.log_probs
    np.testing.assert_array_equal(points.order, np.argsort(times, axis=0)[:k])
    sets = np.asarray([[j in s for j in range(n)] for s in combinations(range(n), k)], float)
    weights = np.exp(sets @ -times / temperature)
    weights = weights / weights.sum(0)
    inner = sets @ vector
    expected = sets.T @ (weights * (inner - (weights * inner).sum(0))) / temperature
    assert_close(points.product(vector), expected, tolerance)


# In single precision the points of the lattice are rounded.
@pytest.mark.parametrize("relaxation", ["gibbs", "binary_entropy"])
@pytest.mark.parametrize(
    ("n", "k", "rows"),
    [(2, 1, 1), (5, 2, 33), (40, 20, 3), (40, 39, 70), (200, 20, 3), (130, 1, 2)],
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-4), (np.float64, 1e-12)])
def test_it_equals_the_array_api(dtype, tolerance, n, k, rows, relaxation):
    points, _, vector = drawn(n, k, rows, dtype, relaxation=relaxation)
    for temperature in (0.7, np.linspace(0.2, 3.0, rows).astype(dtype), 1e6):
        points = replace(points, temperature=temperature)
        product = points.product(vector)
        assert product.dtype == dtype
        assert_close(product, by_the_array_api(in_double(points), vector), tolerance)


@pytest.mark.parametrize("sampling", ["lattice", "monte_carlo"])
@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
@pytest.mark.parametrize(("n", "k"), [(6, 2), (150, 5)])
def test_a_draw_does_not_depend_on_the_engine(sampling, dtype, tolerance, n, k):
    estimator = rbgs.GumbelRao(0.5, 4, sampling, structure=rbgs.Subset(k))
    rng = np.random.default_rng(0)
    logits, vector = rng.normal(size=(2, 5, n)).astype(dtype)
    logits[0, 1:3], logits[1, 2] = -np.inf, np.nan
    logits[2, k - 1 :], logits[3, 0] = -np.inf, np.inf
    logits[4, :k] = 1e30
    compiled = estimator.sample(logits, rng=1)
    product = compiled.vjp(vector)
    rbgs.set_compiled(False)
    draw = estimator.sample(logits, rng=1)
    np.testing.assert_array_equal(compiled.index, draw.index)
    np.testing.assert_array_equal(compiled.value, draw.value)
    assert np.isnan(product).all(-1).tolist() == [False, True, True, True, False]
    np.testing.assert_allclose(product, draw.vjp(vector), atol=tolerance)


def test_there_is_no_choice_among_all():
    points, _, vector = drawn(6, 6, 5, np.float32)
    np.testing.assert_array_equal(points.product(vector), np.zeros((6, 5)))


def test_a_subset_of_one_is_a_category():
    logits, vector = np.random.default_rng(0).normal(size=(2, 50, 9))
    options = {"samples": 5, "control_variate": False}
    subset = rbgs.GumbelRao(0.5, **options, structure=rbgs.Subset(1)).sample(logits, rng=3)
    category = rbgs.GumbelRao(0.5, **options).sample(logits, rng=3)
    np.testing.assert_array_equal(subset.value, category.value)
    np.testing.assert_allclose(subset.vjp(vector), category.vjp(vector), atol=1e-13)


@pytest.mark.parametrize("n", [9, 140])
def test_of_equal_elements_the_first_are_taken(n):
    # Beside 1e30 the exponentials count for nothing.
    logits = np.where(np.arange(n) % 3 == 1, 1e30, -1e30)
    count = np.count_nonzero(logits > 0)
    draw = rbgs.GumbelRao(0.5, structure=rbgs.Subset(count + 2)).sample(logits, rng=0)
    np.testing.assert_array_equal(np.flatnonzero(draw.index[logits < 0]), [0, 1])
    assert np.isfinite(draw.vjp(np.arange(n) * 1.0)).all()


@pytest.mark.parametrize("temperature", [1e-6, 1e6])
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_it_is_finite_at_any_temperature(temperature, scale):
    points, _, vector = drawn(12, 4, 40, np.float32, 4, temperature, scale=scale)
    assert np.isfinite(points.product(vector)).all()


def test_arrays_may_be_strided_or_read_only():
    points, _, vector = drawn(5, 2, 40, np.float32)
    expected = points.product(vector)
    wide = np.repeat(vector, 2, axis=1)[:, ::2]
    points.exponentials.setflags(write=False)
    points = replace(points, log_probs=np.asfortranarray(points.log_probs))
    np.testing.assert_array_equal(points.product(wide), expected)


@pytest.mark.parametrize("rows", [2, 700])
def test_the_result_does_not_depend_on_the_threads(monkeypatch, rows):
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(loops, "_threads", threads)
        points, _, vector = drawn(100, 10, rows, np.float32, 2**11 // rows + 8)
        found.append(points.product(vector))
    np.testing.assert_array_equal(*found)


def test_jax_computes_alone():
    jax = pytest.importorskip("jax")
    assert engine_for_numpy(jax.numpy.zeros((3, 2))) is None
