"""Oracles made of a loss, through every door: what `compare` and its kin ask."""

import dataclasses

import numpy as np
import pytest
from doors import FRAMEWORKS, Framework

import rbgs

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(3, 2, 4))
DECODER = RANDOM.normal(size=(4, 2))
GUMBEL_RAO, REINFORCE = rbgs.GumbelRao(0.5, samples=3), rbgs.Reinforce("leave_one_out", samples=2)


@pytest.fixture(params=FRAMEWORKS)
def framework(request):
    return Framework(request.param)


def make_loss(framework, shared):
    """Return a loss of each of the variables, or one that the two of an example share."""
    xp, decoder = framework.xp, framework.array(DECODER)

    def loss(value):
        hidden = xp.sum(xp.tanh(xp.matmul(value, decoder)), -1)
        return xp.sum(hidden, -1) ** 2 if shared else hidden**2

    return loss


def by_hand(shared):
    def oracle(value):
        tanh = np.tanh(value @ DECODER)
        hidden = tanh.sum(axis=-1)
        if shared:
            hidden = hidden.sum(axis=-1, keepdims=True)
        derivative = 2 * hidden[..., None] * ((1 - tanh**2) @ DECODER.T)
        return (hidden[..., 0] if shared else hidden) ** 2, derivative

    return oracle


def close(a, b):
    np.testing.assert_allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("shared", [False, True])
def test_loss_and_derivative(framework, shared):
    oracle = framework.door.oracle(make_loss(framework, shared))
    value = RANDOM.normal(size=(5, *LOGITS.shape))
    expected = by_hand(shared)(value)
    for given in (value, framework.array(value)):
        found = oracle(given)
        assert all(type(x) is type(given) for x in found)
        for x, y in zip(found, expected, strict=True):
            close(x, y)


def test_estimates_are_those_of_an_oracle_by_hand(framework):
    loss = make_loss(framework, shared=True)
    oracle, expected = framework.door.oracle(loss), by_hand(shared=True)
    for estimator in (GUMBEL_RAO, REINFORCE, rbgs.MuProp(), rbgs.Vimco(2)):
        wanted = estimator.gradient(expected, LOGITS, rng=0)
        close(estimator.gradient(oracle, LOGITS, rng=0), wanted)
    close(rbgs.exact_gradient(oracle, LOGITS), rbgs.exact_gradient(expected, LOGITS))
    simple = rbgs.StraightThrough()  # for which JAX compiles little
    found = simple.gradient(oracle, framework.array(LOGITS), rng=rbgs.Key(0))
    close(found, simple.gradient(expected, LOGITS, rng=rbgs.Key(0)))


def test_compare_and_tune(framework):
    """On logits of NumPy, which every door's oracle takes."""
    logits, estimators = LOGITS[0, 0], [GUMBEL_RAO, REINFORCE]
    oracles = framework.door.oracle(make_loss(framework, shared=False)), by_hand(shared=False)
    found, wanted = (rbgs.compare(estimators, x, logits, draws=8, rng=0) for x in oracles)
    for a, b in zip(found, wanted, strict=True):
        close([a.bias2, a.variance], [b.bias2, b.variance])
    options = {"draws": 8, "rng": 0, "temperatures": [0.5, 2]}
    one, other = (rbgs.tune(GUMBEL_RAO, oracle, logits, **options) for oracle in oracles)
    assert one.temperature == other.temperature


def test_a_relaxed_control_variate(framework):
    """An oracle serves as one, too."""
    xp = framework.xp
    guess = framework.door.oracle(lambda value: xp.sum(xp.exp(value), -1))

    def exp_oracle(value):
        return np.exp(value).sum(axis=-1), np.exp(value)

    relax = rbgs.Relax(0.6, control_variate=exp_oracle)
    wanted = relax.gradient(by_hand(False), LOGITS, rng=0)
    relax = dataclasses.replace(relax, control_variate=guess)
    oracle = framework.door.oracle(make_loss(framework, shared=False))
    close(relax.gradient(oracle, LOGITS, rng=0), wanted)


def test_a_lost_derivative_teaches(framework):
    xp, cost = framework.xp, framework.array(np.asarray([1.0, 2.0, 4.0, 8.0]))

    def loss(value):
        return cost[xp.argmax(value, -1)]

    with pytest.raises(TypeError, match=r"derivative of loss\(value\).*argmax.*the loss itself"):
        framework.door.oracle(loss)(framework.array(LOGITS))
    if framework.name != "jax":  # it compiles for seconds
        REINFORCE.gradient(loss, framework.array(LOGITS), rng=0)  # as it says
    with pytest.raises(TypeError, match=r"needs the derivative of loss\(value\).*argmax"):
        framework.vjp(
            lambda logits, c: framework.expectation(
                rbgs.MuProp(), lambda value: c[xp.argmax(value, -1)], logits, rbgs.Key(0)
            ),
            LOGITS,
            np.ones(4),
        )


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (3.0, "loss is a float; a function is wanted"),
        (lambda value: value > 0, r"loss\(value\) has dtype"),
        (lambda _: 3.0, r"loss\(value\) is a float; it must be an array"),
    ],
)
def test_what_is_no_loss(framework, loss, message):
    with pytest.raises(TypeError, match=message):
        framework.door.oracle(loss)(framework.array(LOGITS))


def test_a_scalar_loss_of_all_draws_is_refused(framework):
    oracle = framework.door.oracle(lambda value: framework.xp.sum(value**2))
    with pytest.raises(ValueError, match="keep the first 1, of the draws"):
        rbgs.compare([GUMBEL_RAO], oracle, LOGITS[0, 0], draws=8, rng=0)


def test_values_of_another_library(framework):
    other = pytest.importorskip("jax.numpy" if framework.name == "torch" else "torch")
    takes = "numpy" if framework.name == "autograd" else f"{framework.name} or numpy"
    oracle = framework.door.oracle(make_loss(framework, shared=False))
    with pytest.raises(TypeError, match=rf"value is a \w+ \w+, but .* logits of {takes}"):
        GUMBEL_RAO.gradient(oracle, other.asarray(LOGITS), rng=0)
