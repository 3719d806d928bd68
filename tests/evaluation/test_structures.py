"""Structures: their law against all orders of takings, and what is measured with it."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from array_api_compat import array_namespace
from backends import Backend, to_numpy
from cases import standard_error_test

import rbgs
from rbgs.structures.matroid import Matroid

SQUARE = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)]
HOUSE = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2), (3, 4), (2, 4), (4, 2)]  # one edge twice
SUBSET, TREE = rbgs.Subset(3), rbgs.SpanningTree(SQUARE)
RANDOM = np.random.default_rng(0)
WEIGHTS = RANDOM.normal(size=(8, 3))


def active_in_subset(k):
    return lambda n, taken: [e for e in range(n) if e not in taken] if len(taken) < k else []


def active_in_graph(edges):
    def active(n, taken):
        part = list(range(1 + max(map(max, edges))))
        for a, b in (edges[e] for e in taken):
            part = [part[a] if x == part[b] else x for x in part]
        return [e for e in range(n) if part[edges[e][0]] != part[edges[e][1]]]

    return active


ACTIVE = {
    "subset": (SUBSET, 5, active_in_subset(3)),
    "square": (TREE, 5, active_in_graph(SQUARE)),
    "house": (rbgs.SpanningTree(HOUSE), 8, active_in_graph(HOUSE)),
}


def traces(rates, active, taken=()):
    """Yield the orders of takings, their probabilities and the scores of these."""
    left = active(len(rates), taken)
    if not left:
        yield taken, 1.0, np.zeros(len(rates))
    share = np.zeros(len(rates))
    share[left] = rates[left] / rates[left].sum() if left else 0
    for e in left:
        if rates[e] > 0:
            for order, chance, score in traces(rates, active, (*taken, e)):
                yield order, share[e] * chance, score + np.eye(len(rates))[e] - share


def law(logits, active):
    """Return the structures, their probabilities, and these times their scores."""
    found = {}
    for order, chance, score in traces(np.exp(logits), active):
        chance_of_set, score_of_set = found.get(frozenset(order), (0.0, 0.0))
        found[frozenset(order)] = (chance_of_set + chance, score_of_set + chance * score)
    vectors = [np.isin(np.arange(len(logits)), list(taken)) * 1.0 for taken in found]
    return [(v, *of_set) for v, of_set in zip(vectors, found.values(), strict=True)]


def brute_force(logits, active, loss, direct=None):
    """Return the gradient for logits (variables, n) that share a loss."""
    total = np.zeros_like(logits)
    for joint in itertools.product(*(law(x, active) for x in logits)):
        value, chances = np.stack([v for v, _, _ in joint]), np.asarray([p for _, p, _ in joint])
        chance = chances.prod()
        score = np.stack([weighted / p for _, p, weighted in joint])
        total += chance * (float(loss(value)) * score + (0 if direct is None else direct(value)))
    return total


def loss_of(xp):
    """A loss of the variables on the last axis but one: neither linear nor quadratic."""

    def loss(value):
        weights = xp.asarray(WEIGHTS[: value.shape[-1]], dtype=value.dtype)
        hidden = xp.sum(value[..., None] * weights, axis=-2)
        up_to = xp.asarray(np.triu(np.ones((hidden.shape[-1],) * 2)), dtype=value.dtype)
        hidden = xp.sum(hidden[..., None] * up_to, axis=-2)  # cumulative sums
        return xp.sum(xp.prod(xp.tanh(hidden) + 2, axis=-2), axis=-1)

    return loss


def cubic(value):
    """The oracle of a loss for each variable."""
    xp = array_namespace(value)
    weights = xp.asarray(WEIGHTS[: value.shape[-1], 0], dtype=value.dtype)
    total = xp.sum(weights * value, axis=-1)
    return total**3, 3 * total[..., None] ** 2 * weights


def loss_of_each(value):
    return loss_of(array_namespace(value))(value[..., None, :])


@pytest.mark.parametrize("name", ACTIVE)
def test_exact_gradient_is_that_over_all_orders_of_takings(name):
    structure, n, active = ACTIVE[name]
    logits = RANDOM.normal(size=(2, n))
    expected = [brute_force(x[None, :], active, loss_of(np))[0] for x in logits]
    gradient = rbgs.exact_gradient(loss_of_each, logits, structure=structure)
    np.testing.assert_allclose(gradient, expected, atol=1e-12)


@pytest.mark.parametrize("name", ["subset", "square"])
def test_variables_that_share_a_loss_with_mask_axis_and_direct_term(xp, name):
    structure, n, active = ACTIVE[name]
    logits = RANDOM.normal(size=(2, n, 2))  # (example, element, variable)
    mask = (np.arange(n) != 1)[:, None]
    there = loss_of(xp)

    def oracle(value):
        return there(xp.moveaxis(value, -2, -1)), None, xp.sin(value)

    masked = np.moveaxis(np.where(mask, logits, -np.inf), 1, 2)
    expected = [brute_force(x, active, loss_of(np), np.sin) for x in masked]
    gradient = rbgs.exact_gradient(
        oracle, xp.asarray(logits), structure=structure, mask=xp.asarray(mask), axis=1
    )
    np.testing.assert_allclose(to_numpy(gradient), np.moveaxis(expected, 2, 1), atol=1e-12)


def test_structures_in_blocks(monkeypatch):
    logits = RANDOM.normal(size=(3, 2, 5))
    for loss in (loss_of_each, loss_of(np)):
        whole = rbgs.exact_gradient(loss, logits, structure=SUBSET)
        with monkeypatch.context() as patch:
            patch.setattr("rbgs.evaluation.exact._BLOCK", 7 * logits.size)
            blocks = rbgs.exact_gradient(loss, logits, structure=SUBSET)
        np.testing.assert_allclose(blocks, whole, atol=1e-14)


def test_the_bound_of_several_samples():
    logits, loss = RANDOM.normal(size=(1, 4)), loss_of(np)
    outcomes = law(logits[0], active_in_subset(2))
    expected = np.zeros(4)
    for one, other in itertools.product(outcomes, repeat=2):
        losses = np.asarray([float(loss(v[None, :])) for v, _, _ in (one, other)])
        weights = np.exp(-losses)
        bound = -np.log(weights.mean())
        chance = one[1] * other[1]
        for (v, p, weighted), weight in zip((one, other), weights / weights.sum(), strict=True):
            expected += chance * (bound * weighted / p + weight * np.cos(v))
    gradient = rbgs.exact_gradient(
        lambda value: (loss(value), None, np.cos(value)),
        logits,
        structure=rbgs.Subset(2),
        samples=2,
    )
    np.testing.assert_allclose(gradient[0], expected, atol=1e-12)


def test_a_subset_of_one_is_a_category():
    logits = RANDOM.normal(size=(3, 2, 4))
    for samples in (1, 2):
        one, category = (
            rbgs.exact_gradient(loss_of(np), logits, samples=samples, **options)
            for options in ({"structure": rbgs.Subset(1)}, {})
        )
        np.testing.assert_allclose(one, category, atol=1e-13)


def test_all_structures_are_enumerated_once():
    for structure, n, active in ACTIVE.values():
        found = [frozenset(x.tolist()) for x in structure.outcomes(n)]
        assert len(found) == len(set(found)) == structure.count(n)
        assert set(found) == {frozenset(order) for order, _, _ in traces(np.ones(n), active)}
    for k in (1, 3, 5):
        generic = Matroid.outcomes(rbgs.Subset(k), 5)
        assert sorted(map(tuple, generic)) == list(itertools.combinations(range(5), k))


def test_structures_are_counted_beyond_all_floats():
    complete = rbgs.SpanningTree(list(itertools.combinations(range(150), 2)))
    assert math.log(complete.count(150 * 149 // 2)) == pytest.approx(148 * math.log(150))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["subset", "square"])
def test_logits_that_are_far_apart(name, dtype):
    structure, _, active = ACTIVE[name]
    logits = np.asarray([40.0, 0.0, 0.5, -80.0, 0.2], dtype)
    gradient = rbgs.exact_gradient(loss_of_each, logits, structure=structure)
    expected = brute_force(logits[None, :].astype(float), active, loss_of(np))[0]
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(gradient, expected, atol=100 * np.finfo(dtype).eps)


def test_rows_that_cannot_be_answered_are_nan_and_others_are_not_touched():
    logits = RANDOM.normal(size=(4, 5))
    expected = rbgs.exact_gradient(lambda x: cubic(x)[0], logits, structure=SUBSET)
    logits[1, 2], logits[3, :3] = np.nan, -np.inf  # in the last one only two are allowed
    found = rbgs.exact_gradient(lambda x: cubic(x)[0], logits, structure=SUBSET)
    assert np.all(np.isnan(found[[1, 3]]))
    np.testing.assert_allclose(found[[0, 2]], expected[[0, 2]], atol=1e-13)


@pytest.mark.parametrize("structure", [rbgs.Subset(1), SUBSET, None], ids=str)
def test_who_shares_a_loss_with_such_a_row_is_nan(structure):
    logits = np.zeros((2, 2, 5))
    logits[0, 0] = np.nan
    options = {} if structure is None else {"structure": structure}
    found = rbgs.exact_gradient(loss_of(np), logits, **options)
    assert np.all(np.isnan(found[0]))
    assert np.all(np.isfinite(found[1]))


def test_exact_gradient_of_a_structure_in_a_program_of_jax():
    jax = pytest.importorskip("jax")
    logits = Backend.JAX.load().asarray(RANDOM.normal(size=3))

    def gradient(x):
        return rbgs.exact_gradient(lambda x: cubic(x)[0], x, structure=rbgs.Subset(2))

    np.testing.assert_allclose(jax.jit(gradient)(logits), gradient(np.asarray(logits)), atol=1e-12)


@pytest.mark.parametrize("name", ACTIVE)
def test_reinforce_is_unbiased(name):
    structure, n, _ = ACTIVE[name]
    logits = np.random.default_rng(1).normal(size=n)
    exact = rbgs.exact_gradient(lambda x: cubic(x)[0], logits, structure=structure)
    estimator = rbgs.Reinforce(structure=structure)
    estimates = estimator.gradient(cubic, np.tile(logits, (30_000, 1)), rng=0)
    standard_error_test(estimates, exact)


def moments_of(estimator, logits, active):
    """Return bias² and variance of a function of the outcome, from the definition."""
    outcomes = law(logits, active)
    exact = sum(float(cubic(v)[0]) * score for v, _, score in outcomes)
    chances = np.asarray([p for _, p, _ in outcomes])
    found = np.stack([estimator.gradient(cubic, logits, index=v.astype(int)) for v, *_ in outcomes])
    mean = chances @ found
    return np.sum((mean - exact) ** 2), chances @ np.sum((found - mean) ** 2, axis=-1)


@pytest.mark.parametrize("name", ["subset", "square"])
def test_compare_enumerates_what_is_a_function_of_the_structure(name):
    structure, n, active = ACTIVE[name]
    logits, estimator = RANDOM.normal(size=(2, n)), rbgs.StraightThrough(0.8, structure)
    (found,) = rbgs.compare([estimator], cubic, logits, draws=10, rng=0)
    assert found.draws == 0
    bias2, variance = np.transpose([moments_of(estimator, x, active) for x in logits])
    np.testing.assert_allclose(found.bias2, bias2, atol=1e-12)
    np.testing.assert_allclose(found.variance, variance, atol=1e-12)


@pytest.mark.parametrize("name", ["subset", "square"])
def test_compare_finds_no_bias_where_there_is_none_and_less_variance_given_the_trace(name):
    structure, n, _ = ACTIVE[name]
    logits = np.tile(np.random.default_rng(1).normal(size=n), (100, 1))
    estimators = [
        rbgs.Reinforce(structure=structure),
        rbgs.StraightThroughGumbelSoftmax(0.3, structure),
        rbgs.GumbelRao(0.3, structure=structure),
    ]
    unbiased, plain, averaged = rbgs.compare(estimators, cubic, logits, draws=64, rng=0)
    standard_error_test(unbiased.bias2, 0.0)
    standard_error_test(plain.bias2 - averaged.bias2, 0.0)
    assert plain.bias2.mean() > 0.1
    assert averaged.variance.mean() < 0.8 * plain.variance.mean()


def test_relaxations_of_the_same_subset_are_compared_against_a_reference():
    structure = rbgs.Subset(3, "binary_entropy")
    estimators = [rbgs.GumbelRao(0.5, structure=x) for x in (SUBSET, structure)]
    reference = rbgs.Reinforce("leave_one_out", samples=4, structure=SUBSET)
    logits = RANDOM.normal(size=(2, 5))
    found = rbgs.compare(estimators, cubic, logits, draws=64, rng=0, reference=reference)
    assert np.all(found[0].variance != found[1].variance)
    with pytest.raises(ValueError, match=r"Reinforce.* different outcomes.*the reference"):
        rbgs.compare(estimators, cubic, logits, draws=8, rng=0, reference=rbgs.Reinforce())


def test_structures_without_a_known_law_are_compared_against_a_reference():
    structure = rbgs.Subset(13)
    reference = rbgs.Reinforce("leave_one_out", samples=4, structure=structure)
    (found,) = rbgs.compare(
        [rbgs.StraightThrough(structure=structure)],
        lambda x: (x[..., 0], np.zeros_like(x)),
        np.zeros(14),
        draws=20,
        rng=0,
        reference=reference,
    )
    assert found.draws == 20


def test_estimators_of_different_structures_are_not_compared():
    one, other = (rbgs.GumbelRao(0.5, structure=x) for x in (SUBSET, rbgs.Subset(2)))
    for estimators in ([one, other], [one, rbgs.GumbelRao(0.5)]):
        with pytest.raises(ValueError, match=r"draw different outcomes.*the same structure="):
            rbgs.compare(estimators, cubic, np.zeros(5), draws=8, rng=0)


def test_the_temperature_of_structures_is_tuned():
    tuning = rbgs.tune(
        rbgs.StraightThrough(structure=TREE),
        cubic,
        RANDOM.normal(size=(2, 5)),
        draws=8,
        rng=0,
        temperatures=[0.3, 1.0, 3.0],
    )
    assert tuning.estimator == dataclasses.replace(
        rbgs.StraightThrough(structure=TREE), temperature=tuning.temperature
    )
    assert [moments.draws for moments in tuning.comparison] == [0, 0, 0]


def test_too_many_structures_are_not_enumerated():
    def oracle(_):
        raise AssertionError("asked")

    with pytest.raises(ValueError, match=r"Subset.* has 8\.649e\+07 outcomes for 30 elements.*ref"):
        rbgs.exact_gradient(oracle, np.zeros(30), structure=rbgs.Subset(12))
    complete = rbgs.SpanningTree(list(itertools.combinations(range(8), 2)))
    with pytest.raises(ValueError, match=r"has 2\.621e\+05 outcomes for 28 elements"):
        rbgs.exact_gradient(oracle, np.zeros(28), structure=complete)
    with pytest.raises(
        ValueError, match=r"4 variables of 28 outcomes, Subset.* is 6\.147e\+05 joint"
    ):
        rbgs.exact_gradient(loss_of(np), np.zeros((4, 8)), structure=rbgs.Subset(2))
    with pytest.raises(ValueError, match=r"1 variables of 2 categories .* is over 1e\+300 joint"):
        rbgs.exact_gradient(loss_of(np), np.zeros((1, 2)), samples=1000)
    with pytest.raises(ValueError, match=r"Subset.* more than 12 elements.*reference= of rbgs"):
        rbgs.exact_gradient(loss_of(np), np.zeros(14), structure=rbgs.Subset(13))


def test_the_structure_fits():
    with pytest.raises(TypeError, match=r"structure is a str; one such as rbgs\.Subset"):
        rbgs.exact_gradient(cubic, np.zeros(5), structure="subset")
    with pytest.raises(ValueError, match="takes 3 elements, but the logits have 2"):
        rbgs.exact_gradient(cubic, np.zeros(2), structure=SUBSET)


def test_a_row_without_an_answer_is_nan_without_a_warning():
    mask = np.asarray([[True, True, True], [True, False, False]])
    (moments,) = rbgs.compare(
        [rbgs.StraightThrough(structure=rbgs.Subset(2))],
        lambda value: (value.sum(axis=-1), np.ones_like(value)),
        np.zeros((2, 3)),
        draws=100,
        rng=0,
        mask=mask,
    )
    assert np.isfinite(moments.mse[0])
    assert np.isnan(moments.mse[1])
