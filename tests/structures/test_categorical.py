"""One of n: a subset of one element, and a tree of two vertices, are a categorical variable."""

import numpy as np
import pytest
from cases import quadratic

import rbgs

ORACLE = quadratic(np, np.asarray([0.1, 0.4, 0.2, 0.3, 0.9]), np.asarray([1.0, -2, 0.5, 3, 1]))
ONE = {
    "subset": rbgs.Subset(1),
    "tree": rbgs.SpanningTree([(0, 1), (1, 0), (0, 1), (0, 1), (1, 0)]),
}
MAKES = {
    "GumbelSoftmax": lambda **s: rbgs.GumbelSoftmax(0.7, **s),
    "StraightThrough": lambda **s: rbgs.StraightThrough(1.3, **s),
    "STGS": lambda **s: rbgs.StraightThroughGumbelSoftmax(0.1, **s),
    "lattice": lambda **s: rbgs.GumbelRao(0.5, 7, control_variate=False, **s),
    "monte_carlo": lambda **s: rbgs.GumbelRao(0.3, 7, "monte_carlo", control_variate=False, **s),
    "Reinforce": lambda **s: rbgs.Reinforce(1.5, **s),
    "leave_one_out": lambda **s: rbgs.Reinforce("leave_one_out", samples=3, **s),
}
each_one = pytest.mark.parametrize("structure", ONE.values(), ids=ONE)
each_make = pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)


@each_one
@each_make
@pytest.mark.usefixtures("engine")
def test_the_same_noise_gives_the_same_result(make, structure):
    logits, v = np.random.default_rng(0).normal(size=(2, 6, 5))
    logits[1, 2], logits[2, 0] = -np.inf, np.nan
    ours, categorical = make(structure=structure), make()
    noise = categorical.noise(logits, 0)
    draw, expected = (e.sample(logits, noise=noise) for e in (ours, categorical))
    np.testing.assert_allclose(draw.value, expected.value, atol=1e-13)
    winners = expected.index[..., None] == np.arange(5)
    invalid = expected.index[..., None] == -1
    np.testing.assert_array_equal(draw.index, np.where(invalid, -1, winners))
    if ours._pathwise:
        scale = 1e-12 / ours.temperature
        np.testing.assert_allclose(draw.vjp(v), expected.vjp(v), atol=scale)
        np.testing.assert_allclose(draw.jacobian(), expected.jacobian(), atol=scale)
    gradients = [e.gradient(ORACLE, logits, noise=noise) for e in (ours, categorical)]
    np.testing.assert_allclose(*gradients, atol=1e-10)


@each_one
@pytest.mark.parametrize("make", list(MAKES.values())[:-1], ids=list(MAKES)[:-1])
@pytest.mark.usefixtures("engine")
def test_a_given_outcome(make, structure):
    logits, v = np.random.default_rng(0).normal(size=(2, 6, 5))
    index = np.asarray([0, 4, 2, 2, 1, 3])
    noise = make().noise(logits, 0)
    expected = make().sample(logits, noise=noise, index=index)
    draw = make(structure=structure).sample(logits, noise=noise, index=np.eye(5, dtype=int)[index])
    np.testing.assert_allclose(draw.value, expected.value, atol=1e-13)
    if make()._pathwise:
        np.testing.assert_allclose(draw.vjp(v), expected.vjp(v), atol=1e-11)
