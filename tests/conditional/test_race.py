"""Gumbels given the winner: properties 1 to 3."""

import numpy as np
import pytest
from backends import to_numpy
from cases import logits_arrays, standard_error_test
from hypothesis import given
from hypothesis import strategies as st

from rbgs.arrays.simplex import log_softmax
from rbgs.conditional.race import race
from rbgs.conditional.samples import ConditionalSamples
from rbgs.random.noise import exponential

LOGITS = np.asarray([0.5, -1.0, 1.2, 0.0])


def gaps_given(log_probs, index, exponentials, temperature=1.0):
    """Return how far each perturbed logit is below the winner's: what the points are made of."""
    drawn = ConditionalSamples(temperature, 1, log_probs, index, exponentials)
    points = to_numpy(drawn.points())[:, 0, :]
    index = to_numpy(index)
    with np.errstate(divide="ignore"):
        gaps = -temperature * np.log(points / np.take_along_axis(points, index[None], 0))
    return np.where(np.arange(len(gaps))[:, None] == index, 0.0, gaps)


@given(logits=logits_arrays(), seed=st.integers(0, 2**32 - 1))
def test_the_winner_wins(xp, logits, seed):
    logits = np.moveaxis(logits, -1, 0).reshape(logits.shape[-1], -1)
    uniforms = np.random.default_rng(seed).random(logits.shape)
    log_probs = log_softmax(xp.asarray(logits))
    index, _, remaining = race(log_probs, xp.asarray(uniforms))
    assert np.all(np.isfinite(np.take_along_axis(logits, to_numpy(index)[None], 0)))
    gaps = gaps_given(log_probs, index, remaining)
    assert np.all(gaps >= 0)
    assert np.all(np.isinf(gaps) == np.isneginf(logits))


@given(logits=logits_arrays(), seed=st.integers(0, 2**32 - 1))
def test_the_race_gives_back_its_own_gumbels(xp, logits, seed):
    logits = np.moveaxis(logits, -1, 0).reshape(logits.shape[-1], -1)
    uniforms = np.random.default_rng(seed).random(logits.shape)
    log_probs = log_softmax(xp.asarray(logits))
    index, _, remaining = race(log_probs, xp.asarray(uniforms))
    perturbed = to_numpy(log_probs) - np.log(-np.log1p(-uniforms))
    expected = perturbed.max(axis=0) - perturbed
    gaps = gaps_given(log_probs, index, remaining)
    np.testing.assert_allclose(gaps, expected, rtol=1e-9, atol=1e-9)


def test_exponentials_are_standard():
    drawn = exponential(np.random.default_rng(0).random(1_000_000))
    for power, moment in ((1, 1.0), (2, 2.0), (0.5, np.sqrt(np.pi) / 2)):
        standard_error_test(drawn**power, moment)
    ends = exponential(np.asarray([0.0, 1.0], np.float32))
    assert np.all((ends > 0) & (ends < 20))


def test_the_race_draws_categories():
    rng = np.random.default_rng(0)
    log_probs = np.tile(log_softmax(LOGITS)[:, None], (1, 400_000))
    index, _, remaining = race(log_probs, rng.random((4, 400_000)))
    p = np.exp(log_softmax(LOGITS))
    frequency = np.bincount(index, minlength=4) / 400_000
    assert np.all(np.abs(frequency - p) < 5 * np.sqrt(p * (1 - p) / 400_000))
    # What is left of the race does not depend on who won it.
    stats = pytest.importorskip("scipy.stats")
    for i in range(4):
        for column in remaining[:, index == i]:
            assert stats.kstest(column, "expon").pvalue > 1e-3


def test_drawing_the_winner_and_then_the_gumbels_gives_iid_gumbels():
    stats = pytest.importorskip("scipy.stats")
    rng, count = np.random.default_rng(1), 200_000
    log_probs = np.tile(log_softmax(LOGITS)[:, None], (1, count))
    index = rng.choice(4, size=count, p=np.exp(log_softmax(LOGITS)))
    exponentials = rng.standard_exponential((4, count))
    # Eq. 9: the winner's perturbed logit is -log E_i + log Z, and log Z = 0 for log-probabilities.
    best = -np.log(np.take_along_axis(exponentials, index[None], 0))
    gumbels = best - gaps_given(log_probs, index, exponentials) - log_probs
    for column in gumbels:
        assert stats.kstest(column, "gumbel_r").pvalue > 1e-3
    correlations = stats.spearmanr(gumbels.T).statistic - np.eye(4)
    assert np.abs(correlations).max() < 5 / np.sqrt(count)


@pytest.mark.parametrize("winner", [0, 1, 2])
def test_the_conditional_law_is_that_of_rejection_sampling(winner):
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(2)
    perturbed = LOGITS + rng.gumbel(size=(600_000, 4))
    kept = perturbed[perturbed.argmax(axis=-1) == winner]
    rejection = kept.max(axis=-1, keepdims=True) - kept
    count = len(kept)
    log_probs = np.tile(log_softmax(LOGITS)[:, None], (1, count))
    index = np.full(count, winner)
    gaps = gaps_given(log_probs, index, rng.standard_exponential((4, count))).T
    rivals = np.arange(4) != winner
    for j in np.flatnonzero(rivals):
        assert stats.ks_2samp(gaps[:, j], rejection[:, j]).pvalue > 1e-3
    # Functions of all rivals at once: the closest, and the sum of the relaxed rivals.
    for joint in (lambda g: g[:, rivals].min(axis=-1), lambda g: np.exp(-g / 0.5).sum(axis=-1)):
        assert stats.ks_2samp(joint(gaps), joint(rejection)).pvalue > 1e-3
