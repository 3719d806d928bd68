"""Every door's expectation says what is wrong with its arguments, and how to mend it."""

import numpy as np
import pytest
from cases import name
from doors import FRAMEWORKS, Framework

import rbgs

LOGITS, KEY = np.zeros((3, 2, 4)), rbgs.Key(0)
REINFORCE = rbgs.Reinforce("leave_one_out", samples=3)


@pytest.fixture(params=FRAMEWORKS)
def framework(request):
    return Framework(request.param)


def expect(framework, estimator=REINFORCE, loss=lambda value: value.sum(-1), **options):
    logits = framework.array(LOGITS)
    return framework.expectation(estimator, loss, logits, KEY, **options)


@pytest.mark.parametrize("wrong", [rbgs.Reinforce, rbgs.GumbelRao])
def test_a_class_is_no_estimator(framework, wrong):
    with pytest.raises(TypeError, match=f"is the class {wrong.__name__}; an instance such as"):
        expect(framework, wrong)


def test_nor_is_something_else(framework):
    with pytest.raises(TypeError, match=r"estimator is a float; one such as rbgs\.GumbelRao"):
        expect(framework, 0.5)


@pytest.mark.parametrize("wrong", [None, 1.0, np.zeros((3, 2))])
def test_a_loss_that_is_no_function(framework, wrong):
    with pytest.raises(TypeError, match=r"loss is a .*; a function is wanted that takes a value"):
        expect(framework, loss=wrong)


@pytest.mark.parametrize("estimator", [rbgs.GumbelRao(0.5), REINFORCE], ids=name)
def test_what_the_loss_returns(framework, estimator):
    xp = framework.xp
    for wrong, message in (
        (lambda _: None, r"loss\(value\) is a NoneType; it must be an array"),
        (lambda _: 0.5, r"loss\(value\) is a float; it must be an array"),
        (lambda value: (value.sum(-1), value), r"loss\(value\) is a tuple"),
        (lambda value: xp.sum(value > 0, axis=-1), r"loss\(value\) has dtype .*int"),
        (lambda value: value, r"loss\(value\) has shape \(3, 2, 4\) for a value whose batch"),
        (lambda value: value.sum(0), r"loss\(value\) has shape \(2, 4\) for a value"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            expect(framework, estimator, wrong)


def test_what_a_control_variate_returns(framework):
    def wrong(value):
        return value

    logits = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"control_variate\(value\) has shape \(2, 3\)"):
        framework.vjp(
            lambda logits: framework.expectation(
                rbgs.Relax(control_variate=wrong), lambda value: value.sum(-1), logits, KEY
            ),
            logits,
        )


def test_logits_of_another_library_or_dtype(framework):
    for wrong, message in (
        ([0.0, 1.0], f"logits are a list, but rbgs.{framework.name} takes .* arrays: "),
        (framework.array(np.zeros((2, 3), int)), "convert them, for example to float32"),
        (framework.array(np.zeros(())), "0-dimensional"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            framework.expectation(REINFORCE, lambda value: value.sum(-1), wrong, KEY)


def test_names_of_other_doors(framework):
    of_rng = {"torch": "generator", "jax": "key", "autograd": "rng"}[framework.name]
    right, other = ("dim", "axis") if framework.name == "torch" else ("axis", "dim")
    for wrong in {"rng", "generator", "key", "seed"} - {of_rng}:
        with pytest.raises(TypeError, match=f"has no {wrong}=: it is {of_rng}= here"):
            framework.door.expectation(REINFORCE, lambda value: value, LOGITS, **{wrong: 0})
    with pytest.raises(TypeError, match=f"expectation has no {other}=: it is {right}= here"):
        framework.door.expectation(REINFORCE, lambda value: value, LOGITS, **{other: 0})


def test_wrong_generators(framework):
    of_rng = {"torch": "generator", "jax": "key", "autograd": "rng"}[framework.name]
    for wrong, message in ((1.5, "is a float, which is no known"), (-1, "is the seed -1")):
        with pytest.raises((TypeError, ValueError), match=f"{of_rng} {message}"):
            framework.expectation(
                REINFORCE, lambda value: value.sum(-1), framework.array(LOGITS), wrong
            )


def test_a_mask_of_another_shape(framework):
    with pytest.raises(ValueError, match="mask has shape"):
        expect(framework, mask=framework.array(np.ones(3, bool)))
