"""Through every door: the value and the gradient are those of the draw for the same noise."""

import importlib

import numpy as np
import pytest
from cases import PATHWISE, name
from doors import DOORS, through

import rbgs

each_door = pytest.mark.parametrize("door", DOORS)
RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(3, 5, 4))
VECTOR = RANDOM.normal(size=(3, 5, 4))
MASK = np.asarray([True, True, False, True])
OPTIONS = {
    "plain": {},
    "mask": {"mask": MASK},
    "index": {"index": RANDOM.integers(4, size=(3, 5))},
    "axis": {"axis": 1},
}


@each_door
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("estimator", PATHWISE, ids=name)
def test_value_and_gradient_are_those_of_the_draw(door, estimator, options):
    noise = estimator.noise(LOGITS, 1, axis=options.get("axis", -1))
    draw = estimator.sample(LOGITS, noise=noise, **options)
    value, gradient = through(door, estimator, LOGITS, noise, VECTOR, **options)
    np.testing.assert_allclose(value, draw.value, atol=1e-12)
    np.testing.assert_allclose(gradient, draw.vjp(VECTOR), atol=1e-12)
    if not isinstance(estimator, rbgs.GumbelSoftmax):
        assert set(np.unique(value)) == {0.0, 1.0}  # exactly


@each_door
def test_a_row_without_an_answer_is_nan(door):
    logits = LOGITS.copy()
    logits[0, 0, 0] = np.nan
    estimator = rbgs.GumbelRao(0.5)
    value, gradient = through(door, estimator, logits, estimator.noise(logits, 1), VECTOR)
    wrong = np.zeros(LOGITS.shape, bool)
    wrong[0, 0] = True
    np.testing.assert_array_equal(np.isnan(value), wrong)
    np.testing.assert_array_equal(np.isnan(gradient), wrong)


@each_door
def test_reinforce_is_refused_with_the_way_out(door):
    with pytest.raises(TypeError, match=r"compute Reinforce\.gradient"):
        through(door, rbgs.Reinforce(), LOGITS, LOGITS, VECTOR)


@each_door
def test_something_else_than_an_estimator_is_refused(door):
    with pytest.raises(TypeError, match=r"such as rbgs\.GumbelRao"):
        through(door, 0.5, LOGITS, LOGITS, VECTOR)


@each_door
def test_integer_logits_are_refused(door):
    with pytest.raises(TypeError, match="convert them, for example to float32"):
        through_without_gradient(door, np.zeros((2, 3), int))


@each_door
def test_arrays_of_another_framework_are_refused_with_the_way_out(door):
    class Foreign:
        pass

    given = arguments(door, Foreign())
    with pytest.raises(TypeError, match=f"rbgs.{door} takes .* arrays: "):
        importlib.import_module(f"rbgs.{door}").sample(*given)


def arguments(door, logits):
    pytest.importorskip(door)
    estimator = rbgs.StraightThrough()
    return (estimator, 0, logits) if door == "jax" else (estimator, logits)


def through_without_gradient(door, logits):
    made = {
        "torch": lambda: importlib.import_module("torch").asarray(logits),
        "jax": lambda: importlib.import_module("jax.numpy").asarray(logits),
        "autograd": lambda: logits,
        "dask": lambda: importlib.import_module("dask.array").asarray(logits),
    }
    pytest.importorskip(door)
    return importlib.import_module(f"rbgs.{door}").sample(*arguments(door, made[door]()))


def test_straight_through_gumbel_softmax_is_that_of_pytorch():
    torch = pytest.importorskip("torch")
    logits = torch.asarray(LOGITS).requires_grad_()
    torch.manual_seed(0)
    exponentials = torch.empty_like(logits).exponential_().detach().numpy()
    torch.manual_seed(0)
    theirs = torch.nn.functional.gumbel_softmax(logits, 0.7, hard=True)
    theirs.backward(torch.asarray(VECTOR))
    estimator = rbgs.StraightThroughGumbelSoftmax(0.7)
    noise = -np.expm1(-exponentials)
    for door in DOORS:
        value, gradient = through(door, estimator, LOGITS, noise, VECTOR)
        np.testing.assert_allclose(value, theirs.detach().numpy(), atol=1e-6)
        np.testing.assert_allclose(gradient, logits.grad.numpy(), atol=1e-6)
