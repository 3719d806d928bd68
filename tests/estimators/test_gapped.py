"""Gapped straight-through: the definition as it stands in the paper, and its edges."""

import numpy as np
import pytest
from backends import to_numpy
from cases import softmax

import rbgs

LOGITS = np.random.default_rng(0).normal(size=(50, 5))
INDEX = np.arange(50) % 5


def defined(logits, index, temperature, gap):
    """Return the Jacobian of the paper, in double precision."""
    winner = np.eye(logits.shape[-1])[index]
    top = logits.max(axis=-1, keepdims=True)
    lifted = (top - logits) * winner
    lowered = np.maximum(logits - top + gap, 0) * (1 - winner)
    s = softmax((logits + lifted - lowered) / temperature)
    return (s[..., :, None] * np.eye(s.shape[-1]) - s[..., :, None] * s[..., None, :]) / temperature


@pytest.mark.parametrize("gap", [0.0, 0.3, 1.0, 5.0, "p"])
def test_the_definition(xp, gap):
    p = softmax(LOGITS)[np.arange(50), INDEX][:, None]
    number = -np.log(1 - p) / p if gap == "p" else gap
    draw = rbgs.GappedStraightThrough(0.7, gap).sample(xp.asarray(LOGITS), index=xp.asarray(INDEX))
    expected = defined(LOGITS, INDEX, 0.7, number)
    np.testing.assert_allclose(to_numpy(draw.jacobian()), expected, atol=1e-12)


def test_the_gap_p_is_the_mean_lead_of_the_winner():
    count, logits = 200_000, np.asarray([0.3, 1.0, -0.5])
    gumbels = np.random.default_rng(0).gumbel(size=(count, 3))
    perturbed = logits + gumbels
    second, first = np.sort(perturbed, axis=-1)[:, 1:].T
    p = softmax(logits)
    for i in range(3):
        lead = (first - second)[perturbed.argmax(axis=-1) == i]
        z = (lead.mean() + np.log(1 - p[i]) / p[i]) / (lead.std() / np.sqrt(lead.size))
        assert abs(z) < 5


@pytest.mark.parametrize("gap", [0.0, 1.0, 1e30, "p"])
def test_extremes(xp, gap):
    estimator = rbgs.GappedStraightThrough(0.5, gap)
    rows = np.asarray(
        [
            [0.0, -np.inf, -np.inf],
            [0.0, -200.0, -np.inf],
            [1e30, -1e30, 0.0],
            [0.0, 0.0, -np.inf],
            [-60.0, 0.0, 1.0],
        ]
    )
    for dtype in (xp.float32, xp.float64):
        draw = estimator.sample(xp.asarray(rows, dtype=dtype), index=0)
        jacobian = to_numpy(draw.jacobian())
        assert np.isfinite(jacobian).all()
        assert np.all(jacobian[0] == 0)
        assert np.all(jacobian[:2, 2] == 0)
        assert np.all(jacobian[2] == 0)
    assert np.isfinite(estimator.sample(np.zeros((2, 1)), index=0).jacobian()).all()


def test_the_gap_p_keeps_its_digits_where_the_outcome_is_all_but_certain():
    # Of 1 - p nothing is left in rounding, and at a high temperature it would show.
    logits, temperature = np.asarray([[0.0, -60.0, -61.0]]), 50.0
    gap = 60.0 - np.log1p(np.exp(-1.0))
    expected = defined(logits, [0], temperature, gap)
    for dtype, tolerance in ((np.float32, 1e-6), (np.float64, 1e-13)):
        estimator = rbgs.GappedStraightThrough(temperature, "p")
        jacobian = estimator.sample(logits.astype(dtype), index=0).jacobian()
        np.testing.assert_allclose(jacobian, expected, rtol=tolerance)
