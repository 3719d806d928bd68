"""What lies next to each other in memory: the rows of a category, or the categories of a row."""

import numpy as np
import pytest

import rbgs
from rbgs.arrays.layout import is_row_by_row
from rbgs.arrays.rows import categories_first, categories_restored


@pytest.mark.parametrize(
    ("n", "rows", "expected"),
    [
        (4, 12000, False),
        (16, 6000, False),
        (16, 32, False),
        (127, 10000, False),
        (128, 10000, True),
        (1000, 64, True),
        (32768, 8, True),
        (100, 1, True),
        (33, 3, True),
        (2, 1, False),
        (5, 1, True),
        (1, 1, False),
        (1, 100, False),
        (4, 0, False),
        (128, 0, True),
    ],
)
def test_the_way_that_leaves_fewer_lanes_idle(n, rows, expected):
    assert is_row_by_row(n, rows) is expected


@pytest.mark.parametrize("n", [1, 4, 127, 128, 1000])
def test_few_categories_win_with_many_rows_and_many_with_few(n):
    # Never back again when rows are added, as long as vectors of rows are full.
    taken = [is_row_by_row(n, rows) for rows in range(32, 4096, 32)]
    assert len(set(taken)) == 1
    assert taken[0] == (n >= 128)


@pytest.mark.parametrize("axis", [-1, -2, -3])
@pytest.mark.parametrize("shape", [(2, 3, 200), (200, 3, 2), (3, 200, 2), (40, 5, 4)], ids=str)
def test_there_and_back(shape, axis):
    x = np.arange(np.prod(shape)).reshape(shape)
    n = shape[axis]
    first = categories_first(x, axis)
    np.testing.assert_array_equal(first, np.moveaxis(x, axis, 0).reshape(n, -1))
    assert first.flags.c_contiguous  # integers, which the engine does not take
    batch = np.delete(shape, axis)
    np.testing.assert_array_equal(categories_restored(first, tuple(batch), axis), x)


@pytest.mark.usefixtures("engine")
def test_rows_of_many_categories_are_copied_only_without_the_engine():
    logits = np.zeros((8, 1000), np.float32)
    assert np.shares_memory(categories_first(logits, -1), logits) is rbgs.is_compiled()


# Blocks of a size that vectors do not fill, on both ways; with one sample, after other rows.
@pytest.mark.parametrize("shape", [(70, 3), (3, 70), (1, 200), (37, 130), (5, 33), (1, 1)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "estimator",
    [
        rbgs.GumbelRao(0.1, 1),
        rbgs.GumbelRao(0.5, 1, control_variate=True),
        rbgs.GumbelRao(0.7, 3),
        rbgs.GumbelRao(0.5, 600),
        rbgs.GumbelRao(0.4, 5, "monte_carlo"),
    ],
    ids=str,
)
def test_both_engines_agree_on_both_ways(estimator, shape, dtype):
    pytest.importorskip("numba")
    rng = np.random.default_rng(0)
    logits, vector = rng.normal(size=(2, *shape)).astype(dtype)
    noise = estimator.noise(logits, 1)
    was, results = rbgs.is_compiled(), []
    try:
        for flag in (False, True):
            rbgs.set_compiled(flag)
            draw = estimator.sample(logits, noise=noise)
            results.append((draw.value, draw.index, draw.vjp(vector)))
    finally:
        rbgs.set_compiled(was)
    (value, index, plain), (*outcome, compiled) = results
    np.testing.assert_array_equal(outcome[0], value)
    np.testing.assert_array_equal(outcome[1], index)
    np.testing.assert_allclose(compiled, plain, atol=1e-12 if dtype == "float64" else 2e-4)
