"""NumPy's setting for floating-point errors does not reach the library, but the caller's oracle."""

import numpy as np
import pytest
from cases import ESTIMATORS, name
from processes import run

import rbgs
from rbgs.arrays import loops

INF, NAN = np.inf, np.nan
LOGITS = [
    [0.0, 1.0, -2.0, 0.5],
    [0.0, -INF, -2.0, 0.5],
    [-INF, -INF, -INF, -INF],
    [0.0, NAN, -2.0, 0.5],
    [0.0, INF, -2.0, 0.5],
    [500.0, -500.0, 3e4, -3e4],
    [6e-8, 0.0, -95.0, -740.0],
]
OF_ROWS = [1e-30, 1e-6, 0.3, 0.5, 1.0, 2.5, 1e30]


pytestmark = pytest.mark.usefixtures("engine")


def oracle(value):
    assert np.geterr()["under"] == "raise"  # it is the caller's, who has set so
    losses = np.asarray([0.0, 1.0, 3.0, 4.0], dtype=value.dtype)
    return np.sum(value * losses, axis=-1), np.broadcast_to(losses, value.shape)


def everything(estimator, logits, vector):
    """Return all that an estimator answers, for a drawn and for a given outcome."""
    mask = np.asarray([True, True, False, True])
    draw = estimator.sample(logits, rng=rbgs.Key(0), mask=mask)
    found = [draw.value, estimator.gradient(oracle, logits, rng=0)]
    found.append(estimator.sample(logits, rng=1, index=np.arange(7) % 5).value)
    if estimator._pathwise:
        found += [draw.vjp(vector), draw.jacobian()]
    return [rbgs.exact_gradient(oracle, logits), *found]


def of_all_temperatures(estimator):
    """Return an estimator at other temperatures, too."""
    if getattr(estimator, "temperature", 0) == 0:
        return [estimator]
    others = {k: v for k, v in vars(estimator).items() if k != "temperature"}
    some = (1e-30, 0.3, 2.5, 1e30, np.asarray(OF_ROWS))
    return [type(estimator)(temperature, **others) for temperature in some]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=name)
def test_nothing_raises(dtype, estimator):
    with np.errstate(all="ignore"):
        logits = np.asarray(LOGITS).astype(dtype)
        vector = np.flip(logits, axis=-1) * logits.dtype.type(1e-3)
    for other in of_all_temperatures(estimator):
        with np.errstate(all="raise"):
            found = everything(other, logits, vector)
        with np.errstate(all="ignore", under="raise"):
            expected = everything(other, logits, vector)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=name)
def test_the_rows_that_can_be_answered_are(estimator):
    with np.errstate(all="raise"):
        draw = estimator.sample(np.asarray(LOGITS), rng=0)
    assert np.isnan(draw.value).all(axis=-1).tolist() == [False, False, *[True] * 3, False, False]


def test_threads(monkeypatch):
    monkeypatch.setattr(loops, "_threads", 3)
    logits = np.tile(np.asarray(LOGITS), (500, 1))
    for estimator in (rbgs.GumbelRao(0.01), rbgs.GumbelRao(1e30)):
        with np.errstate(all="raise"):
            estimator.sample(logits, rng=0).vjp(logits)


def test_compare():
    logits = np.asarray([[0.0, -300.0, -740.0, -INF], [1.0, 2.0, -350.0, 0.0]])
    estimators = [
        *ESTIMATORS,
        rbgs.Reinforce("leave_one_out", 3),
        rbgs.Reinforce(rbgs.RunningMean()),
    ]
    with np.errstate(all="raise"):
        for moments in rbgs.compare(estimators, oracle, logits, draws=8, rng=0):
            assert np.all(np.isfinite(moments.mse))


def test_an_oracle_that_underflows_raises():
    def bad(value):
        return np.exp(-800.0 * value[..., 0]), value

    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        rbgs.exact_gradient(bad, np.zeros(3))
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        rbgs.GumbelRao(0.5).gradient(bad, np.zeros(3), index=0, rng=0)


def test_import():
    code = """
    import numpy as np
    np.seterr(all="raise")
    import rbgs
    for samples in (1, 16, 101):
        rbgs.GumbelRao(1e-6, samples).sample(np.asarray([0.0, -np.inf, 0.1]), rng=0).jacobian()
    """
    assert run(code) == ("", "")
