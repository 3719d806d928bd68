"""The variance of structured outcomes: the enumerated gradient, and one cell of the table."""

import numpy as np
import pytest

pytest.importorskip("rich")
import rbgs
from benchmarks.measurements import structured_variance as sv


def test_the_enumerated_gradient_is_that_of_a_category_for_one_element():
    problem = sv.Problem.drawn(5, 0)
    exact = rbgs.exact_gradient(lambda value: problem(value)[0], problem.logits)
    np.testing.assert_allclose(sv.exact_gradient(problem, 1), exact, rtol=1e-10)


def test_the_score_of_the_trace_has_the_enumerated_mean():
    problem = sv.Problem.drawn(4, 0)
    exact = sv.exact_gradient(problem, 2)
    drawn = problem.gradients(rbgs.Reinforce(structure=rbgs.Subset(2)), 40_000, seed=1)
    error = drawn.std(axis=0) / np.sqrt(len(drawn))
    assert (np.abs(drawn.mean(axis=0) - exact) < 4.5 * error).all()


@pytest.mark.parametrize("label", ["3 of 10", "tree of 5"])
def test_the_average_given_the_trace_has_less_variance(label):
    found = sv.gain(label, 0.3, 200)
    for value, error in found:
        assert value > 1 + 2 * error
        assert error < 0.5


def test_a_ratio_and_its_error():
    rng = np.random.default_rng(0)
    above, below = 2 + 0.1 * rng.normal(size=(2, 400))
    value, error = sv.ratio_with_error(2 * above, below)
    assert abs(value - 2) < 4 * error
    assert 0.8 < error / (2 * np.sqrt(2) * 0.05 / 20) < 1.2


def test_agreement_is_within_two_errors_and_rounding():
    assert sv.sign((2.0, 0.1), 2.24) == "="
    assert sv.sign((2.0, 0.1), 2.3) == "<"
    assert sv.sign((2.0, 0.1), 1.7) == ">"
