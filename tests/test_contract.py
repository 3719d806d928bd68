"""What every call promises: shapes, dtypes, devices, axes, masks, indices, noise, randomness."""

import dataclasses

import numpy as np
import pytest
from backends import Backend, to_numpy
from cases import CASES, ESTIMATORS, NUMBERED, PATHWISE, SEVERAL_DRAWS, WITH_TEMPERATURE, name

import rbgs

each_estimator = pytest.mark.parametrize("estimator", ESTIMATORS, ids=name)
each_pathwise = pytest.mark.parametrize("estimator", PATHWISE, ids=name)


def logits_of(shape, dtype=np.float64):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def dtypes_of(backend, xp):
    halves = {Backend.TORCH: ["float16", "bfloat16"], Backend.JAX: ["float16", "bfloat16"]}
    halves |= {Backend.NUMPY: ["float16"], Backend.CUPY: ["float16"]}
    return [getattr(xp, d) for d in [*halves.get(backend, []), "float32", "float64"]]


@each_estimator
@pytest.mark.parametrize("shape", [(3,), (1,), (2, 3), (2, 1, 4, 3), (0, 3), (2, 0, 3), (5, 1)])
def test_shapes(xp, estimator, shape):
    logits = xp.asarray(logits_of(shape))
    draw = estimator.sample(logits, rng=0)
    value, index = to_numpy(draw.value), to_numpy(draw.index)
    assert value.shape == shape
    assert index.shape == shape[:-1]
    np.testing.assert_allclose(value.sum(axis=-1), 1)
    np.testing.assert_array_equal(value.argmax(axis=-1), index)
    if not isinstance(estimator, rbgs.GumbelSoftmax):
        assert set(np.unique(value)) <= {0.0, 1.0}
    if estimator in PATHWISE:
        assert tuple(draw.jvp(logits).shape) == shape
        assert tuple(draw.vjp(logits).shape) == shape
        assert tuple(draw.jacobian().shape) == (*shape, shape[-1])


@each_estimator
def test_dtypes_and_precision(backend, xp, estimator):
    wanted = logits_of((5, 4))
    noise = estimator.noise(wanted, 0)
    for dtype in dtypes_of(backend, xp):
        logits = xp.astype(xp.asarray(wanted), dtype)
        rounded = to_numpy(logits).astype(np.float64)
        single = xp.astype(xp.asarray(noise), xp.float32)
        draw = estimator.sample(logits, noise=single)
        assert draw.value.dtype == dtype
        exact = estimator.sample(rounded, noise=to_numpy(single).astype(np.float64))
        np.testing.assert_array_equal(to_numpy(draw.index), exact.index)
        # The generator has other digits in single and in double precision.
        if estimator in PATHWISE and not estimator._generator_words:
            v = xp.astype(xp.asarray(np.cos(wanted)), dtype)
            product = draw.vjp(v)
            assert product.dtype == dtype
            # Half precision is computed in single precision and rounded once.
            eps = float(xp.finfo(dtype).eps)
            np.testing.assert_allclose(
                to_numpy(product), exact.vjp(to_numpy(v).astype(np.float64)), atol=4 * eps + 1e-5
            )


@each_estimator
def test_devices(xp, backend, estimator):
    if backend is not Backend.STRICT:
        pytest.skip("array-api-strict stands in for a second device")
    device = xp.Device("device1")
    logits = xp.asarray(logits_of((2, 3)), device=device)
    mask = xp.asarray(np.asarray([True, True, False]), device=device)
    draw = estimator.sample(logits, rng=0, mask=mask)
    assert draw.value.device == draw.index.device == estimator.noise(logits, 0).device == device
    noise = estimator.noise(logits, 0)
    assert noise.device == device
    given = estimator.sample(logits, noise=noise, index=1)
    assert given.value.device == device

    def oracle(value):
        return xp.sum(value, axis=-1), value

    assert estimator.gradient(oracle, logits, rng=0).device == device
    assert rbgs.exact_gradient(oracle, logits).device == device
    (moments,) = rbgs.compare([estimator], oracle, logits, draws=8, rng=0)
    assert moments.mse.device == device
    if estimator in PATHWISE:
        assert draw.vjp(logits).device == draw.jacobian().device == device


@each_estimator
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_axis(xp, estimator, axis):
    logits = logits_of((2, 3, 4))
    moved = np.moveaxis(logits, axis, -1)
    noise = estimator.noise(moved, 0)
    mask = np.random.default_rng(1).random(logits.shape) < 0.7
    mask[0, 0, 0] = True
    mask = mask | (logits == logits.max(axis=axis, keepdims=True))
    last = estimator.sample(moved, noise=noise, mask=np.moveaxis(mask, axis, -1))
    draw = estimator.sample(
        xp.asarray(logits),
        noise=xp.asarray(np.ascontiguousarray(np.moveaxis(noise, -1, axis))),
        mask=xp.asarray(mask),
        axis=axis,
    )
    assert tuple(estimator.noise(xp.asarray(logits), 0, axis=axis).shape) == tuple(
        np.moveaxis(noise, -1, axis).shape
    )
    np.testing.assert_allclose(to_numpy(draw.value), np.moveaxis(last.value, -1, axis), atol=1e-12)
    np.testing.assert_array_equal(to_numpy(draw.index), last.index)
    if estimator in PATHWISE:
        v = np.cos(logits)
        np.testing.assert_allclose(
            to_numpy(draw.vjp(xp.asarray(v))),
            np.moveaxis(last.vjp(np.moveaxis(v, axis, -1)), -1, axis),
            atol=1e-9,
        )
        np.testing.assert_allclose(to_numpy(draw.jacobian()), last.jacobian(), atol=1e-9)


@each_estimator
def test_a_given_index_is_the_outcome(xp, estimator):
    logits, index = logits_of((3, 4)), np.asarray([2, 0, 3])
    draw = estimator.sample(xp.asarray(logits), rng=0, index=xp.asarray(index))
    np.testing.assert_array_equal(to_numpy(draw.index), index)
    np.testing.assert_array_equal(to_numpy(draw.value).argmax(axis=-1), index)
    same = estimator.sample(xp.asarray(logits), rng=0, index=2)
    np.testing.assert_array_equal(to_numpy(same.index), 2)
    needs_noise = estimator._random_given_outcome
    if not needs_noise:
        estimator.sample(xp.asarray(logits), index=2)


@each_estimator
def test_a_mask_equals_minus_infinity(xp, estimator):
    logits = logits_of((40, 4))
    mask = np.asarray([True, False, True, True])
    masked = estimator.sample(xp.asarray(logits), rng=0, mask=xp.asarray(mask))
    infinite = estimator.sample(xp.asarray(np.where(mask, logits, -np.inf)), rng=0)
    np.testing.assert_array_equal(to_numpy(masked.value), to_numpy(infinite.value))
    assert np.all(to_numpy(masked.value)[:, 1] == 0)
    nan_behind = estimator.sample(
        xp.asarray(np.where(mask, logits, np.nan)), rng=0, mask=xp.asarray(mask)
    )
    np.testing.assert_array_equal(to_numpy(masked.value), to_numpy(nan_behind.value))


@each_estimator
def test_sampling_is_a_pure_function_of_the_noise(backend, xp, estimator):
    logits = xp.asarray(logits_of((20, 3)))
    noise = estimator.noise(logits, backend.native_generator(5))
    first = estimator.sample(logits, noise=noise)
    second = estimator.sample(logits, noise=noise)
    drawn = estimator.sample(logits, rng=backend.native_generator(5))
    other = estimator.sample(logits, rng=backend.native_generator(6))
    np.testing.assert_array_equal(to_numpy(first.value), to_numpy(second.value))
    np.testing.assert_array_equal(to_numpy(first.value), to_numpy(drawn.value))
    assert np.any(to_numpy(first.value) != to_numpy(other.value))
    if estimator in PATHWISE:
        np.testing.assert_array_equal(to_numpy(first.jvp(logits)), to_numpy(drawn.jvp(logits)))


@each_estimator
def test_numpy_generators_and_seeds_serve_every_library(xp, estimator):
    logits = logits_of((20, 3))
    for make in (lambda: 3, lambda: np.random.default_rng(3), lambda: np.random.PCG64(3)):
        here = estimator.sample(logits, rng=make())
        there = estimator.sample(xp.asarray(logits), rng=make())
        np.testing.assert_array_equal(here.index, to_numpy(there.index))
    generator = np.random.default_rng(3)
    first = estimator.sample(logits, rng=generator)
    second = estimator.sample(logits, rng=generator)
    assert np.any(first.index != second.index)


def test_the_frequencies_are_the_probabilities(backend, xp):
    logits = np.asarray([0.5, -1.0, 1.2, -np.inf])
    p = np.exp(logits) / np.exp(logits).sum()
    count = 200_000
    draw = rbgs.StraightThrough().sample(
        xp.asarray(np.tile(logits, (count, 1)).astype("float32")), rng=backend.native_generator(1)
    )
    frequency = to_numpy(draw.value).mean(axis=0)
    assert np.all(np.abs(frequency - p) <= 5 * np.sqrt(p * (1 - p) / count))


@pytest.mark.parametrize("estimator", WITH_TEMPERATURE, ids=name)
def test_array_temperatures_are_temperatures_of_their_rows(xp, estimator):
    logits, v = logits_of((2, 3, 4)), np.cos(logits_of((2, 3, 4)))
    temperatures = np.asarray([[0.2], [1.7]])
    per_row = dataclasses.replace(estimator, temperature=xp.asarray(temperatures))
    draw = per_row.sample(xp.asarray(logits), rng=0)
    product, jacobian = to_numpy(draw.vjp(xp.asarray(v))), to_numpy(draw.jacobian())
    for row, temperature in enumerate([0.2, 1.7]):
        alone = dataclasses.replace(estimator, temperature=temperature).sample(logits, rng=0)
        np.testing.assert_allclose(product[row], alone.vjp(v)[row], atol=1e-9)
        np.testing.assert_allclose(jacobian[row], alone.jacobian()[row], atol=1e-9)
        np.testing.assert_allclose(to_numpy(draw.value)[row], alone.value[row], atol=1e-9)
    shared = dataclasses.replace(estimator, temperature=xp.asarray(temperatures[1:]))
    draw = shared.sample(xp.asarray(logits), rng=0)
    np.testing.assert_allclose(to_numpy(draw.vjp(xp.asarray(v))), alone.vjp(v), atol=1e-9)
    np.testing.assert_allclose(to_numpy(draw.jacobian()), alone.jacobian(), atol=1e-9)


@each_estimator
def test_estimators_are_values(estimator):
    assert estimator == dataclasses.replace(estimator)
    assert hash(estimator) == hash(dataclasses.replace(estimator))
    with pytest.raises(dataclasses.FrozenInstanceError):
        estimator.temperature = 1.0


@each_estimator
def test_extreme_logits_and_temperatures(xp, estimator):
    rows = np.asarray(
        [
            [0.0, -np.inf, 1.0, 2.0],
            [1e30, -1e30, 0.0, 1e30],
            [-1e30, -1e30, -1e30, -1e30],
            [-200.0, 0.0, -100.0, -50.0],
            [0.0, -np.inf, -np.inf, -np.inf],
        ]
    )
    v = np.asarray([1.0, -2.0, 3.0, 0.5])
    for dtype in (xp.float32, xp.float64):
        for temperature in (1e-6, 1e-2, 1.0, 1e6):
            changed = estimator
            if getattr(estimator, "temperature", 0) != 0:
                changed = dataclasses.replace(estimator, temperature=temperature)
            logits = xp.asarray(rows, dtype=dtype)
            draw = changed.sample(logits, rng=0)
            value = to_numpy(draw.value)
            assert np.all(np.isfinite(value))
            np.testing.assert_allclose(value.sum(axis=-1), 1, rtol=1e-6)
            assert np.all(value[0, 1] == 0)
            assert np.all(value[1, 1:3] == 0)
            if estimator in PATHWISE:
                product = to_numpy(draw.vjp(xp.asarray(np.tile(v, (5, 1)), dtype=dtype)))
                assert np.all(np.isfinite(product))
                assert np.all(product[4] == 0)


def test_high_temperature_counts_improbable_categories():
    # At a temperature far above the log-odds the point is nearly uniform, whatever p underflows to.
    logits = np.asarray([0.0, -200.0, -300.0], np.float32)
    draw = rbgs.GumbelSoftmax(1e5).sample(logits, rng=0)
    np.testing.assert_allclose(draw.value, 1 / 3, rtol=5e-3)


def test_noise_on_the_edge_of_its_range(xp):
    logits = xp.asarray(np.zeros((4, 2), np.float32))
    noise = xp.asarray(np.asarray([[0, 0], [1, 1], [0, 1], [1, 0]], np.float32))
    for estimator in (rbgs.StraightThroughGumbelSoftmax(0.1), rbgs.GumbelRao(0.1, samples=1)):
        draw = estimator.sample(logits, noise=noise)
        assert np.all(np.isfinite(to_numpy(draw.jacobian())))


def test_products_do_not_depend_on_the_blocks(xp, monkeypatch):
    logits = xp.asarray(logits_of((3, 4)))
    monkeypatch.setattr("rbgs.arrays.engine._compiled", False)
    shared = [rbgs.GumbelRao(xp.asarray([0.5]), sampling=s) for s in ("lattice", "monte_carlo")]
    for estimator in (*NUMBERED, *shared):
        estimator = dataclasses.replace(estimator, samples=50)
        noise = estimator.noise(logits, 0)
        whole = to_numpy(estimator.sample(logits, noise=noise).jvp(logits))
        with monkeypatch.context() as patched:
            patched.setattr("rbgs.arrays.loops.block_elements", lambda _: 100)
            blocks = to_numpy(estimator.sample(logits, noise=noise).jvp(logits))
        np.testing.assert_allclose(blocks, whole, atol=1e-13)
    exact = rbgs.GumbelRao(0.5, sampling="exact").sample(logits, index=0)
    whole = to_numpy(exact.jvp(logits))
    monkeypatch.setattr("rbgs.conditional.quadrature._BLOCK", 100)
    np.testing.assert_allclose(to_numpy(exact.jvp(logits)), whole, atol=1e-13)


def test_a_draw_stores_nothing_of_the_size_of_the_samples():
    logits = logits_of((10, 4))
    sizes = []
    for samples in (2, 1000):
        draw = rbgs.GumbelRao(0.5, samples=samples).sample(logits, rng=0)
        fields = [getattr(draw._operator, f.name) for f in dataclasses.fields(draw._operator)]
        sizes.append(sum(x.nbytes for x in fields if isinstance(x, np.ndarray)))
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("estimator", SEVERAL_DRAWS, ids=name)
def test_several_draws_lie_along_a_leading_axis(xp, estimator):
    logits = logits_of((5, 3))
    logits[1, 0], logits[2, 1] = np.nan, -np.inf
    draw = estimator.sample(xp.asarray(logits), rng=0)
    value, index = to_numpy(draw.value), to_numpy(draw.index)
    count = estimator._draws
    assert value.shape == (count, 5, 3)
    assert index.shape == (count, 5)
    assert np.isnan(value[:, 1]).all()
    assert (index[:, 1] == -1).all()
    answered = [0, 2, 3, 4]
    np.testing.assert_array_equal(value[:, answered], np.eye(3)[index[:, answered]])
    assert (value[:, 2, 1] == 0).all()
    given = estimator.sample(xp.asarray(logits), rng=0, index=draw.index)
    np.testing.assert_array_equal(to_numpy(given.value)[:, answered], value[:, answered])
    noise = estimator.noise(logits, 0)
    again = estimator.sample(xp.asarray(logits), noise=xp.asarray(noise))
    np.testing.assert_array_equal(to_numpy(again.index), index)


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f4", ">f8"])
@pytest.mark.parametrize("estimator", SEVERAL_DRAWS, ids=name)
def test_the_mean_over_several_draws_has_the_dtype_of_the_logits(estimator, dtype):
    logits = logits_of((5, 3)).astype(dtype)
    gradient = estimator.gradient(lambda value: ((value**2).sum(axis=-1), value), logits, rng=0)
    assert gradient.dtype == logits.dtype
    assert gradient.shape == logits.shape


@pytest.mark.parametrize("estimator", SEVERAL_DRAWS, ids=name)
def test_each_of_several_draws_has_the_law_of_the_logits(estimator):
    logits, count = np.asarray([0.5, -1.0, 1.2, -np.inf, 0.0]), 100_000
    p = np.exp(logits) / np.exp(logits).sum()
    for value in estimator.sample(np.tile(logits, (count, 1)), rng=0).value:
        error = np.sqrt(p * (1 - p) / count)
        assert np.all(np.abs(value.mean(axis=0) - p) <= 5 * error)


def overwriting(oracle):
    """Return an oracle that leaves other numbers in the value."""

    def overwriting_oracle(value):
        answer = oracle(value + 0)
        value[...] = 7
        return answer

    return overwriting_oracle


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("library", [np.asarray, "torch"], ids=["numpy", "torch"])
@pytest.mark.parametrize("axis", [-1, -2])
@pytest.mark.parametrize("estimator", CASES, ids=name)
def test_an_oracle_may_overwrite_the_value(library, estimator, axis):
    if isinstance(estimator, rbgs.Relax):
        if axis == -2:
            pytest.skip("its control variate sums along the last axis")
        control_variate = overwriting(estimator.control_variate)
        estimator = dataclasses.replace(estimator, control_variate=control_variate)

    def oracle(value):
        return (value**2 * weights).sum(axis), 2 * value * weights

    asarray = pytest.importorskip("torch").asarray if library == "torch" else library
    logits, weights = asarray(logits_of((4, 4))), asarray(logits_of((4, 4)) + 2)
    expected, found = (
        estimator.gradient(each, logits, rng=0, axis=axis) for each in (oracle, overwriting(oracle))
    )
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.usefixtures("engine")
def test_a_draw_does_not_depend_on_its_value_afterwards():
    for estimator in PATHWISE:
        draw = estimator.sample(logits_of((2, 3)), rng=0)
        before = draw.jacobian()
        draw.value[...] = 7
        np.testing.assert_array_equal(draw.jacobian(), before)


@pytest.mark.parametrize("library", [np.asarray, "torch"], ids=["numpy", "torch"])
def test_an_oracle_may_overwrite_the_values_that_are_enumerated(library):
    asarray = pytest.importorskip("torch").asarray if library == "torch" else library
    logits = asarray(logits_of((2, 3)))

    def oracle(value):
        return (value[..., 0, :] * value[..., 1, :]).sum(-1) + value[..., 0, 1]

    for samples in (1, 2):
        expected, found = (
            rbgs.exact_gradient(each, logits, samples=samples)
            for each in (oracle, overwriting(oracle))
        )
        np.testing.assert_allclose(found, expected)
