"""Through every door: the value and the gradient are those of the draw for the same noise."""

import importlib

import numpy as np
import pytest
from backends import Backend
from cases import PATHWISE, name
from doors import DOORS, assert_those_of_the_draw, through

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
    assert_those_of_the_draw(door, estimator, LOGITS, VECTOR, **options)


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
    instead = "" if door == "dask" else rf"rbgs\.{door}\.expectation\(estimator, .*\), or "
    with pytest.raises(TypeError, match=rf"call {instead}Reinforce\.gradient"):
        through(door, rbgs.Reinforce(), LOGITS, LOGITS, VECTOR)


@each_door
def test_something_else_than_an_estimator_is_refused(door):
    with pytest.raises(TypeError, match=r"such as rbgs\.GumbelRao"):
        through(door, 0.5, LOGITS, LOGITS, VECTOR)


@each_door
@pytest.mark.parametrize("estimator", [rbgs.GumbelRao, rbgs.Reinforce])
def test_a_class_is_refused_as_one(door, estimator):
    with pytest.raises(TypeError, match=f"is the class {estimator.__name__}; an instance such as"):
        through(door, estimator, LOGITS, LOGITS, VECTOR)


@each_door
def test_a_list_is_refused_with_the_way_to_make_an_array(door):
    pytest.importorskip(door)
    make = {
        "torch": r"torch\.tensor\(logits\)",
        "jax": r"jax\.numpy\.asarray\(logits\)",
        "autograd": r"numpy\.asarray\(logits\)",
        "dask": r"dask\.array\.from_array\(logits\)",
    }
    for wrong in ([0.0, 1.0], (0.0, 1.0), 1.0, None):
        kind = type(wrong).__name__
        with pytest.raises(TypeError, match=f"logits are a {kind}, but .* arrays: {make[door]}$"):
            importlib.import_module(f"rbgs.{door}").sample(*arguments(door, wrong))


@each_door
def test_the_names_of_the_arguments_are_those_of_the_door(door):
    pytest.importorskip(door)
    sample = importlib.import_module(f"rbgs.{door}").sample
    of_rng = {"torch": "generator", "jax": "key", "autograd": "rng", "dask": "key"}[door]
    given = arguments(door, array_of(door, LOGITS))
    given = (given[0], given[-1]) if door != "jax" else given
    for wrong in {"rng", "generator", "key", "seed"} - {of_rng}:
        with pytest.raises(TypeError, match=f"sample has no {wrong}=: it is {of_rng}= here"):
            sample(*given, **{wrong: 0})
    right, wrong = ("dim", "axis") if door == "torch" else ("axis", "dim")
    with pytest.raises(TypeError, match=f"sample has no {wrong}=: it is {right}= here"):
        sample(*given, **{wrong: -1})
    if door == "dask":
        return
    other = np.random.RandomState(0)
    for seed, message in (
        (True, f"{of_rng} is a bool, which is no known generator: pass {of_rng}="),
        (1.5, f"{of_rng} is a float, which is no known generator: pass {of_rng}="),
        (other, f"{of_rng} is a RandomState, which is no known generator: pass {of_rng}="),
        (-1, f"{of_rng} is the seed -1, but a seed is 0 or above"),
    ):
        estimator, logits = rbgs.GumbelRao(0.5), given[-1]
        positional = (estimator, seed, logits) if door == "jax" else (estimator, logits)
        by_name = {} if door == "jax" else {of_rng: seed}
        with pytest.raises((TypeError, ValueError), match=message):
            sample(*positional, **by_name)


@each_door
@pytest.mark.parametrize("kind", [np.int64, np.uint8])
def test_numbers_of_numpy_for_index_and_axis(door, kind):
    estimator = rbgs.GumbelRao(0.5)
    noise = estimator.noise(LOGITS, 1, axis=1)
    expected = estimator.sample(LOGITS, noise=noise, index=2, axis=1)
    value, gradient = through(
        door, estimator, LOGITS, noise, VECTOR, index=int(kind(2)), axis=kind(1)
    )
    np.testing.assert_allclose(value, expected.value, atol=1e-12)
    np.testing.assert_allclose(gradient, expected.vjp(VECTOR), atol=1e-12)
    given = {"index": kind(2), "noise": array_of(door, noise)}
    given |= {"dim" if door == "torch" else "axis": kind(1)}
    arguments_ = [estimator, array_of(door, LOGITS)]
    if door == "jax":
        arguments_.insert(1, None)
    lazy = importlib.import_module(f"rbgs.{door}").sample(*arguments_, **given)
    value = lazy.value.compute() if door == "dask" else np.asarray(lazy)
    np.testing.assert_allclose(value, expected.value, atol=1e-12)


@each_door
@pytest.mark.parametrize("other", ["torch", "jax"])
def test_a_temperature_without_axes_of_another_library(door, other):
    xp = Backend(other).load()
    estimator = rbgs.GumbelRao(xp.asarray(0.5, dtype=xp.float64))
    noise = estimator.noise(LOGITS, 1)
    draw = rbgs.GumbelRao(0.5).sample(LOGITS, noise=noise)
    value, gradient = through(door, estimator, LOGITS, noise, VECTOR)
    np.testing.assert_allclose(value, draw.value, atol=1e-12)
    np.testing.assert_allclose(gradient, draw.vjp(VECTOR), atol=1e-9)


@each_door
def test_a_masked_array_of_numpy_is_refused(door):
    pytest.importorskip(door)
    if door == "torch":
        pytest.skip("whoever makes a tensor of it has decided")
    logits = np.ma.masked_array(LOGITS, mask=LOGITS > 0)
    refused = pytest.raises((TypeError, ValueError), match="masked array")
    if door == "dask":
        logits = importlib.import_module("dask.array").from_array(logits)
        with refused:
            importlib.import_module("rbgs.dask").sample(
                rbgs.GumbelRao(0.5), logits, key=rbgs.Key(0)
            ).value.compute()
        return
    with refused:
        importlib.import_module(f"rbgs.{door}").sample(*arguments(door, logits))


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


def array_of(door, x):
    made = {
        "torch": lambda: importlib.import_module("torch").asarray(x),
        "jax": lambda: importlib.import_module("jax.numpy").asarray(x),
        "autograd": lambda: x,
        "dask": lambda: importlib.import_module("dask.array").asarray(x),
    }
    pytest.importorskip(door)
    return made[door]()


def through_without_gradient(door, logits):
    logits = array_of(door, logits)
    return importlib.import_module(f"rbgs.{door}").sample(*arguments(door, logits))


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


@pytest.mark.parametrize("forward", [False, True])
def test_autograd_refuses_a_derivative_for_the_noise(forward):
    autograd = pytest.importorskip("autograd")
    door = importlib.import_module("rbgs.autograd")
    estimator = rbgs.GumbelRao(0.5)
    noise = estimator.noise(LOGITS, 1)

    def loss(noise, logits=LOGITS):
        return (door.sample(estimator, logits, noise=noise) * VECTOR).sum()

    refused = pytest.raises(
        ValueError, match=r"for the noise: pass autograd\.tracer\.getval\(noise\)"
    )
    with refused:
        autograd.make_jvp(loss)(noise)(noise) if forward else autograd.grad(loss)(noise)
    assert autograd.grad(loss, 1)(noise, LOGITS).shape == LOGITS.shape
