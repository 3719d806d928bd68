"""Structures by brute force: all of them, their traces, and the Gibbs law over them."""

import itertools

import numpy as np
from scipy import stats

import rbgs
from rbgs.arrays.settings import own_settings


def structures(structure, n):
    """Return every outcome, as rows of 0 and 1."""
    return np.asarray(
        [
            np.isin(np.arange(n), chosen)
            for chosen in itertools.combinations(range(n), structure.rank(n))
            if isinstance(structure, rbgs.Subset) or is_tree([structure.edges[e] for e in chosen])
        ]
    ).astype(int)


def is_tree(edges):
    """Tell whether N - 1 edges of N vertices connect them."""
    reached = {edges[0][0]}
    for _ in edges:
        reached |= {v for edge in edges if reached & set(edge) for v in edge}
    return len(reached) == len(edges) + 1


def law_of_traces(outcomes, rates):
    """Return the probability of each order: one after the other, of what still fits an outcome."""
    sets = [frozenset(np.flatnonzero(outcome)) for outcome in outcomes]
    law, rank = {(): 1.0}, len(sets[0])
    for _ in range(rank):
        longer = {}
        for taken, p in law.items():
            fits = set().union(*(s for s in sets if s.issuperset(taken))) - set(taken)
            total = sum(rates[e] for e in fits)
            longer |= {(*taken, e): p * rates[e] / total for e in fits if rates[e]}
        law = longer
    return law


def law_of_structures(outcomes, rates):
    """Return the probability of each outcome: the sum over its orders."""
    sums = dict.fromkeys((frozenset(np.flatnonzero(outcome)) for outcome in outcomes), 0.0)
    for trace, p in law_of_traces(outcomes, rates).items():
        sums[frozenset(trace)] += p
    return np.asarray(list(sums.values()))


def gibbs(outcomes, utilities):
    """Return marginals and covariance of the law in proportion to exp(sum of utilities).

    As sums over pairs of outcomes: no difference of nearly equal numbers.
    """
    log_weights = np.sum(np.where(outcomes == 1, utilities, 0.0), axis=-1, dtype=np.longdouble)
    weights = np.exp(log_weights - log_weights.max())
    p = weights / weights.sum()
    differences = outcomes[:, None, :] - outcomes[None, :, :]
    pairs = (p[:, None] * p[None, :])[..., None] * differences
    covariance = np.einsum("abi,abj->ij", pairs, differences.astype(np.longdouble)) / 2
    return (p @ outcomes).astype(float), covariance.astype(float)


def binary_entropy(k, utilities):
    """Return sigmoids that sum to k, by bisection, and their derivative."""
    low, high = utilities.min() - 800.0, utilities.max() + 800.0
    for _ in range(200):
        middle = (low + high) / 2
        mu = 1 / (1 + np.exp(np.clip(middle - utilities, -700, 700)))
        low, high = (middle, high) if mu.sum() > k else (low, middle)
    q = mu * (1 - mu)
    return mu, np.diag(q) - np.outer(q, q) / q.sum()


def assert_law(observed, expected):
    """Assert by a chi-square test that counts have probabilities, rare ones taken together."""
    observed, expected = np.asarray(observed, float), np.asarray(expected) * np.sum(observed)
    rare = expected < 10
    if rare.any():
        observed = np.append(observed[~rare], observed[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
    assert observed[expected == 0].sum() == 0
    kept = expected > 0
    expected = expected[kept] * observed.sum() / expected.sum()
    assert stats.chisquare(observed[kept], expected).pvalue > 1e-4


def counted(traces, law):
    """Return how often each trace of a law came out, of orders ``(r, rows)``."""
    keys, counts = np.unique(traces, axis=1, return_counts=True)
    found = dict(zip(map(tuple, keys.T.tolist()), counts.tolist(), strict=True))
    assert found.keys() <= law.keys()
    return [found.get(trace, 0) for trace in law]


def outcome(structure, logits, rng=0, index=None):
    """Return what an estimator knows whose derivative hangs on the trace."""
    with own_settings():
        return rbgs.Reinforce(structure=structure)._outcome(logits, rng, None, index, None, -1)
