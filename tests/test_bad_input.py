"""Every row of the table of bad input: what raises, with what message, and what becomes NaN."""

import numpy as np
import pytest
from backends import Backend, to_numpy
from cases import ESTIMATORS, PATHWISE, WITH_TEMPERATURE, name, quadratic

import rbgs
from rbgs.doors import at_temperature

each_estimator = pytest.mark.parametrize("estimator", ESTIMATORS, ids=name)
ESTIMATOR = rbgs.GumbelRao(0.5, samples=4, sampling="monte_carlo")


def zeros(xp, *shape):
    return xp.zeros(shape, dtype=xp.float64)


@pytest.mark.parametrize("dtype", ["int64", "complex128", "bool"])
def test_logits_of_a_wrong_dtype(xp, dtype):
    dtype = getattr(xp, dtype, None) or xp.bool
    with pytest.raises(TypeError, match=r"logits have dtype .* real floating dtype is wanted"):
        ESTIMATOR.sample(xp.zeros((2, 3), dtype=dtype), rng=0)


def test_logits_of_object_dtype():
    with pytest.raises(TypeError, match="logits have dtype object"):
        ESTIMATOR.sample(np.asarray([None, 1.0]), rng=0)


@pytest.mark.parametrize("logits", [[0.0, 1.0], 1.0, None, "ab"])
def test_logits_that_are_no_array(logits):
    with pytest.raises(TypeError, match=r"logits is a .* array API standard"):
        ESTIMATOR.sample(logits, rng=0)


def test_logits_without_categories(xp):
    with pytest.raises(ValueError, match="0-dimensional"):
        ESTIMATOR.sample(zeros(xp), rng=0)
    with pytest.raises(ValueError, match=r"\(2, 0\) have no categories along axis -1"):
        ESTIMATOR.sample(zeros(xp, 2, 0), rng=0)
    with pytest.raises(ValueError, match="axis 2 is out of range"):
        ESTIMATOR.sample(zeros(xp, 2, 3), rng=0, axis=2)
    with pytest.raises(TypeError, match="axis must be an int"):
        ESTIMATOR.sample(zeros(xp, 2, 3), rng=0, axis=1.0)


@pytest.mark.parametrize(
    "make",
    [
        rbgs.GumbelSoftmax,
        rbgs.StraightThrough,
        rbgs.StraightThroughGumbelSoftmax,
        rbgs.GumbelRao,
        rbgs.ReinMax,
        rbgs.ReinMaxRao,
        rbgs.GappedStraightThrough,
    ],
)
def test_temperatures_out_of_range(xp, make):
    for wrong in (-1.0, float("nan"), float("inf"), -float("inf"), 1e-40):
        with pytest.raises(ValueError, match="temperature must be"):
            make(wrong)
        with pytest.raises(ValueError, match="in every element"):
            make(xp.asarray([0.5, wrong], dtype=xp.float64))
    if make is not rbgs.GumbelRao:
        with pytest.raises(ValueError, match="temperature must be"):
            make(0)
    with pytest.raises(ValueError, match="in every element"):
        make(xp.asarray([0.5, 0.0], dtype=xp.float64))
    with pytest.raises(TypeError, match="temperature must be a float"):
        make("1")
    with pytest.raises(TypeError, match="temperature must be a float"):
        make(True)
    with pytest.raises(TypeError, match="temperature has dtype"):
        make(xp.asarray([1, 2]))


def test_unknown_options_and_counts():
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        rbgs.GumbelRao(0.5, samples=0)
    with pytest.raises(TypeError, match="samples must be an int, got float"):
        rbgs.GumbelRao(0.5, samples=2.0)
    with pytest.raises(
        ValueError, match=r"sampling must be one of 'lattice', 'monte_carlo', 'exact'; got 'iid'"
    ):
        rbgs.GumbelRao(0.5, sampling="iid")
    with pytest.raises(ValueError, match="control_variate must be one of None, True, False"):
        rbgs.GumbelRao(0.5, control_variate="yes")
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        rbgs.ReinMaxRao(0.5, samples=0)
    with pytest.raises(TypeError, match="samples must be an int, got float"):
        rbgs.ReinMaxRao(0.5, samples=2.0)
    for wrong in (-0.1, float("nan"), float("inf"), 1e31, "q"):
        with pytest.raises(ValueError, match='gap must be a number from 0 to 1e\\+30, or "p"; got'):
            rbgs.GappedStraightThrough(gap=wrong)
    with pytest.raises(TypeError, match=r'or "p"; got an array of shape \(2,\)'):
        rbgs.GappedStraightThrough(gap=np.ones(2))
    for wrong in (None, True, [1.0]):
        with pytest.raises(TypeError, match="gap must be a float"):
            rbgs.GappedStraightThrough(gap=wrong)
    with pytest.raises(ValueError, match="draws must be at least 2, got 1"):
        rbgs.Systematic(ESTIMATOR, 1)
    with pytest.raises(TypeError, match="draws must be an int, got float"):
        rbgs.Systematic(ESTIMATOR, 2.0)
    with pytest.raises(TypeError, match="estimator is the class GumbelRao; an instance"):
        rbgs.Systematic(rbgs.GumbelRao, 4)
    with pytest.raises(TypeError, match="estimator is a float"):
        rbgs.Systematic(0.5, 4)
    for wrong in (rbgs.Reinforce(), rbgs.Systematic(ESTIMATOR, 2)):
        with pytest.raises(TypeError, match=r"one whose draw has a Jacobian and one outcome"):
            rbgs.Systematic(wrong, 4)
    with pytest.raises(ValueError, match="number of threads must be at least 1"):
        rbgs.set_num_threads(0)
    with pytest.raises(ValueError, match="samples must be at least 2"):
        rbgs.Reinforce(baseline="leave_one_out")
    with pytest.raises(ValueError, match="baseline must be None"):
        rbgs.Reinforce(baseline="mean")
    with pytest.raises(ValueError, match="decay must lie in"):
        rbgs.RunningMean(decay=1.0)
    with pytest.raises(ValueError, match="draws must be at least 4"):
        rbgs.compare([], quadratic(np, 0.0, 1.0), np.zeros(2), draws=3, rng=0)


def test_hyperparameters_of_score_function_estimators(xp):
    with pytest.raises(ValueError, match="samples must be at least 2, got 1"):
        rbgs.Vimco(1)
    with pytest.raises(TypeError, match="samples must be an int, got float"):
        rbgs.Vimco(2.0)
    for wrong in ("1", True, None):
        with pytest.raises(TypeError, match="eta must be a float or a real floating array"):
            rbgs.Rebar(eta=wrong)
        with pytest.raises(TypeError, match="scale must be a float or a real floating array"):
            rbgs.Reinforce(scale=wrong)
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="eta must be finite, got"):
            rbgs.Rebar(eta=wrong)
    for wrong in (float("nan"), float("inf"), -1.0):
        with pytest.raises(ValueError, match="scale must be finite and not negative, got"):
            rbgs.Reinforce(scale=wrong)
    with pytest.raises(TypeError, match="control_variate is a float; a function of the value"):
        rbgs.Relax(control_variate=1.0)
    for make in (rbgs.RunningMean, rbgs.RunningDeviation, rbgs.RunningCoefficient):
        with pytest.raises(ValueError, match=r"decay must lie in \[0, 1\), got 1.0"):
            make(decay=1.0)
        with pytest.raises(TypeError, match="decay must be a float"):
            make(decay="0.9")
    oracle, logits = quadratic(xp, 0.0, 1.0), zeros(xp, 2, 3)
    for estimator, name_ in (
        (rbgs.Rebar(eta=xp.zeros((3,), dtype=xp.float64)), "eta"),
        (rbgs.Reinforce(scale=xp.ones((3,), dtype=xp.float64)), "scale"),
    ):
        with pytest.raises(ValueError, match=rf"{name_} has shape \(3,\), which does not"):
            estimator.gradient(oracle, logits, rng=0)
    with pytest.raises(TypeError, match="eta is a RunningCoefficient, which adapts itself"):
        rbgs.Rebar(eta=rbgs.RunningCoefficient()).gradient_with_eta(oracle, logits, rng=0)
    with pytest.raises(TypeError, match=r"gradient_with_eta has no dim=: it is axis= here"):
        rbgs.Rebar().gradient_with_eta(oracle, logits, rng=0, dim=-1)


def test_options_of_exact_gradient(xp):
    for name_ in ("samples", "max_outcomes"):
        with pytest.raises(ValueError, match=f"{name_} must be at least 1, got 0"):
            rbgs.exact_gradient(quadratic(xp, 0.0, 1.0), zeros(xp, 2, 3), **{name_: 0})
        with pytest.raises(TypeError, match=f"{name_} must be an int, got float"):
            rbgs.exact_gradient(quadratic(xp, 0.0, 1.0), zeros(xp, 2, 3), **{name_: 1.5})


def test_shapes_that_do_not_match(xp):
    logits, draw = zeros(xp, 2, 3), ESTIMATOR.sample(zeros(xp, 2, 3), rng=0)
    for call, name_ in ((draw.vjp, "cotangent"), (draw.jvp, "tangent")):
        with pytest.raises(ValueError, match=rf"{name_} has shape \(3, 2\); shape \(2, 3\)"):
            call(zeros(xp, 3, 2))
        with pytest.raises(ValueError, match=name_):
            call(zeros(xp, 3))
    with pytest.raises(ValueError, match=r"mask has shape \(4,\), which does not broadcast"):
        ESTIMATOR.sample(logits, rng=0, mask=xp.ones((4,), dtype=xp.bool))
    with pytest.raises(ValueError, match=r"mask has shape \(5, 2, 3\)"):
        ESTIMATOR.sample(logits, rng=0, mask=xp.ones((5, 2, 3), dtype=xp.bool))
    with pytest.raises(ValueError, match=r"index has shape \(3,\); shape \(2,\)"):
        ESTIMATOR.sample(logits, rng=0, index=xp.zeros((3,), dtype=xp.int64))
    with pytest.raises(ValueError, match=r"noise has shape \(2, 3\); shape \(2, 5\)"):
        ESTIMATOR.sample(logits, noise=zeros(xp, 2, 3))
    with pytest.raises(ValueError, match=r"temperature has shape \(3,\)"):
        rbgs.GumbelRao(xp.ones((3,), dtype=xp.float64)).sample(logits, rng=0)
    with pytest.raises(ValueError, match=r"index must lie in 0..2, got 3"):
        ESTIMATOR.sample(logits, rng=0, index=3)


def test_dtypes_that_do_not_match(xp):
    logits, draw = zeros(xp, 2, 3), ESTIMATOR.sample(zeros(xp, 2, 3), rng=0)
    with pytest.raises(TypeError, match="cotangent has dtype"):
        draw.vjp(xp.zeros((2, 3), dtype=xp.int64))
    with pytest.raises(TypeError, match="mask has dtype"):
        ESTIMATOR.sample(logits, rng=0, mask=xp.ones((2, 3), dtype=xp.int64))
    with pytest.raises(TypeError, match="index has dtype"):
        ESTIMATOR.sample(logits, rng=0, index=zeros(xp, 2))
    with pytest.raises(TypeError, match="noise has dtype"):
        ESTIMATOR.sample(logits, noise=xp.zeros((2, 5), dtype=xp.int64))


def test_libraries_that_do_not_match(backend, xp):
    other = Backend.STRICT if backend is not Backend.STRICT else Backend.NUMPY
    foreign = other.load()
    logits, draw = zeros(xp, 2, 3), ESTIMATOR.sample(zeros(xp, 2, 3), rng=0)
    both = f"(?=.*{backend.value}).*{other.value}"
    with pytest.raises(ValueError, match=both):
        draw.vjp(zeros(foreign, 2, 3))
    with pytest.raises(ValueError, match=both):
        draw.jvp(zeros(foreign, 2, 3))
    with pytest.raises(ValueError, match=both):
        ESTIMATOR.sample(logits, rng=0, mask=foreign.ones((2, 3), dtype=foreign.bool))
    with pytest.raises(ValueError, match=both):
        ESTIMATOR.sample(logits, rng=0, index=foreign.zeros((2,), dtype=foreign.int64))
    with pytest.raises(ValueError, match=both):
        ESTIMATOR.sample(logits, noise=zeros(foreign, 2, 5))
    with pytest.raises(ValueError, match=both):
        rbgs.GumbelSoftmax(foreign.ones((2,), dtype=foreign.float64)).sample(logits, rng=0)
    with pytest.raises(TypeError, match="cotangent is a list"):
        draw.vjp([[0.0] * 3] * 2)


def test_devices_that_do_not_match(backend, xp):
    if backend is not Backend.STRICT:
        pytest.skip("array-api-strict stands in for a second device")
    elsewhere = xp.zeros((2, 3), device=xp.Device("device1"))
    with pytest.raises(ValueError, match=r"cotangent is on device .*device1"):
        ESTIMATOR.sample(xp.zeros((2, 3)), rng=0).vjp(elsewhere)


@each_estimator
def test_rows_that_cannot_be_answered_are_nan(xp, estimator):
    rows = np.asarray(
        [[0.0, 1.0, 2.0], [0.0, np.nan, 0.0], [np.inf, 0.0, 0.0], [-np.inf] * 3, [1.0, 0.5, 0.0]]
    )
    bad = np.asarray([False, True, True, True, False])
    noise = xp.asarray(estimator.noise(np.zeros((5, 3)), 0))
    draw = estimator.sample(xp.asarray(rows), noise=noise)
    fine = estimator.sample(xp.asarray(np.where(bad[:, None], 0.0, rows)), noise=noise)
    value = to_numpy(draw.value)
    assert np.all(np.isnan(value[bad]))
    np.testing.assert_array_equal(value[~bad], to_numpy(fine.value)[~bad])
    index = to_numpy(draw.index)
    assert np.all(index[bad] == -1)
    assert np.all(index[~bad] >= 0)
    oracle = quadratic(xp, np.asarray([0.3, 0.1, 0.2]), np.asarray([1.0, 2.0, 3.0]))
    gradient = to_numpy(estimator.gradient(oracle, xp.asarray(rows), noise=noise))
    assert np.all(np.isnan(gradient[bad]))
    assert np.all(np.isfinite(gradient[~bad]))
    exact = to_numpy(rbgs.exact_gradient(oracle, xp.asarray(rows)))
    assert np.array_equal(np.isnan(exact).all(axis=-1), bad)
    if estimator in PATHWISE:
        v = xp.asarray(np.ones((5, 3)) * [1.0, 2.0, 4.0])
        product = to_numpy(draw.jvp(v))
        assert np.all(np.isnan(product[bad]))
        np.testing.assert_array_equal(product[~bad], to_numpy(fine.jvp(v))[~bad])
        jacobian = to_numpy(draw.jacobian())
        assert np.all(np.isnan(jacobian[bad]))
        assert np.all(np.isfinite(jacobian[~bad]))


@each_estimator
def test_a_single_bad_category_is_nan(xp, estimator):
    for wrong in (np.nan, np.inf, -np.inf):
        draw = estimator.sample(xp.asarray([[wrong]], dtype=xp.float64), rng=0)
        assert np.isnan(to_numpy(draw.value)).all()
        if estimator in PATHWISE:
            assert np.isnan(to_numpy(draw.jvp(xp.ones((1, 1), dtype=xp.float64)))).all()


@pytest.mark.parametrize("estimator", WITH_TEMPERATURE, ids=name)
@pytest.mark.parametrize("wrong", [0.0, -0.5, np.nan, np.inf, 1e-35])
def test_a_temperature_that_could_not_be_checked_is_nan(xp, estimator, wrong):
    """As a compiler traces it: value, index and derivative agree."""
    estimator = at_temperature(estimator, xp.asarray([0.5, wrong, 2.0], dtype=xp.float64))
    draw = estimator.sample(zeros(xp, 3, 4), rng=0)
    vector = zeros(xp, 3, 4) + 1
    wanted = [False, True, False]
    assert (to_numpy(draw.index) == -1).tolist() == wanted
    for x in (draw.value, draw.vjp(vector), draw.jvp(vector), draw.jacobian()):
        isnan = np.isnan(to_numpy(x)).reshape(3, -1)
        assert isnan.all(axis=1).tolist() == isnan.any(axis=1).tolist() == wanted


@each_estimator
def test_an_impossible_index_is_nan(xp, estimator):
    logits = xp.asarray(np.asarray([[0.0, -np.inf, 1.0]] * 4))
    draw = estimator.sample(logits, rng=0, index=xp.asarray([0, 1, 3, -1]))
    assert np.isnan(to_numpy(draw.value)).any(axis=-1).tolist() == [False, True, True, True]
    assert to_numpy(draw.index).tolist() == [0, -1, -1, -1]


@each_estimator
def test_noise_out_of_range_is_nan(xp, estimator):
    logits = np.zeros((4, 3))
    noise = np.array(estimator.noise(logits, 0))
    noise[1, 0], noise[2, 1], noise[3, -1] = -0.1, 1.1, np.nan
    draw = estimator.sample(xp.asarray(logits), noise=xp.asarray(noise))
    assert np.isnan(to_numpy(draw.value)).any(axis=-1).tolist() == [False, True, True, True]


def test_no_randomness(xp):
    logits = zeros(xp, 3)
    for call in (
        lambda: ESTIMATOR.sample(logits),
        lambda: ESTIMATOR.noise(logits, None),
        lambda: ESTIMATOR.gradient(quadratic(xp, 0.0, 1.0), logits),
        lambda: rbgs.compare([ESTIMATOR], quadratic(xp, 0.0, 1.0), logits, draws=8, rng=None),
    ):
        with pytest.raises(ValueError, match=r"pass rng=numpy.random.default_rng\(seed\)"):
            call()


def test_wrong_randomness(backend, xp):
    logits = zeros(xp, 3)
    with pytest.raises(TypeError, match="rng is a str, which is no known generator"):
        ESTIMATOR.sample(logits, rng="0")
    with pytest.raises(ValueError, match="both rng and noise are given"):
        ESTIMATOR.sample(logits, rng=0, noise=ESTIMATOR.noise(logits, 0))
    for other in (Backend.TORCH, Backend.JAX):
        if other is backend:
            continue
        try:
            generator = other.native_generator(0)
        except ImportError:
            continue
        with pytest.raises(ValueError, match=f"rng is a generator of {other.value}"):
            ESTIMATOR.sample(logits, rng=generator)


def test_wrong_oracles(xp):
    logits = zeros(xp, 2, 3)
    for wrong, error, message in (
        (lambda x: (xp.sum(x, axis=-1),), TypeError, "of length 1"),
        (lambda x: (x, x), ValueError, r"loss has shape .* for a value whose batch is"),
        (lambda x: (xp.sum(x, axis=-2), x), ValueError, "the oracle's loss has shape"),
        (lambda x: (xp.sum(x, axis=-1), xp.sum(x, axis=-1)), ValueError, "dloss_dvalue has shape"),
        (lambda x: (xp.sum(x, axis=-1), x, x[..., 0, :]), ValueError, "dloss_dlogits has shape"),
        (lambda x: (1.0, x), TypeError, "loss is a float"),
        (lambda _: 1.0, TypeError, "oracle"),
    ):
        with pytest.raises(error, match=message):
            ESTIMATOR.gradient(wrong, logits, rng=0)
        with pytest.raises((TypeError, ValueError), match="oracle"):
            rbgs.exact_gradient(wrong, logits)


def test_an_estimator_that_needs_the_derivative_says_so(xp):
    with pytest.raises(TypeError, match=r"GumbelRao needs the derivative .*return \(loss, dloss"):
        ESTIMATOR.gradient(lambda x: xp.sum(x, axis=-1), zeros(xp, 2, 3), rng=0)


def test_a_loss_without_the_axis_of_draws(xp):
    logits = zeros(xp, 2, 3)
    with pytest.raises(ValueError, match=r"loss has shape \(\) .* keep the first 1, of"):
        rbgs.Reinforce(samples=2).gradient(lambda x: xp.sum(x), logits, rng=0)
    with pytest.raises(ValueError, match="keep the first 1"):
        rbgs.exact_gradient(lambda x: xp.sum(x), logits)


def test_too_many_joint_outcomes(xp):
    with pytest.raises(ValueError, match=r"20 variables .* 1\.1e\+12 joint outcomes.*reference="):
        rbgs.exact_gradient(lambda x: xp.sum(x, axis=(-2, -1)), zeros(xp, 2, 20, 4))
    with pytest.raises(ValueError, match=r"in 9 draws, is 2\.62.*e\+05"):
        rbgs.exact_gradient(lambda x: xp.sum(x, axis=-1), zeros(xp, 2, 4), samples=9)


def test_reinforce_has_no_jacobian(xp):
    draw = rbgs.Reinforce().sample(zeros(xp, 3), rng=0)
    for call in (lambda: draw.vjp(zeros(xp, 3)), lambda: draw.jvp(zeros(xp, 3)), draw.jacobian):
        with pytest.raises(TypeError, match=r"call Reinforce.gradient"):
            call()


def test_the_derivative_of_a_framework_through_a_draw_is_refused():
    torch = pytest.importorskip("torch")
    jax = pytest.importorskip("jax")
    estimator = rbgs.GumbelSoftmax(0.5)
    logits = torch.zeros(3, requires_grad=True)
    with pytest.raises(ValueError, match=r"pass logits\.detach\(\).*call rbgs\.torch\.sample"):
        estimator.sample(logits, rng=0)
    assert estimator.noise(logits, 0).shape == (3,)
    assert estimator.sample(logits.detach(), rng=0).value.shape == (3,)
    with torch.no_grad():
        assert estimator.sample(logits, rng=0).value.shape == (3,)

    def value(x):
        return estimator.sample(x, rng=rbgs.Key(0)).value

    zeros = jax.numpy.zeros(3)
    for transform in (jax.jacfwd, jax.jacrev):
        with pytest.raises(NotImplementedError, match=r"call rbgs\.jax\.sample.*stop_gradient"):
            transform(value)(zeros)
        with pytest.raises(NotImplementedError, match=r"call rbgs\.jax\.sample"):
            jax.jit(transform(value))(zeros)
    assert (jax.jacrev(lambda x: value(jax.lax.stop_gradient(x)))(zeros) == 0).all()


def masked(shape=(2, 3), dtype=float):
    return np.ma.masked_array(np.zeros(shape, dtype), mask=np.zeros(shape, bool))


@each_estimator
def test_masked_arrays_of_numpy_are_refused_everywhere(estimator):
    logits = np.zeros((2, 3))
    refused = pytest.raises(TypeError, match="is a masked array of NumPy, whose mask")
    with pytest.raises(TypeError, match=r"masked array.*mask=~numpy\.ma\.getmaskarray\(logits\)"):
        estimator.sample(masked(), rng=0)
    for options in (
        {"rng": 0, "mask": masked(dtype=bool)},
        {"rng": 0, "index": masked((2,), int)},
        {"noise": masked(estimator.noise(logits, 0).shape)},
    ):
        if "noise" not in options or estimator._needs_noise(None):
            with refused:
                estimator.sample(logits, **options)
    with refused:
        estimator.noise(masked(), 0)
    for answer in (
        (masked((2,)), logits),
        (np.zeros(2), masked()),
        (np.zeros(2), logits, masked()),
    ):
        with refused:
            estimator.gradient(lambda _, answer=answer: answer, logits, rng=0)
    if estimator in PATHWISE:
        draw = estimator.sample(logits, rng=0)
        for product in (draw.vjp, draw.jvp):
            with refused:
                product(masked())


def test_masked_arrays_of_numpy_are_refused_elsewhere():
    refused = pytest.raises(TypeError, match="is a masked array of NumPy, whose mask")
    oracle = quadratic(np, 0.0, 1.0)
    for temperature in (masked((2,)) + 0.5, np.ma.masked, np.ma.masked_array(0.5)):
        with refused:
            rbgs.GumbelRao(temperature)
    with refused:
        rbgs.Reinforce(masked((2,))).gradient(oracle, np.zeros((2, 3)), rng=0)
    with refused:
        rbgs.RunningMean().update(masked((2,)))
    with refused:
        rbgs.exact_gradient(oracle, masked())
    with refused:
        rbgs.compare([ESTIMATOR], oracle, masked(), draws=8, rng=0)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_a_matrix_of_numpy_is_refused():
    with pytest.raises(TypeError, match=r"numpy\.matrix, whose \* differs"):
        ESTIMATOR.sample(np.asmatrix(np.zeros((2, 3))), rng=0)


def test_other_arrays_derived_from_those_of_numpy_are_taken(tmp_path):
    class Derived(np.ndarray):
        pass

    logits = np.random.default_rng(0).normal(size=(2, 3))
    expected = ESTIMATOR.sample(logits, rng=0)
    mapped = np.memmap(tmp_path / "logits", float, "w+", shape=(2, 3))
    mapped[:] = logits
    for derived in (logits.view(Derived), mapped):
        draw = ESTIMATOR.sample(derived, rng=0)
        np.testing.assert_array_equal(draw.vjp(derived), expected.vjp(logits))


def test_seeds_that_are_none(xp):
    def oracle(value):
        return xp.sum(value, axis=-1), value

    logits = zeros(xp, 2, 3)
    calls = (
        lambda rng: ESTIMATOR.sample(logits, rng=rng),
        lambda rng: ESTIMATOR.noise(logits, rng),
        lambda rng: ESTIMATOR.gradient(oracle, logits, rng=rng),
        lambda rng: rbgs.compare([ESTIMATOR], oracle, logits, draws=8, rng=rng),
    )
    for call in calls:
        for wrong in (True, np.bool_(True), 1.5, "1", [1]):
            with pytest.raises(TypeError, match=r"rng is a .*, which is no known generator: pass"):
                call(wrong)
        with pytest.raises(ValueError, match="rng is the seed -1, but a seed is 0 or above"):
            call(-1)


def test_keywords_of_another_door_are_named():
    oracle, logits = quadratic(np, 0.0, 1.0), np.zeros((2, 3))
    calls = (
        lambda **given: ESTIMATOR.sample(logits, **given),
        lambda **given: ESTIMATOR.noise(logits, **given),
        lambda **given: ESTIMATOR.gradient(oracle, logits, **given),
        lambda **given: rbgs.Reinforce().gradient(oracle, logits, **given),
        lambda **given: rbgs.compare([ESTIMATOR], oracle, logits, draws=8, **given),
        lambda **given: rbgs.tune(ESTIMATOR, oracle, logits, draws=8, **given),
    )
    for call in calls:
        with pytest.raises(TypeError, match=r"has no dim=: it is axis= here"):
            call(dim=-1)
        for wrong in ("generator", "key", "seed"):
            with pytest.raises(TypeError, match=f"has no {wrong}=: it is rng= here"):
                call(**{wrong: 0})
        with pytest.raises(TypeError, match="unexpected keyword argument 'randomness'"):
            call(randomness=0)
    with pytest.raises(TypeError, match=r"exact_gradient has no dim=: it is axis= here"):
        rbgs.exact_gradient(oracle, logits, dim=-1)


def test_a_loss_without_the_axis_of_draws_of_compare(xp):
    logits = zeros(xp, 2, 3)

    def squares(x):  # of the logits' own two axes, so that further ones are taken for variables
        return xp.sum(x**2, axis=tuple(range(x.ndim))), 2 * x

    def of_draws(x):  # one axis too few where an estimator evaluates the loss at several points
        return xp.sum(x**2, axis=tuple(range(1, x.ndim))), 2 * x

    with pytest.raises(ValueError, match=r"loss has shape \(\) .* keep the first 1"):
        rbgs.compare([ESTIMATOR], squares, logits, draws=8, rng=0)
    with pytest.raises(ValueError, match=r"loss has shape \(2,\) .* keep the first 2"):
        rbgs.compare([rbgs.Reinforce(samples=2)], of_draws, logits, draws=8, rng=0)


def of_compare_and_tune(**given):
    """Yield the calls of both with further arguments."""
    given = {"oracle": quadratic(np, 0.0, 1.0), "logits": np.zeros(3), "draws": 8, "rng": 0} | given
    yield lambda: rbgs.compare([ESTIMATOR], **given)
    yield lambda: rbgs.tune(ESTIMATOR, **given)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"draws": 3}, ValueError, "draws must be at least 4, got 3"),
        ({"reference": rbgs.GumbelRao(1.0)}, ValueError, "biased: pass an unbiased estimator"),
        (
            {"reference": rbgs.Reinforce(scale=2.0)},
            ValueError,
            "biased: pass an unbiased estimator",
        ),
        ({"reference": rbgs.Reinforce}, TypeError, "reference is the class Reinforce; an instance"),
        ({"reference": 0.5}, TypeError, "reference is a float; one such as"),
        ({"reference": rbgs.Vimco(2)}, ValueError, r"bound of 2 samples, but .* that of E\[f\]"),
        ({"reference_draws": 8}, ValueError, "reference_draws is given without a reference"),
        (
            {"reference": rbgs.Reinforce(), "reference_draws": 3},
            ValueError,
            "reference_draws must be at least 4",
        ),
        (
            {"reference": rbgs.Reinforce(), "reference_draws": 8.0},
            TypeError,
            "reference_draws must be an int, got float",
        ),
        ({"max_outcomes": 0}, ValueError, "max_outcomes must be at least 1"),
    ],
)
def test_wrong_arguments_of_compare_and_tune(given, error, message):
    for call in of_compare_and_tune(**given):
        with pytest.raises(error, match=message):
            call()


def test_too_many_joint_outcomes_to_compare():
    def oracle(x):
        return np.sum(x, axis=(-2, -1)), np.ones_like(x)

    for call in of_compare_and_tune(oracle=oracle, logits=np.zeros((20, 4))):
        with pytest.raises(ValueError, match=r"20 variables .*raise the limit.*reference="):
            call()


@pytest.mark.parametrize(
    ("temperatures", "error", "message"),
    [
        ([], ValueError, r"temperatures is empty; a list such as \[0.1, 0.3, 1.0\]"),
        (0.5, TypeError, "temperatures is 0.5; a list such as"),
        ("0.5", TypeError, "temperatures is '0.5'; a list such as"),
        (["0.5"], TypeError, "one of the temperatures must be a float"),
        ([np.ones(2)], TypeError, "one of the temperatures is an array with axes"),
        ([0.5, -1.0], ValueError, "temperature must be"),
        ([0.5, float("nan")], ValueError, "temperature must be"),
    ],
)
def test_wrong_temperatures_to_tune(temperatures, error, message):
    oracle = quadratic(np, 0.0, 1.0)
    with pytest.raises(error, match=message):
        rbgs.tune(ESTIMATOR, oracle, np.zeros(3), draws=8, rng=0, temperatures=temperatures)


def test_what_cannot_be_tuned():
    oracle = quadratic(np, 0.0, 1.0)
    with pytest.raises(TypeError, match=r"Reinforce\(.*\) has no temperature to tune"):
        rbgs.tune(rbgs.Reinforce(), oracle, np.zeros(3), draws=8, rng=0)
    with pytest.raises(TypeError, match="estimator is the class GumbelRao; an instance"):
        rbgs.tune(rbgs.GumbelRao, oracle, np.zeros(3), draws=8, rng=0)
    for logits in (np.asarray([0.0, np.nan, 1.0]), np.zeros((0, 3))):
        with pytest.raises(ValueError, match=r"squared error at temperature 0\.0625 is nan"):
            rbgs.tune(ESTIMATOR, oracle, logits, draws=8, rng=0)


def test_compare_wants_a_list_of_estimators():
    def compare(estimators):
        rbgs.compare(estimators, quadratic(np, 0.0, 1.0), np.zeros(3), draws=8, rng=0)

    for wrong in (rbgs.GumbelRao, ESTIMATOR, 0.5, None):
        with pytest.raises(TypeError, match=r"a list such as \[rbgs\.GumbelRao\(0\.5\)\]"):
            compare(wrong)
    with pytest.raises(TypeError, match="is the class GumbelRao; an instance such as"):
        compare([ESTIMATOR, rbgs.GumbelRao])
    with pytest.raises(TypeError, match="is a float; one such as"):
        compare([0.5])
    compare(iter([ESTIMATOR]))


@pytest.mark.parametrize("what", ["gradient", "exact_gradient", "compare"])
def test_logits_that_require_a_gradient_are_to_be_detached(what):
    torch = pytest.importorskip("torch")
    logits, weight = torch.zeros(3, requires_grad=True), torch.ones(3, requires_grad=True)

    def oracle(value):
        return (weight * value).sum(dim=-1), weight * torch.ones_like(value)

    calls = {
        "gradient": lambda x: ESTIMATOR.gradient(oracle, x, rng=0),
        "exact_gradient": lambda x: rbgs.exact_gradient(oracle, x),
        "compare": lambda x: rbgs.compare([ESTIMATOR], oracle, x, draws=8, rng=0)[0].mse,
    }
    with pytest.raises(ValueError, match=rf"pass logits\.detach\(\), also to .*{what}"):
        calls[what](logits)
    found = calls[what](logits.detach())
    # What is measured is a number; an estimate may be differentiated for what the oracle is of.
    assert found.requires_grad is (what != "compare")


def test_a_shard_of_reinforce_with_several_draws_says_where_the_draws_are():
    estimator, logits = rbgs.Reinforce(samples=4), np.zeros((6, 3))
    with pytest.raises(ValueError, match=r"leading axis of 4 draws.*key\.at\(0, \*start"):
        estimator.sample(logits[:2], rng=rbgs.Key(0).at(4))
    whole = estimator.sample(logits, rng=rbgs.Key(0))
    shard = estimator.sample(logits[4:], rng=rbgs.Key(0).at(0, 4, shape=(4, 6, 3)))
    np.testing.assert_array_equal(shard.value, whole.value[:, 4:])
