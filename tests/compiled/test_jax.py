"""The compiled engine inside JAX's programs equals the mathematics on NumPy arrays."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from backends import Backend

import rbgs

numba = pytest.importorskip("numba")
jax = pytest.importorskip("jax")
door = pytest.importorskip("rbgs.jax")
native = pytest.importorskip("rbgs.compiled.native")
xla = pytest.importorskip("rbgs.compiled.xla")
Backend.JAX.load()  # sets double precision

ESTIMATORS = [
    rbgs.GumbelRao(0.5),
    rbgs.GumbelRao(0.3, 5),
    rbgs.GumbelRao(0.7, 1),
    rbgs.GumbelRao(1 / 3, 6, "monte_carlo"),
    rbgs.GumbelRao(2.5, 3, "monte_carlo", control_variate=False),
]


@pytest.fixture(autouse=True)
def _engine():
    was = rbgs.is_compiled(), rbgs.get_num_threads()
    rbgs.set_compiled(True)
    rbgs.set_num_threads(2)
    yield
    rbgs.set_compiled(was[0])
    rbgs.set_num_threads(was[1])


def problem(estimator, shape, dtype="float64"):
    """Return logits, noise and a vector, and the product by NumPy alone."""
    rng = np.random.default_rng(0)
    logits, vector = rng.normal(size=shape).astype(dtype), rng.normal(size=shape).astype(dtype)
    noise = estimator.noise(logits, 1)
    rbgs.set_compiled(False)
    expected = estimator.sample(logits, noise=noise).vjp(vector)
    rbgs.set_compiled(True)
    return logits, noise, vector, expected


def product(estimator):
    def of_row_or_batch(logits, noise, vector):
        def value(x):
            return door.sample(estimator, None, x, noise=noise)

        return jax.vjp(value, logits)[1](vector)[0]

    return of_row_or_batch


# The last two shapes are shared among threads, the last one in unequal parts.
@pytest.mark.parametrize("shape", [(3,), (5, 2), (0, 4), (9000, 4), (1300, 17)], ids=str)
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_it_equals_numpy(estimator, shape):
    *arguments, expected = problem(estimator, shape)
    arguments = list(map(jax.numpy.asarray, arguments))
    program = jax.jit(product(estimator))
    assert "rbgs_product" in program.lower(*arguments).as_text()
    np.testing.assert_allclose(program(*arguments), expected, atol=1e-12)
    np.testing.assert_allclose(product(estimator)(*arguments), expected, atol=1e-12)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_single_precision(estimator):
    *arguments, expected = problem(estimator, (200, 6), "float32")
    result = jax.jit(product(estimator))(*map(jax.numpy.asarray, arguments))
    assert result.dtype == "float32"
    np.testing.assert_allclose(result, expected, atol=2e-5)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_batches_of_batches(estimator):
    *arguments, expected = problem(estimator, (2, 3, 5, 4))
    mapped = jax.jit(jax.vmap(jax.vmap(product(estimator)), in_axes=1, out_axes=1))
    result = mapped(*map(jax.numpy.asarray, arguments))
    np.testing.assert_allclose(result, expected, atol=1e-12)


def test_a_temperature_for_each_row():
    temperatures = np.asarray([0.2, 0.5, 1.0, 3.0])
    logits, noise, vector, expected = problem(rbgs.GumbelRao(temperatures), (4, 5))

    @jax.jit
    def traced(temperatures, logits, noise, vector):
        return product(rbgs.GumbelRao(temperatures))(logits, noise, vector)

    arguments = map(jax.numpy.asarray, (temperatures, logits, noise, vector))
    np.testing.assert_allclose(traced(*arguments), expected, atol=1e-9)


def test_without_it_xla_computes_the_same():
    estimator = ESTIMATORS[0]
    *arguments, expected = problem(estimator, (40, 5))
    arguments = list(map(jax.numpy.asarray, arguments))
    rbgs.set_compiled(False)
    program = jax.jit(product(estimator))
    assert "rbgs_product" not in program.lower(*arguments).as_text()
    np.testing.assert_allclose(program(*arguments), expected, atol=1e-12)


@pytest.mark.parametrize("threads", [2, 7])
def test_the_result_does_not_depend_on_the_number_of_threads(threads):
    estimator = ESTIMATORS[0]
    *arguments, _ = problem(estimator, (5, 300, 17), "float32")
    arguments = list(map(jax.numpy.asarray, arguments))
    results = []
    for count in (1, threads):
        rbgs.set_num_threads(count)
        results.append(jax.jit(jax.vmap(product(estimator)))(*arguments))
    np.testing.assert_array_equal(*results)


def test_many_calls_at_once_share_the_threads():
    estimator = ESTIMATORS[0]
    *arguments, _ = problem(estimator, (300, 17), "float32")
    arguments = list(map(jax.numpy.asarray, arguments))
    program = jax.jit(product(estimator))
    expected = np.asarray(program(*arguments))
    with ThreadPoolExecutor(8) as pool:
        for result in pool.map(lambda _: program(*arguments), range(2000)):
            np.testing.assert_array_equal(result, expected)


@numba.njit
def part_without_memory(_frame, part, _dtype):
    if part == 2:
        raise MemoryError


@numba.njit
def without_memory(frame):
    return xla.serve(frame, native.address_of(part_without_memory, (np.float32,)))


@pytest.mark.parametrize("threads", [1, 4])
def test_a_part_that_fails_is_an_error(threads):
    plan = np.asarray([100, threads, 2**20], np.int32)
    result = jax.ShapeDtypeStruct((3, 1000), "float32")
    with pytest.raises(RuntimeError, match="no memory is left"):
        jax.ffi.ffi_call(xla.target(without_memory), result)(plan).block_until_ready()


@pytest.mark.parametrize("estimator", ESTIMATORS[:4], ids=str)
def test_a_gradient_estimate_has_derivatives_for_the_parameters_of_the_loss(estimator):
    logits = jax.numpy.asarray(np.random.default_rng(0).normal(size=(5, 3)))

    def estimate(weight):
        oracle = door.oracle(lambda value: ((value @ weight) ** 2).sum(axis=-1))
        return estimator.gradient(oracle, logits, rng=1)[:, 0].sum()

    def derivatives():
        return jax.jit(jax.hessian(estimate))(weight), jax.jit(jax.vmap(jax.grad(estimate)))(two)

    weight = jax.numpy.asarray(np.random.default_rng(1).normal(size=(3, 2)))
    two = jax.numpy.stack([weight, -weight])
    found = derivatives()
    rbgs.set_compiled(False)
    for a, b in zip(found, derivatives(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)


def test_the_temperature_of_a_product_has_no_derivative():
    def product(temperature):
        draw = rbgs.GumbelRao(temperature).sample(jax.numpy.zeros(3), rng=0)
        return draw.vjp(jax.numpy.arange(3.0))[0]

    with pytest.raises(NotImplementedError, match=r"for the temperature: call rbgs\.set_compiled"):
        jax.grad(product)(0.5)


def test_the_version_is_told_to_an_xla_without_an_interface():
    """As that of JAX 0.6 asks: the process would end if the address were followed."""
    metadata = np.full(5, -1, np.int64)
    extension = np.asarray([32, 1, 0, metadata.ctypes.data])
    frame = np.asarray([88, extension.ctypes.data, 0, 0])
    assert xla.version(frame.ctypes.data) == 0
    assert metadata.view(np.int32)[6:9].tolist() == [0, 1, 0]
