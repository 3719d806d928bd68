"""Draws that depend negatively: the law of each, of each pair of variables, and of their mean."""

import numpy as np
import pytest
from backends import to_numpy
from cases import PATHWISE, name, quadratic, softmax, standard_error_test
from scipy import stats

import rbgs

P = np.asarray([0.1, 0.45, 0.05, 0.4])
each_estimator = pytest.mark.parametrize("estimator", PATHWISE, ids=name)


def drawn(estimator, draws, variables, count, rng=0):
    """Return the index of draws (draws, count, variables) for logits of probabilities P."""
    logits = np.broadcast_to(np.log(P), (count, variables, 4))
    return rbgs.Systematic(estimator, draws).sample(logits, rng=rng)


@pytest.mark.parametrize("draws", [2, 3, 4, 8])
def test_each_draw_has_the_law_of_the_variable(draws):
    index = drawn(rbgs.StraightThrough(), draws, 3, 20_000).index
    for k in range(draws):
        for variable in range(3):
            observed = np.bincount(index[k, :, variable], minlength=4)
            assert stats.chisquare(observed, 20_000 * P).pvalue > 1e-5


@pytest.mark.parametrize("draws", [2, 4, 8])
def test_the_variables_of_a_draw_are_independent(draws):
    index = drawn(rbgs.StraightThrough(), draws, 3, 20_000).index
    for k in range(draws):
        for a, b in ((0, 1), (0, 2), (1, 2)):
            observed = np.bincount(4 * index[k, :, a] + index[k, :, b], minlength=16)
            assert stats.chisquare(observed, 20_000 * np.outer(P, P).ravel()).pvalue > 1e-5


@pytest.mark.parametrize("draws", [2, 4, 5])
def test_the_draws_of_a_variable_are_spread(draws):
    index = drawn(rbgs.StraightThrough(), draws, 3, 1000).index
    counts = (index[..., None] == np.arange(4)).sum(axis=0)
    assert np.all(np.abs(counts - draws * P) < 1)


def test_variables_come_in_different_orders():
    # Of 8 draws the points lie 1/8, 3/8, 5/8 and 7/8 apart from one draw to the next.
    rows = np.zeros((4, 8))
    index = rbgs.Systematic(rbgs.StraightThrough(), 8).sample(rows, rng=0).index
    steps = (np.diff(index, axis=0) % 8).T
    assert [set(x.tolist()) for x in steps] == [{1}, {3}, {5}, {7}]


def test_given_the_outcomes_the_exponentials_are_iid():
    estimator = rbgs.Systematic(rbgs.StraightThroughGumbelSoftmax(0.5), 3)
    logits = np.broadcast_to(np.log(P), (20_000, 4))
    outcome = estimator._outcome(logits, 0, None, None, None, -1)
    exponentials = outcome.exponentials.reshape(4, 3, 20_000)
    index = outcome.index.reshape(3, 20_000)
    for i in range(4):
        for k in range(3):
            for x in exponentials[:, k, index[k] == i]:
                assert stats.kstest(x, "expon").pvalue > 1e-5
    correlations = np.corrcoef(exponentials.reshape(12, -1)) - np.eye(12)
    assert np.abs(correlations).max() < 5 / np.sqrt(20_000)


def test_the_points_are_those_of_the_estimator():
    # The relaxed value of each draw has the law of that of the estimator alone.
    count = 20_000
    logits = np.broadcast_to(np.log(P), (count, 4))
    relaxed = rbgs.GumbelSoftmax(0.5)
    alone = relaxed.sample(logits, rng=1).value
    for value in rbgs.Systematic(relaxed, 3).sample(logits, rng=0).value:
        for a, b in zip(value.T, alone.T, strict=True):
            assert stats.ks_2samp(a, b).pvalue > 1e-5


@pytest.mark.parametrize(
    "estimator",
    [
        rbgs.GumbelRao(0.5),
        rbgs.StraightThrough(),
        rbgs.ReinMax(),
        rbgs.GumbelRao(0.5, 2, "monte_carlo"),
    ],
    ids=name,
)
def test_the_mean_is_that_of_one_draw_and_the_variance_lower(estimator):
    count, draws, rng = 20_000, 4, np.random.default_rng(2)
    logits = np.broadcast_to(rng.normal(size=4), (count, 4))
    oracle = quadratic(np, rng.normal(size=4), np.asarray([1.0, 0.5, 2.0, 1.5]))
    many = rbgs.Systematic(estimator, draws).gradient(oracle, logits, rng=0)
    one = estimator.gradient(oracle, logits, rng=1)
    if estimator._function_of_outcome:
        p = softmax(logits[0])
        every = [estimator.gradient(oracle, logits[0], index=i) for i in range(4)]
        standard_error_test(many, p @ np.asarray(every))
    error = np.sqrt((many.var(axis=0) + one.var(axis=0)) / count)
    assert np.all(np.abs(many.mean(axis=0) - one.mean(axis=0)) < 5 * error)
    assert many.var(axis=0).sum() < one.var(axis=0).sum() / draws / 1.5


@each_estimator
def test_draws_lie_along_a_leading_axis(xp, estimator):
    many = rbgs.Systematic(estimator, 3)
    logits = np.random.default_rng(0).normal(size=(2, 5, 4))
    noise = many.noise(logits, 0)
    assert noise.shape == (3, 2, 5, 5 + estimator._generator_words)
    draw = many.sample(xp.asarray(logits), noise=xp.asarray(noise))
    assert tuple(draw.value.shape) == (3, 2, 5, 4)
    assert tuple(draw.index.shape) == (3, 2, 5)
    vector = np.cos(np.arange(120.0)).reshape(3, 2, 5, 4)
    product = to_numpy(draw.vjp(xp.asarray(vector)))
    here = many.sample(logits, noise=noise)
    np.testing.assert_array_equal(to_numpy(draw.index), here.index)
    np.testing.assert_allclose(product, here.vjp(vector), atol=1e-9)
    # Each draw is one of the estimator: given outcome and noise, it has the same derivative.
    for k in range(3):
        of_draw = np.delete(noise[k], 4, axis=-1)  # without the shift
        alone = estimator.sample(logits, noise=of_draw, index=here.index[k])
        np.testing.assert_allclose(here.vjp(vector)[k], alone.vjp(vector[k]), atol=1e-9)

    def oracle(value):
        return xp.sum(value, axis=-1), xp.asarray(vector), xp.asarray(vector)

    gradient = to_numpy(many.gradient(oracle, xp.asarray(logits), noise=xp.asarray(noise)))
    np.testing.assert_allclose(gradient, np.mean(product + vector, axis=0), atol=1e-9)


def test_axis_mask_dtype_and_given_outcomes(xp):
    many = rbgs.Systematic(rbgs.GumbelRao(0.5), 4)
    logits = np.random.default_rng(0).normal(size=(6, 3, 5)).astype(np.float32)
    mask = np.asarray([True, False, True])[:, None]
    noise = many.noise(logits, 0, axis=1)
    assert noise.shape == (4, 6, 4, 5)
    moved = many.sample(
        np.moveaxis(logits, 1, -1), noise=np.moveaxis(noise, 2, -1), mask=mask[:, 0]
    )
    draw = many.sample(xp.asarray(logits), noise=xp.asarray(noise), mask=xp.asarray(mask), axis=1)
    np.testing.assert_array_equal(to_numpy(draw.value), np.moveaxis(moved.value, -1, 2))
    assert np.all(to_numpy(draw.value)[:, :, 1] == 0)
    given = np.random.default_rng(1).integers(0, 3, size=(4, 6, 5))
    draw = many.sample(xp.asarray(logits), rng=0, index=xp.asarray(given), axis=1)
    np.testing.assert_array_equal(to_numpy(draw.value).argmax(axis=2), given)


def test_rows_that_cannot_be_answered(xp):
    many = rbgs.Systematic(rbgs.ReinMax(), 3)
    logits = xp.asarray(np.asarray([[np.nan, 0.0], [-np.inf, -np.inf], [0.0, 1.0]]))
    draw = many.sample(logits, rng=0)
    assert np.isnan(to_numpy(draw.value)).any(axis=-1).tolist() == [[True, True, False]] * 3
    assert (to_numpy(draw.index) == -1).tolist() == [[True, True, False]] * 3
    noise = np.asarray(many.noise(np.zeros((2, 3)), 0)).copy()
    noise[0, 0, -1] = 1.5
    value = to_numpy(many.sample(xp.zeros((2, 3), dtype=xp.float64), noise=xp.asarray(noise)).value)
    assert np.isnan(value).any(axis=-1).tolist() == [[True, False]] * 3


def test_the_edges_of_the_noise(xp):
    # No outcome of probability 0 at either end, nor where sums are rounded.
    logits = np.asarray([-np.inf, 0.0, -np.inf, 1.0, -np.inf])
    many = rbgs.Systematic(rbgs.StraightThrough(), 7)
    for dtype in (np.float32, np.float64):
        for edge in (0.0, 1.0, np.nextafter(dtype(1), dtype(0))):
            noise = xp.full((7, 50, 6), float(edge), dtype=getattr(xp, dtype.__name__))
            rows = xp.asarray(np.tile(logits, (50, 1)).astype(dtype))
            index = to_numpy(many.sample(rows, noise=noise).index)
            assert set(np.unique(index)) <= {1, 3}


def test_compare_takes_the_mean_for_one_estimate():
    oracle = quadratic(np, np.asarray([0.1, 0.2, 0.7]), 1.0)
    logits = np.zeros((2, 3))
    many, one = rbgs.compare(
        [rbgs.Systematic(rbgs.ReinMax(), 3), rbgs.ReinMax()], oracle, logits, draws=500, rng=0
    )
    # With three categories of equal probability each comes up once: nothing is left to vary.
    np.testing.assert_allclose(many.variance, 0, atol=1e-25)
    assert np.all(one.variance > 0.01)


def test_doors_refuse_an_axis_of_draws():
    torch, door = pytest.importorskip("torch"), pytest.importorskip("rbgs.torch")
    many = rbgs.Systematic(rbgs.ReinMax(), 3)
    with pytest.raises(TypeError, match=r"axis of draws.*call rbgs\.torch\.expectation"):
        door.sample(many, torch.zeros(3), generator=0)
    gradient = many.gradient(lambda x: (x.sum(dim=-1), x), torch.zeros(2, 3), rng=0)
    assert gradient.shape == (2, 3)


def test_under_jit():
    jax = pytest.importorskip("jax")
    many = rbgs.Systematic(rbgs.GumbelRao(0.5), 4)
    logits = jax.numpy.asarray(np.random.default_rng(0).normal(size=(5, 3)), dtype="float32")

    def gradient(logits, key):
        return many.gradient(lambda x: (x.sum(axis=-1), x**2 - 0.3), logits, rng=key)

    key = jax.random.key(0)
    np.testing.assert_allclose(jax.jit(gradient)(logits, key), gradient(logits, key), atol=1e-5)


def test_it_is_a_value():
    many = rbgs.Systematic(rbgs.GumbelRao(0.5), draws=4)
    assert many == rbgs.Systematic(rbgs.GumbelRao(0.5), draws=4)
    assert many != rbgs.Systematic(rbgs.GumbelRao(0.6), draws=4)
    assert hash(many) == hash(rbgs.Systematic(rbgs.GumbelRao(0.5), draws=4))
    assert repr(many).startswith("Systematic(estimator=GumbelRao(temperature=0.5,")
    per_row = rbgs.Systematic(rbgs.StraightThrough(np.asarray([0.2, 1.7])), 4)
    logits = np.random.default_rng(0).normal(size=(2, 3))
    vector = np.ones((4, 2, 3)) * np.arange(3)
    product = per_row.sample(logits, rng=0).vjp(vector)
    for row, temperature in enumerate((0.2, 1.7)):
        alone = rbgs.Systematic(rbgs.StraightThrough(temperature), 4).sample(logits, rng=0)
        np.testing.assert_allclose(product[:, row], alone.vjp(vector)[:, row])
