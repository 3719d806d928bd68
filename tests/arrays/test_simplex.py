"""Pieces of the simplex that no estimator shows at a size that a test can have."""

import numpy as np
import pytest
from backends import to_numpy

from rbgs.arrays.simplex import first_largest


def test_the_winner_among_more_categories_than_single_precision_counts(backend, xp):
    if backend.value == "array_api_strict":
        pytest.skip("the same as NumPy")
    n = 2**24 + 4
    x = np.zeros((n, 1), np.float32)
    for winner in (1, 2, n // 2 + 1, n - 1):
        x[winner] = 1
        assert int(first_largest(xp.asarray(x))[0]) == winner
        x[winner] = 0


def test_the_first_of_equals_and_none_for_nan(xp):
    x = xp.asarray(np.asarray([[1.0, 0.0, np.nan], [2.0, 3.0, 1.0], [2.0, 3.0, 0.0]]))
    np.testing.assert_array_equal(to_numpy(first_largest(x)), [1, 1, 3])
