"""Tune: the temperature of least mean squared error."""

import numpy as np
import pytest
from backends import to_numpy
from cases import quadratic

import rbgs

LOGITS = np.asarray([[0.3, -0.2, 0.9], [0.0, 1.0, -1.0]])
TARGET, WEIGHTS = np.asarray([0.1, 0.7, 0.2]), np.asarray([1.0, 3.0, -2.0])


def cubic(value):
    mean = value @ np.asarray([1.0, 2.0, 4.0])
    return mean**3, 3 * mean[..., None] ** 2 * np.asarray([1.0, 2.0, 4.0])


def mse(estimator):
    return rbgs.compare([estimator], cubic, LOGITS, draws=4, rng=0)[0].mse.mean()


def test_the_best_temperature_is_near_that_of_a_fine_grid():
    """Straight-through is enumerated, so that the curve has no noise."""
    tuning = rbgs.tune(rbgs.StraightThrough(), cubic, LOGITS, draws=10, rng=0)
    fine = np.geomspace(1 / 16, 8, 400)
    errors = [mse(rbgs.StraightThrough(t)) for t in fine]
    assert abs(np.log2(tuning.temperature / fine[np.argmin(errors)])) < 0.25
    assert mse(tuning.estimator) < 1.02 * min(errors)
    assert tuning.estimator == rbgs.StraightThrough(tuning.temperature)
    tried = [moments.estimator.temperature for moments in tuning.comparison]
    assert tried == sorted(tried)
    assert len(tried) == 12
    assert not tuning.is_at_edge
    assert f"Least: temperature {tuning.temperature:.4g}, MSE" in repr(tuning)


def test_given_temperatures_on_every_library(xp):
    oracle, logits = quadratic(xp, TARGET, WEIGHTS), xp.asarray(LOGITS)
    temperatures = [2.0, 0, np.float32(0.5), xp.asarray(2)]
    tuning = rbgs.tune(
        rbgs.GumbelRao(0.3, sampling="exact"),
        oracle,
        logits,
        draws=4,
        rng=0,
        temperatures=temperatures,
    )
    assert [m.estimator.temperature for m in tuning.comparison] == [0.0, 0.5, 2.0]
    found = [float(to_numpy(moments.mse).mean()) for moments in tuning.comparison]
    assert tuning.temperature == [0.0, 0.5, 2.0][int(np.argmin(found))]
    assert tuning.estimator.sampling == "exact"


def test_all_temperatures_get_the_same_randomness_from_a_seed():
    one, other = (
        rbgs.tune(rbgs.GumbelRao(1.0), cubic, LOGITS, draws=8, rng=3, temperatures=x)
        for x in ([0.5, 1.0], [1.0])
    )
    np.testing.assert_array_equal(one.comparison[1].mse, other.comparison[0].mse)


def test_the_temperature_of_what_is_averaged_is_tuned():
    tuning = rbgs.tune(
        rbgs.Systematic(rbgs.StraightThrough(), draws=2), cubic, LOGITS, draws=8, rng=0
    )
    assert tuning.estimator.estimator == rbgs.StraightThrough(tuning.temperature)


def test_joint_variables_against_a_reference():
    def oracle(value):
        total = value[..., 0].sum(axis=-1) - 1
        first = np.broadcast_to([1.0, 0.0, 0.0], value.shape)
        return total**3, 3 * total[..., None, None] ** 2 * first

    tuning = rbgs.tune(
        rbgs.StraightThroughGumbelSoftmax(1.0),
        oracle,
        np.zeros((2, 20, 3)),
        draws=200,
        rng=0,
        temperatures=[0.05, 1.0],
        reference=rbgs.Reinforce("leave_one_out", samples=4),
        reference_draws=400,
    )
    assert tuning.temperature == 1.0
    assert tuning.comparison[0].mse.shape == (2,)
    assert tuning.is_at_edge
    assert "edge" in repr(tuning)


def test_the_picture_has_three_curves():
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    tuning = rbgs.tune(
        rbgs.GumbelRao(1.0), cubic, LOGITS, draws=8, rng=0, temperatures=[0, 0.5, 1.0]
    )
    ax = tuning.plot(Figure().subplots())
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "bias²",
        "variance",
        "MSE",
    ]
