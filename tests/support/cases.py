"""Estimators, logits and losses that several tests share."""

import numpy as np
from array_api_compat import array_namespace
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import rbgs
from rbgs.structures.categorical import Categorical


def exp_oracle(value):
    """Return the oracle of a control variate that is not the loss: the sum of exp(x)."""
    xp = array_namespace(value)
    exp = xp.exp(value)
    return xp.sum(exp, axis=-1), exp


# An estimator's entry is all it takes: every shared property runs over it.
CASES = [
    rbgs.GumbelSoftmax(0.7),
    rbgs.StraightThrough(1.3),
    rbgs.StraightThroughGumbelSoftmax(0.4),
    rbgs.GumbelRao(0.5, samples=7, sampling="monte_carlo", control_variate=False),
    rbgs.GumbelRao(0.5, samples=7),
    rbgs.GumbelRao(0.5, sampling="exact"),
    rbgs.GumbelRao(0),
    rbgs.ReinMax(1.4),
    rbgs.ReinMaxRao(0.6, samples=7),
    rbgs.GappedStraightThrough(0.7, gap="p"),
    rbgs.Systematic(rbgs.ReinMaxRao(0.6, samples=7), draws=3),
    rbgs.Reinforce(),
    rbgs.Reinforce("leave_one_out", samples=3),
    rbgs.DisARM(),
    rbgs.Vimco(3),
    rbgs.IndeCateR(),
    rbgs.MuProp(),
    rbgs.Rebar(0.6, eta=0.8),
    rbgs.Relax(0.6, control_variate=exp_oracle),
]
ESTIMATORS = [estimator for estimator in CASES if estimator._draws == 1]
SEVERAL_DRAWS = [estimator for estimator in CASES if estimator._draws > 1]
PATHWISE = [estimator for estimator in ESTIMATORS if estimator._pathwise]
WITH_TEMPERATURE = [estimator for estimator in PATHWISE if getattr(estimator, "temperature", 0)]
# Unbiased for the gradient of the expectation, or VIMCO for that of its bound.
UNBIASED = [estimator for estimator in CASES if not estimator._pathwise]


# Those whose further points are numbered by category: a permutation of categories is another draw.
NUMBERED = [
    estimator
    for estimator in PATHWISE
    if estimator._random_given_outcome and getattr(estimator, "samples", 1) != 1
]

# Of five elements and three to be taken, so that the libraries compile for few shapes.
STRUCTURES = [
    rbgs.Subset(3),
    rbgs.Subset(3, relaxation="binary_entropy"),
    rbgs.SpanningTree([(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)]),
]
STRUCTURED = [
    make(structure)
    for structure in STRUCTURES
    for make in (
        lambda s: rbgs.GumbelSoftmax(0.7, structure=s),
        lambda s: rbgs.StraightThrough(1.3, structure=s),
        lambda s: rbgs.StraightThroughGumbelSoftmax(0.4, structure=s),
        lambda s: rbgs.GumbelRao(0.5, 7, structure=s),
        lambda s: rbgs.GumbelRao(0.5, 7, "monte_carlo", structure=s),
        lambda s: rbgs.Reinforce(structure=s),
    )
]
STRUCTURED += [rbgs.Reinforce("leave_one_out", samples=3, structure=s) for s in STRUCTURES[::2]]


def softmax(x, axis=-1):
    """Return the softmax, independently of the library."""
    weights = np.exp(x - x.max(axis=axis, keepdims=True))
    return weights / weights.sum(axis=axis, keepdims=True)


def name(estimator):
    """Return a short test id."""
    label = type(estimator).__name__
    if isinstance(estimator, rbgs.GumbelRao):
        label += "-0" if estimator.temperature == 0 else f"-{estimator.sampling}"
    if estimator._draws > 1:
        label += f"-{estimator._draws}"
    if getattr(estimator, "gap", None) == "p":
        label += "-p"
    if not isinstance(estimator._structure, Categorical):
        label += f"-{short(estimator._structure)}"
    return label


def short(structure):
    """Return a short test id of a structure."""
    label = type(structure).__name__
    return f"{label}-entropy" if getattr(structure, "relaxation", "") == "binary_entropy" else label


def quadratic(xp, target, weights):
    """Return the oracle of f(x) = sum of weights (x - target)^2 in a library."""
    target, weights = xp.asarray(target), xp.asarray(weights)

    def oracle(value):
        error = value - target
        return xp.sum(weights * error**2, axis=-1), 2 * weights * error

    return oracle


finite = st.floats(-20, 20, allow_subnormal=False)
temperatures = st.floats(0.05, 5)


# Few, because JAX compiles every operation anew for each shape.
SHAPES = [(1,), (3,), (2, 4), (2, 1, 3)]


@st.composite
def logits_arrays(draw, forbidden=True):
    """Float64 logits (..., n), some categories forbidden, at least one allowed in each row."""
    shape = draw(st.sampled_from(SHAPES))
    logits = draw(hnp.arrays(np.float64, shape, elements=finite))
    if forbidden and shape[-1] > 1:
        gone = draw(hnp.arrays(np.bool_, shape))
        gone[..., draw(st.integers(0, shape[-1] - 1))] = False
        logits = np.where(gone, -np.inf, logits)
    return logits


def standard_error_test(samples, expected, errors=5.0):
    """Assert that the mean over axis 0 is within so many standard errors of what is expected."""
    error = samples.std(axis=0, ddof=1) / np.sqrt(samples.shape[0])
    z = np.abs(samples.mean(axis=0) - expected) / (error + 1e-300)
    assert np.max(z) < errors, f"{np.max(z):.1f} standard errors"
