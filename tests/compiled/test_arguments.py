"""NumPy arrays of every kind: byte order, precision, memory; with and without the engine."""

import numpy as np
import pytest
from cases import ESTIMATORS, name
from processes import run

import rbgs

LOGITS = np.random.default_rng(0).normal(size=(4, 3)).round(2)


pytestmark = pytest.mark.usefixtures("engine")


def results(estimator, logits, noise, index, mask, vector):
    """Return everything that an estimator gives, for a drawn and for a given outcome."""

    def oracle(value):
        return np.sum(value * vector, axis=-1), np.broadcast_to(vector, value.shape)

    found = [estimator.gradient(oracle, logits, noise=noise, mask=mask)]
    # Monte Carlo has noise also for its generator, and some estimators need none.
    given = noise if estimator._needs_noise(index) else None
    for draw in (
        estimator.sample(logits, noise=noise, mask=mask),
        estimator.sample(logits, noise=given, index=index, mask=mask),
    ):
        found += [draw.value, draw.index]
        if estimator._pathwise:
            found += [draw.vjp(vector), draw.jvp(vector), draw.jacobian()]
    return found


def arguments(estimator, logits=LOGITS):
    """Return logits, noise, index, mask and a vector."""
    index, mask = np.asarray(1), np.asarray(True)
    if logits.ndim > 1:
        index, mask = np.asarray([0, 1, 2, 0]), np.ones(logits.shape, bool)
        mask[0, 2] = mask[3, 1] = False
    return logits, estimator.noise(logits, 0), index, mask, np.flip(logits, axis=-1) * 2


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=name)
@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8", "<f8", "longdouble", ">g"])
def test_byte_order_and_precision(dtype, estimator):
    dtype = np.dtype(dtype)
    native = dtype.newbyteorder("=")
    double = np.float64 if native == np.longdouble else native
    logits, noise, index, mask, vector = given = arguments(estimator, LOGITS.astype(double))
    expected = results(estimator, *given)
    logits, vector = logits.astype(dtype), vector.astype(dtype)
    noise = noise.astype(dtype if dtype.itemsize > 2 else ">f4")
    found = results(estimator, logits, noise, index.astype(">i4"), mask, vector)
    for a, b in zip(found, expected, strict=True):
        if b.dtype.kind == "f":
            assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 if double == np.float64 else 1e-6)


@pytest.mark.parametrize("dtype", [">f4", ">f8"])
@pytest.mark.parametrize("rng", [0, rbgs.Key(0)], ids=["NumPy", "Key"])
def test_noise_does_not_depend_on_the_byte_order(dtype, rng):
    estimator = rbgs.GumbelRao(0.5)
    logits = LOGITS.astype(dtype)
    noise = estimator.noise(logits, rng)
    np.testing.assert_array_equal(noise, estimator.noise(logits.astype(dtype[1:]), rng))
    drawn = estimator.sample(logits, rng=rng).vjp(logits)
    np.testing.assert_array_equal(drawn, estimator.sample(logits, noise=noise).vjp(logits))


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def strided(x):
    return np.repeat(x, 2, axis=-1)[..., ::2] if x.ndim else x


def fortran(x):
    return np.asarray(x, order="F")


def unaligned(x):
    packed = np.zeros(x.shape, [("byte", "u1"), ("x", x.dtype)])
    packed["x"] = x
    return packed["x"]


@pytest.mark.parametrize("shape", [(4, 3), (3,)], ids=str)
@pytest.mark.parametrize("kind", [read_only, strided, unaligned, fortran])
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=name)
def test_memory(estimator, kind, shape):
    given = arguments(estimator, LOGITS[: shape[0]] if len(shape) > 1 else LOGITS[0])
    expected = results(estimator, *given)
    for a, b in zip(results(estimator, *map(kind, given)), expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=name)
def test_arguments_are_not_written_to(estimator):
    given = arguments(estimator)
    before = [x.copy() for x in given]
    results(estimator, *given)
    for a, b in zip(given, before, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.flags.writeable


@pytest.mark.parametrize(
    "temperature",
    [
        np.asarray(0.5),
        np.asarray([0.5]),
        np.broadcast_to(np.asarray(0.5), (4,)),
        np.full(8, 0.5)[::2],
        np.full(4, 0.5, dtype=">f8"),
        np.full(4, 0.5, dtype="f4"),
        np.full(4, 0.5, dtype="longdouble"),
    ],
    ids=["0-d", "one", "broadcast", "strided", "big-endian", "single", "long"],
)
def test_temperatures(temperature):
    for options in ({}, {"sampling": "monte_carlo"}, {"sampling": "exact"}):
        estimator = rbgs.GumbelRao(0.5, **options)
        given = arguments(estimator)
        expected = results(estimator, *given)
        found = results(rbgs.GumbelRao(temperature, **options), *given)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-8)


def test_each_kernel_is_compiled_once_for_a_dtype():
    if not rbgs.is_compiled():
        pytest.skip("there is no engine")
    code = """
    import numpy as np
    import rbgs
    from rbgs.compiled import kernels, product

    def read_only(x):
        x = x.copy()
        x.flags.writeable = False
        return x

    def use(logits, **options):
        half = np.full(logits.shape[:-1], 0.5, logits.dtype)
        for estimator in (
            rbgs.GumbelRao(0.5),
            rbgs.GumbelRao(0.3, 4, "monte_carlo"),
            rbgs.GumbelRao(0.3, 1, control_variate=False),
            rbgs.GumbelRao(half),
            rbgs.GumbelRao(np.broadcast_to(np.asarray(0.5, logits.dtype), half.shape)),
            rbgs.GumbelRao(np.asarray(0.5, logits.dtype)),
            rbgs.ReinMax(),
            rbgs.StraightThrough(half),
        ):
            noise = estimator.noise(logits, 0)
            for noise in (noise, read_only(noise), np.asfortranarray(noise)):
                draw = estimator.sample(logits, noise=noise, **options)
                draw.vjp(logits)
            draw.jacobian()

    logits = np.random.default_rng(0).normal(size=(40, 3)).astype("f4")
    for x in (
        logits,
        np.zeros((3, 200), "f4"),
        logits.astype(">f4"),
        read_only(logits),
        np.asfortranarray(logits),
        logits[::2, ::-1],
        np.broadcast_to(logits[0], logits.shape),
        logits[0],
        read_only(logits[0]),
        np.repeat(logits[0], 2)[::2],
        np.broadcast_to(logits[0, 0], (3,)),
        logits[:, :1],
        logits[:1],
        logits[:0],
    ):
        use(x)
        use(x, mask=read_only(np.ones(x.shape, bool)))
        use(x, index=np.broadcast_to(0, x.shape[:-1]))
    for kernel in (kernels.normalise, kernels.race, kernels.add_jacobian, product.product):
        print(len(kernel.signatures))
    """
    assert run(code, RBGS_COMPILED="1")[0].split() == ["1"] * 4
