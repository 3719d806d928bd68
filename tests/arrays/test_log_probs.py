"""The law of one-hot vectors: mixture, mask, entropy and divergence, by hand and in the limits."""

import numpy as np
import pytest
from backends import to_numpy

from rbgs.arrays.log_probs import divergence, entropy, log_prob, log_probabilities

P = np.asarray([[0.7, 0.2, 0.1], [0.05, 0.05, 0.9]])
LOGITS = np.log(P) + np.asarray([[3.0], [-2.0]])
MASK = np.asarray([[True, True, True], [True, False, True]])


def close(x, expected, atol=1e-12):
    np.testing.assert_allclose(to_numpy(x), expected, atol=atol, rtol=0)


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 1])
def test_the_mixture_by_hand(xp, share):
    logits, mask = xp.asarray(LOGITS), xp.asarray(MASK)
    close(xp.exp(log_probabilities(logits, None, share)), (1 - share) * P + share / 3)
    allowed = np.asarray([[0.7, 0.2, 0.1], [0.05 / 0.95, 0, 0.9 / 0.95]])
    expected = (1 - share) * allowed + share * MASK / [[3], [2]]
    close(xp.exp(log_probabilities(logits, mask, share)), expected)
    close(xp.exp(log_probabilities(xp.where(mask, logits, -np.inf), None, share)), expected)


def test_what_softmax_rounds_to_zero_keeps_its_logarithm(xp):
    logits = xp.asarray(np.asarray([[0.0, -2000.0], [1e30, -1e30]]))
    close(log_probabilities(logits), [[0, -2000], [0, -2e30]])
    close(log_probabilities(logits, None, 1e-300)[:, 1], np.log(0.5) - 300 * np.log(10))


def test_a_row_that_cannot_be_answered_is_nan_and_no_other(xp):
    rows = [[0.0, np.nan], [np.inf, 0], [-np.inf, -np.inf], [0, 0]]
    for share in (0.0, 0.1):
        found = log_probabilities(xp.asarray(np.asarray(rows)), None, share)
        assert to_numpy(xp.isnan(found)).any(axis=1).tolist() == [True, True, True, False]
        for f in (entropy(found), log_prob(found, xp.zeros((4, 2))), divergence(found, found)):
            assert to_numpy(xp.isnan(f)).tolist() == [True, True, True, False]


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_single(xp, name):
    dtype = getattr(xp, name, None)
    if dtype is None:
        pytest.skip(f"no {name}")
    logits = xp.astype(xp.asarray(np.full((1, 4096), 10.0)), dtype)
    found = log_probabilities(logits, None, 0.01)  # the sum of weights overflows float16
    assert found.dtype == dtype
    close(found, np.full((1, 4096), -np.log(4096)), atol=0.04)


def test_entropy_divergence_and_log_probability(xp):
    q = np.asarray([[0.2, 0.3, 0.5], [0.5, 0.0, 0.5]])
    p = np.where(MASK, P, 0) / np.where(MASK, P, 0).sum(axis=1, keepdims=True)
    log_p = log_probabilities(xp.asarray(LOGITS), xp.asarray(MASK))
    with np.errstate(divide="ignore"):
        log_q = log_probabilities(xp.asarray(np.log(q)))
    logs = np.log(np.where(MASK, p, 1))
    close(entropy(log_p), -(p * logs).sum(axis=1))
    close(divergence(log_p, log_q), (p * (logs - np.log(np.where(MASK, q, 1)))).sum(axis=1))
    close(divergence(log_p, log_p), [0, 0])
    unmasked = log_probabilities(xp.asarray(LOGITS))
    close(divergence(unmasked, log_q)[1], np.inf)  # q forbids a category that p does not
    assert np.isfinite(to_numpy(divergence(log_q, unmasked))).all()
    one_hot = xp.asarray(np.eye(3)[:, None, :])
    with np.errstate(divide="ignore"):
        close(log_prob(log_p, one_hot), np.log(p.T))
    close(log_prob(log_p, xp.astype(one_hot, xp.int32)), to_numpy(log_p).T)


@pytest.mark.parametrize("share", [-0.1, 1.1, np.nan])
def test_a_share_is_in_the_unit_interval(xp, share):
    with pytest.raises(ValueError, match=r"unimix must lie in \[0, 1\], got"):
        log_probabilities(xp.asarray(LOGITS), None, share)


def test_what_is_no_share_and_no_mask(xp):
    logits = xp.asarray(LOGITS)
    with pytest.raises(TypeError, match="unimix must be a float"):
        log_probabilities(logits, None, xp.asarray(np.asarray([0.1, 0.2])))
    with pytest.raises(TypeError, match="unimix must be a float"):
        log_probabilities(logits, None, True)
    with pytest.raises(TypeError, match="mask has dtype"):
        log_probabilities(logits, xp.asarray(np.ones(3)))
    with pytest.raises(ValueError, match="mask has shape"):
        log_probabilities(logits, xp.asarray(np.ones(2, bool)))
