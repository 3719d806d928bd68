"""Every estimator inside JAX transformations."""

import numpy as np
import pytest
from backends import Backend
from cases import ESTIMATORS, PATHWISE, name, quadratic

import rbgs
from rbgs.conditional import lattice

each_estimator = pytest.mark.parametrize("estimator", ESTIMATORS, ids=name)
LOGITS = np.random.default_rng(0).normal(size=(6, 4))


@pytest.fixture
def jax():
    Backend.JAX.load()
    return pytest.importorskip("jax")


@each_estimator
def test_jit_equals_eager(jax, estimator):
    def run(logits, key, v):
        draw = estimator.sample(logits, rng=key)
        if estimator not in PATHWISE:
            return draw.value, draw.index
        return draw.value, draw.index, draw.vjp(v), draw.jacobian()

    logits, key = jax.numpy.asarray(LOGITS), jax.random.key(0)
    eager, jitted = run(logits, key, logits), jax.jit(run)(logits, key, logits)
    for a, b in zip(eager, jitted, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


@each_estimator
def test_an_estimator_is_a_static_argument(jax, estimator):
    traces = []

    def gradient(estimator, logits, key):
        traces.append(None)
        oracle = quadratic(jax.numpy, np.full(4, 0.3), np.arange(4.0))
        return estimator.gradient(oracle, logits, rng=key)

    compiled = jax.jit(gradient, static_argnums=0)
    for seed in range(3):
        compiled(estimator, jax.numpy.asarray(LOGITS), jax.random.key(seed))
    assert len(traces) == 1  # no new trace for a new key


def test_legacy_keys(jax):
    logits = jax.numpy.asarray(LOGITS)
    new = rbgs.StraightThrough().sample(logits, rng=jax.random.key(3))
    old = rbgs.StraightThrough().sample(logits, rng=jax.random.PRNGKey(3))
    np.testing.assert_array_equal(new.index, old.index)


def test_a_traced_temperature(jax):
    logits = jax.numpy.asarray(LOGITS)

    def product(temperature, sampling):
        estimator = rbgs.GumbelRao(temperature, samples=3, sampling=sampling)
        return estimator.sample(logits, rng=0).jvp(logits)

    for sampling in ("monte_carlo", "exact"):
        traced = jax.jit(product, static_argnums=1)(jax.numpy.asarray(0.3), sampling)
        np.testing.assert_allclose(traced, product(0.3, sampling), atol=1e-9)
        # A value that could not be checked at tracing is never answered with a number.
        wrong = jax.jit(product, static_argnums=1)(jax.numpy.asarray(-1.0), sampling)
        assert np.isnan(np.asarray(wrong)).all()


@pytest.mark.parametrize(
    "make",
    [
        rbgs.GumbelRao,
        lambda t: rbgs.GumbelRao(t, sampling="monte_carlo"),
        lambda t: rbgs.GumbelRao(t, samples=1),
        lambda t: rbgs.GumbelRao(t, control_variate=False),
        rbgs.ReinMaxRao,
        rbgs.StraightThroughGumbelSoftmax,
        rbgs.GappedStraightThrough,
    ],
)
def test_temperatures_side_by_side_over_many_rows(jax, make, monkeypatch):
    # On processors, XLA (in JAX 0.10.2) sums products wrongly, or reads past their end, where both
    # factors are repeated along an axis: so a temperature is not repeated for each row.
    monkeypatch.setattr("rbgs.arrays.engine._compiled", False)
    temperatures = np.linspace(0.3, 1, 4, dtype="float32")
    logits = np.random.default_rng(0).normal(size=(1000, 2)).astype("float32")
    noise = make(0.5).noise(logits, 0)

    def product(temperature, logits, noise):
        return make(temperature).sample(logits, noise=noise).vjp(logits)

    traced = jax.jit(jax.vmap(product, (0, None, None)))(
        *map(jax.numpy.asarray, (temperatures, logits, noise))
    )
    for temperature, result in zip(temperatures, traced, strict=True):
        np.testing.assert_allclose(result, product(float(temperature), logits, noise), atol=1e-4)


@pytest.mark.parametrize("kind", ["monte_carlo", "lattice", "exact"])
def test_a_schedule_that_reaches_zero(jax, kind):
    def draw(temperature):
        estimator = rbgs.GumbelRao(temperature, samples=3, sampling=kind)
        draw = estimator.sample(jax.numpy.asarray(LOGITS), rng=0)
        return draw.value, draw.index, draw.vjp(jax.numpy.asarray(LOGITS))

    schedule = jax.numpy.asarray([0.5, 0.0])
    for run in (jax.jit(jax.vmap(draw)), lambda x: jax.lax.map(draw, x)):
        value, index, product = run(schedule)
        assert not np.isnan(value[0]).any()
        assert not np.isnan(product[0]).any()
        assert np.isnan(value[1]).all()
        assert np.isnan(product[1]).all()
        assert (np.asarray(index[1]) == -1).all()


def test_a_constant_temperature_inside_jit(jax):
    def product(temperature, logits):
        return rbgs.GumbelRao(temperature, samples=3).sample(logits, rng=0).jvp(logits)

    logits, right, wrong = map(jax.numpy.asarray, (LOGITS, 0.3, -0.3))
    result = jax.jit(lambda x: product(right, x))(logits)
    np.testing.assert_allclose(result, product(0.3, logits), atol=1e-9)
    with pytest.raises(ValueError, match=r"temperature must be .* got -0\.3"):
        jax.jit(lambda x: product(wrong, x))(logits)


CONFIGURATIONS = {
    "no rank promotion": lambda jax: jax.numpy_rank_promotion("raise"),
    "strict dtypes": lambda jax: jax.numpy_dtype_promotion("strict"),
    "leaks": lambda jax: jax.checking_leaks(),
    "NaN": lambda jax: jax.debug_nans(True),
    "no jit": lambda jax: jax.disable_jit(),
}


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
@each_estimator
def test_configurations(jax, configuration, estimator):
    def run(logits, mask, key):
        def oracle(value):
            return (value * value).sum(axis=-1), value + value

        noise = estimator.noise(logits, rbgs.Key(0))
        results = [
            rbgs.exact_gradient(oracle, logits),
            estimator.gradient(oracle, logits, noise=noise, mask=mask),
            estimator.gradient(oracle, logits, rng=key, index=0),
        ]
        if estimator in PATHWISE:
            draw = estimator.sample(logits, rng=key)
            results += [draw.jvp(logits), draw.jacobian()]
        return results

    with CONFIGURATIONS[configuration](jax):
        mask = jax.numpy.asarray([True, True, False, True])
        arguments = jax.numpy.asarray(LOGITS[:2]), mask, jax.random.key(0)
        for result in jax.jit(run)(*arguments):
            assert np.isfinite(np.asarray(result)).all()


@pytest.mark.parametrize("estimator", [rbgs.GumbelRao(0.5), rbgs.StraightThrough()], ids=name)
def test_compare_without_rank_promotion(jax, estimator):
    logits = jax.numpy.asarray(LOGITS)

    def oracle(value):
        return (value**2).sum(axis=-1), 2 * value, value

    def mse():
        key = jax.random.key(0)
        return rbgs.compare([estimator], oracle, logits, draws=20, rng=key)[0].mse

    expected = mse()
    with jax.numpy_rank_promotion("raise"):
        np.testing.assert_allclose(mse(), expected)


def test_vmap_over_rows_and_keys(jax):
    estimator = rbgs.GumbelRao(0.5, samples=3)
    keys = jax.random.split(jax.random.key(0), 6)

    def product(logits, key):
        return estimator.sample(logits, rng=key).jvp(logits)

    mapped = jax.vmap(product)(jax.numpy.asarray(LOGITS), keys)
    for row in range(6):
        alone = product(jax.numpy.asarray(LOGITS[row]), keys[row])
        np.testing.assert_allclose(mapped[row], alone, atol=1e-9)


def test_a_numpy_generator_under_jit_is_refused(jax):
    def index(logits):
        return rbgs.StraightThrough().sample(logits, rng=np.random.default_rng(0)).index

    with pytest.raises(ValueError, match="pass a JAX key"):
        jax.jit(index)(jax.numpy.asarray(LOGITS))


def test_a_running_mean_under_jit_is_refused(jax):
    estimator = rbgs.Reinforce(rbgs.RunningMean())

    def gradient(logits):
        return estimator.gradient(quadratic(jax.numpy, np.ones(4), np.ones(4)), logits, rng=0)

    with pytest.raises(TypeError, match=r"RunningMean .* carry its number as an array"):
        jax.jit(gradient)(jax.numpy.asarray(LOGITS))


def test_single_precision_without_x64(jax):
    with jax.enable_x64(False):
        logits = jax.numpy.asarray(LOGITS)
        assert logits.dtype == np.float32
        oracle = quadratic(jax.numpy, np.full(4, 0.3, "f4"), np.arange(4, dtype="f4"))
        for moments in rbgs.compare(PATHWISE, oracle, logits, draws=50, rng=jax.random.key(0)):
            assert np.isfinite(np.asarray(moments.mse)).all()


@pytest.mark.parametrize("sampling", ["lattice", "monte_carlo"])
def test_any_number_of_samples_inside_jit(jax, sampling):
    lattice._search.cache_clear()  # as in a process that has met none of them

    def product(logits, samples):
        return rbgs.GumbelRao(0.5, samples, sampling).sample(logits, rng=rbgs.Key(0)).vjp(logits)

    logits = jax.numpy.asarray(LOGITS)
    for samples in (1, 2, 13, 22):
        jitted = jax.jit(product, static_argnums=1)(logits, samples)
        np.testing.assert_allclose(jitted, product(logits, samples), atol=1e-12)
