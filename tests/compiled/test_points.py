"""The compiled product of a few points equals that of the array API."""

import numpy as np
import pytest
from cases import softmax

from rbgs.arrays import loops
from rbgs.draw import FixedPoints, WeightedPoints

pytestmark = pytest.mark.usefixtures("compiled")


def some(n, rows, dtype, scale=1.0):
    """Return two points of each row, and a vector."""
    rng = np.random.default_rng(n + rows)
    points = [softmax(scale * rng.normal(size=(n, rows)), axis=0).astype(dtype) for _ in "ab"]
    return points, rng.normal(size=(n, rows)).astype(dtype)


@pytest.mark.parametrize("rows", [0, 1, 5, 33, 70])
@pytest.mark.parametrize("n", [1, 2, 3, 16, 31, 130, 200])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-14)])
def test_it_equals_the_array_api(dtype, tolerance, n, rows):
    points, vector = some(n, rows, dtype)
    for temperature in (0.7, np.linspace(0.1, 2.0, rows).astype(dtype)):
        for fixed in (
            FixedPoints(temperature, (points[0],)),
            FixedPoints(temperature, (points[0], points[1].copy(order="F")), (2.0, -0.5)),
        ):
            product = fixed.product(vector)
            assert product.dtype == dtype
            expected = WeightedPoints.product(fixed, vector)
            np.testing.assert_allclose(product, expected, atol=tolerance / 0.1)


def test_close_to_a_corner_no_digits_are_lost():
    (point, _), vector = some(4, 40, np.float32, scale=20.0)
    single = FixedPoints(1e-3, (point,)).product(vector)
    wide = FixedPoints(1e-3, (point.astype(np.float64),))
    double = WeightedPoints.product(wide, vector.astype(np.float64))
    np.testing.assert_allclose(single, double, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        single, WeightedPoints.product(FixedPoints(1e-3, (point,)), vector), rtol=1e-4, atol=1e-4
    )


def test_a_row_that_cannot_be_answered_leaves_the_others_alone():
    (point, _), vector = some(3, 40, np.float64)
    expected = FixedPoints(0.5, (point,)).product(vector)
    point[:, 7] = np.nan
    product = FixedPoints(0.5, (point,)).product(vector)
    assert np.isnan(product[:, 7]).all()
    np.testing.assert_array_equal(np.delete(product, 7, 1), np.delete(expected, 7, 1))


def test_the_result_does_not_depend_on_the_threads(monkeypatch):
    points, vector = some(16, 20_000, np.float32)
    fixed, found = FixedPoints(0.5, tuple(points), (2.0, -0.5)), []
    for threads in (1, 3):
        monkeypatch.setattr(loops, "_threads", threads)
        found.append(fixed.product(vector))
    np.testing.assert_array_equal(*found)
