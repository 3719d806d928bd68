"""Arrival times given the trace: the race gives back its own, and any others have their law."""

import numpy as np
import pytest
from backends import to_numpy
from cases import STRUCTURES, short
from enumeration import outcome
from scipy import stats

import rbgs
from rbgs.arrays.settings import own_settings
from rbgs.structures.points import _Drawn
from rbgs.structures.trace import log_times

LOGITS = np.asarray([0.5, -1.0, 0.8, 0.0, -0.3])
each_structure = pytest.mark.parametrize("structure", STRUCTURES[::2], ids=short)


def nine_vertices():
    edges = [(v, (v + 1) % 9) for v in range(9)] + [(0, 3), (1, 5), (2, 7), (4, 8), (6, 0), (3, 8)]
    return rbgs.SpanningTree(edges)


LARGE = {
    "2 of 3": (rbgs.Subset(2), 3),
    "9 of 10": (rbgs.Subset(9), 10),
    "20 of 200": (rbgs.Subset(20), 200),
    "150 of 200": (rbgs.Subset(150), 200),
    "9 vertices": (nine_vertices(), 15),
}


def times_given(structure, drawn, exponentials):
    """Return the logarithms of arrival times ``(n, rows)`` given the trace of an outcome."""
    log_probs = drawn.rows.log_probs
    log_totals = structure.log_totals(log_probs, drawn.index)
    times, _ = log_times(drawn.index, log_probs, log_totals, exponentials[:, None, :])
    return to_numpy(times)[:, 0, :] - to_numpy(log_totals)[-1, :]  # in units of the last taking


@each_structure
def test_the_race_gives_back_its_own_times(xp, structure):
    noise = np.random.default_rng(0).random((6, 5))
    logits = np.random.default_rng(1).normal(size=(6, 5))
    estimator = rbgs.Reinforce(structure=structure)
    with own_settings():
        drawn = estimator._outcome(xp.asarray(logits), None, xp.asarray(noise), None, None, -1)
        times = times_given(structure, drawn, drawn.exponentials)
    expected = np.log(-np.log1p(-noise.T)) - to_numpy(drawn.rows.log_probs)
    np.testing.assert_allclose(times, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("structure", "n"), LARGE.values(), ids=LARGE)
@pytest.mark.parametrize("spread", [0.1, 10.0])
@pytest.mark.usefixtures("engine")
def test_the_race_gives_back_the_times_of_large_structures(structure, n, spread):
    rng = np.random.default_rng(0)
    logits, noise = spread * rng.normal(size=(50, n)), rng.random((50, n))
    estimator = rbgs.Reinforce(structure=structure)
    with own_settings():
        drawn = estimator._outcome(logits, None, noise, None, None, -1)
        times = times_given(structure, drawn, drawn.exponentials)
    expected = np.log(-np.log1p(-noise.T)) - drawn.rows.log_probs
    np.testing.assert_allclose(times, expected, rtol=0, atol=1e-9)


@each_structure
def test_what_is_left_of_the_race_does_not_depend_on_the_trace(structure):
    drawn = outcome(structure, np.tile(LOGITS, (100_000, 1)))
    codes = drawn.index.order.T @ 5 ** np.arange(3)
    for code in np.unique(codes):
        of_trace = drawn.exponentials[:, codes == code]
        if of_trace.shape[1] < 500:
            continue
        for column in of_trace:
            assert stats.kstest(column, "expon").pvalue > 1e-4
        correlations = np.corrcoef(of_trace) - np.eye(5)
        assert np.abs(correlations).max() < 5 / np.sqrt(of_trace.shape[1])


@each_structure
@pytest.mark.parametrize("given", [False, True])
def test_a_trace_and_fresh_exponentials_make_iid_arrivals(structure, given):
    # With a structure from one race, and its order from another one, too.
    count = 200_000
    rows = np.tile(LOGITS, (count, 1))
    drawn = outcome(structure, rows)
    if given:
        index = drawn.rows.restore(drawn.winner).astype(int)
        drawn = outcome(structure, rows, rng=1, index=index)
        fresh = drawn.exponentials  # what the choice of the order has left
    else:
        fresh = np.random.default_rng(2).standard_exponential((5, count))
    standard = np.exp(times_given(structure, drawn, fresh) + drawn.rows.log_probs)
    for column in standard:
        assert stats.kstest(column, "expon").pvalue > 1e-4
    assert np.all(np.abs(standard.mean(axis=-1) - 1) < 5 / np.sqrt(count))
    # An exponential's fourth central moment is 9.
    assert np.all(np.abs(standard.var(axis=-1) - 1) < 5 * np.sqrt(8 / count))
    assert np.abs(np.corrcoef(standard) - np.eye(5)).max() < 5 / np.sqrt(count)


@pytest.mark.parametrize(("structure", "n"), LARGE.values(), ids=LARGE)
@pytest.mark.parametrize("sampling", ["lattice", "monte_carlo"])
def test_every_point_has_the_trace(sampling, structure, n):
    logits = np.random.default_rng(0).normal(size=(20, n))
    estimator = rbgs.GumbelRao(1.0, 33, sampling, structure=structure)
    operator = estimator.sample(logits, rng=0)._operator
    drawn = _Drawn(operator)
    for points in (drawn.first(), drawn.further(1, 32)):
        n, count, rows = points.shape
        found = structure.greedy(-points.reshape(n, count * rows))
        np.testing.assert_array_equal(
            found.order.reshape(-1, count, rows), np.repeat(operator.order[:, None], count, axis=1)
        )
        np.testing.assert_array_equal(
            found.step.reshape(n, count, rows), np.repeat(operator.step[:, None], count, axis=1)
        )


@each_structure
def test_points_of_a_draw_are_those_of_fresh_exponentials(structure):
    """Of the lattice and of the counter-based generator: each point has the law given the trace."""
    logits = np.tile(LOGITS, (40_000, 1))
    for sampling in ("lattice", "monte_carlo"):
        estimator = rbgs.GumbelRao(1.0, 4, sampling, structure=structure)
        operator = estimator.sample(logits, rng=0)._operator
        fresh = np.random.default_rng(1).standard_exponential((5, 40_000))
        drawn = _Drawn(operator)
        expected = drawn._utilities(fresh[:, None, :])[:, 0]
        for point in np.moveaxis(drawn.further(1, 3), 1, 0):
            for found, wanted in zip(point, expected, strict=True):
                assert stats.ks_2samp(found, wanted).pvalue > 1e-4
            spread = point.max(axis=0) - point.min(axis=0)
            of_expected = expected.max(axis=0) - expected.min(axis=0)
            assert stats.ks_2samp(spread, of_expected).pvalue > 1e-4
