"""The variance of structured outcomes: the loss, and cells of the table."""

import numpy as np
import pytest

pytest.importorskip("rich")
from benchmarks.measurements import structured_variance as sv


def test_the_gradient_of_the_loss_is_its_derivative():
    problem = sv.Problem.drawn(5, 0)
    value, step = np.random.default_rng(0).random((2, 5))
    above, below = (problem(value + sign * 1e-5 * step)[0] for sign in (1, -1))
    np.testing.assert_allclose((above - below) / 2e-5, problem(value)[1] @ step, rtol=1e-6)


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
