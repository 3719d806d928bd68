"""Means and variances of the estimators: what averaging over points given the trace is worth."""

import dataclasses

import numpy as np
import pytest
from cases import STRUCTURES, quadratic, short, standard_error_test
from enumeration import law_of_structures, outcome, structures

import rbgs
from rbgs.arrays.settings import own_settings

LOGITS = np.asarray([0.5, -1.0, 0.8, 0.0, -0.3])
ORACLE = quadratic(np, np.asarray([0.1, 0.4, 0.2, 0.3, 0.9]), np.asarray([1.0, -2, 0.5, 3, 1]))
VECTOR = np.asarray([1.0, -0.5, 0.3, 2.0, -1.2])
each_structure = pytest.mark.parametrize("structure", STRUCTURES, ids=short)


def rows(x, count):
    return np.tile(x, (count, 1))


def assert_same_mean(one, other):
    """Assert that the means over axis 0 are within 5 standard errors of each other."""
    error = np.sqrt(one.var(axis=0) / len(one) + other.var(axis=0) / len(other)) + 1e-12
    assert np.all(np.abs(one.mean(axis=0) - other.mean(axis=0)) < 5 * error)


def variance(estimates):
    """Return the total variance over axis 0 and its standard error."""
    deviations = np.sum((estimates - estimates.mean(axis=0)) ** 2, axis=-1)
    return deviations.mean(), deviations.std() / np.sqrt(len(deviations))


@each_structure
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_gumbel_rao_has_the_mean_of_straight_through_and_less_variance(structure, temperature):
    count = 40_000
    straight = rbgs.StraightThroughGumbelSoftmax(temperature, structure=structure)
    straight = straight.gradient(ORACLE, rows(LOGITS, count), rng=0)
    of_straight, error = variance(straight)
    for sampling in ("lattice", "monte_carlo"):
        estimator = rbgs.GumbelRao(temperature, 6, sampling, structure=structure)
        estimates = estimator.gradient(ORACLE, rows(LOGITS, count), rng=1)
        assert_same_mean(estimates, straight)
        of_rao, rao_error = variance(estimates)
        assert of_rao < of_straight - 10 * np.hypot(error, rao_error)


@each_structure
def test_the_law_of_total_variance(structure):
    # a / K + b: a is the variance given the trace, which two draws given the same one show.
    count, temperature = 40_000, 0.3
    found = {}
    for samples in (1, 2, 4, 12):
        estimator = rbgs.GumbelRao(temperature, samples, "monte_carlo", structure=structure)
        found[samples] = variance(estimator.gradient(ORACLE, rows(LOGITS, count), rng=samples))
    one, again = pair(structure, temperature, count)
    squares = np.sum((one - again) ** 2, axis=-1) / 2
    within, within_error = squares.mean(), squares.std() / np.sqrt(count)
    products = np.sum((one - one.mean(axis=0)) * (again - again.mean(axis=0)), axis=-1)
    between, between_error = products.mean(), products.std() / np.sqrt(count)
    for samples, (total, error) in found.items():
        error = np.sqrt(error**2 + (within_error / samples) ** 2 + between_error**2)
        assert abs(total - within / samples - between) < 5 * error


def pair(structure, temperature, count):
    """Return gradients of one point each: two draws given the same traces."""
    estimator = rbgs.StraightThroughGumbelSoftmax(temperature, structure=structure)
    draw = estimator.sample(rows(LOGITS, count), rng=100)
    rng = np.random.default_rng(101)
    _, cotangent = ORACLE(draw.value)
    for _ in range(2):
        exponentials = rng.standard_exponential((5, count))
        operator = dataclasses.replace(draw._operator, exponentials=exponentials)
        yield product_of(operator, cotangent.T).T


def product_of(operator, vector):
    with own_settings():
        return operator.product(vector)


@each_structure
@pytest.mark.parametrize("samples", [2, 3, 7, 16])
def test_the_lattice_is_unbiased_given_the_trace(structure, samples):
    count, vector = 30_000, np.tile(VECTOR[:, None], 30_000)
    drawn = outcome(structure, LOGITS[None], rng=3)
    traces = [np.repeat(x, count, axis=1) for x in (drawn.index.order, drawn.index.step)]
    draw = rbgs.GumbelRao(0.5, 1, structure=structure).sample(rows(LOGITS, count), rng=0)
    rng = np.random.default_rng(samples)
    products = []
    for number in (1, samples):
        operator = dataclasses.replace(
            draw._operator,
            samples=number,
            order=traces[0],
            step=traces[1],
            exponentials=rng.standard_exponential((5, count)),
        )
        products.append(product_of(operator, vector).T)
    assert_same_mean(*products)
    # Its points are spread: independent ones had a variance `samples` times smaller.
    of_one, of_lattice = (variance(x)[0] for x in products)
    assert of_lattice < 1.1 * of_one / samples


@each_structure
@pytest.mark.parametrize("sampling", ["lattice", "monte_carlo"])
def test_a_given_structure_has_the_mean_of_draws_that_show_it(structure, sampling):
    """E[J | S], by rejection."""
    count = 60_000
    draw = rbgs.StraightThroughGumbelSoftmax(0.5, structure=structure)
    draw = draw.sample(rows(LOGITS, count), rng=0)
    products = draw.vjp(rows(VECTOR, count))
    estimator = rbgs.GumbelRao(0.5, 4, sampling, structure=structure)
    for given in structures(structure, 5)[::3]:
        kept = products[(draw.value == given).all(axis=-1)]
        many = estimator.sample(rows(LOGITS, 20_000), index=rows(given, 20_000), rng=1)
        assert (many.value == given).all()
        assert_same_mean(many.vjp(rows(VECTOR, 20_000)), kept)
        one = rbgs.StraightThroughGumbelSoftmax(0.5, structure=structure)
        one = one.sample(rows(LOGITS, 20_000), index=rows(given, 20_000), rng=2)
        assert_same_mean(one.vjp(rows(VECTOR, 20_000)), kept)


def exact_gradient(structure):
    """Return the derivative of E[f] by central differences of the enumerated expectation."""
    outcomes = structures(structure, 5)
    losses, _ = ORACLE(outcomes.astype(float))

    def expectation(logits):
        return law_of_structures(outcomes, np.exp(logits)) @ losses

    steps = 1e-5 * np.eye(5)
    return np.asarray([expectation(LOGITS + h) - expectation(LOGITS - h) for h in steps]) / 2e-5


@pytest.mark.parametrize("structure", STRUCTURES[::2], ids=short)
def test_reinforce_is_unbiased(structure):
    count, exact = 60_000, exact_gradient(structure)
    for estimator in (
        rbgs.Reinforce(structure=structure),
        rbgs.Reinforce(1.5, structure=structure),
        rbgs.Reinforce("leave_one_out", samples=3, structure=structure),
    ):
        standard_error_test(estimator.gradient(ORACLE, rows(LOGITS, count), rng=0), exact)


@pytest.mark.parametrize("structure", STRUCTURES[::2], ids=short)
def test_the_score_given_the_structure_averages_to_its_own(structure):
    """The score of the trace, over the orders of a given structure, is that of the structure."""
    count, steps = 40_000, 1e-5 * np.eye(5)
    outcomes = structures(structure, 5)
    for number in (0, 4):
        given = outcomes[number]

        def log_prob(logits, number=number):
            return np.log(law_of_structures(outcomes, np.exp(logits))[number])

        score = [(log_prob(LOGITS + h) - log_prob(LOGITS - h)) / 2e-5 for h in steps]
        drawn = outcome(structure, rows(LOGITS, count), index=rows(given, count))
        standard_error_test(structure.score(drawn).T, np.asarray(score))
