"""One rule for numbers: whatever kind of number a temperature is, it acts as the Python float."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from backends import Backend, to_numpy
from cases import WITH_TEMPERATURE, name
from hypothesis import given, settings
from hypothesis import strategies as st

import rbgs

LOGITS = np.random.default_rng(0).normal(size=(6, 4))
NUMBERS = {
    "float64": np.float64,
    "float32": np.float32,
    "float16": np.float16,
    "longdouble": np.longdouble,
    "0-d": np.asarray,
    "0-d float32": lambda x: np.asarray(x, np.float32),
    "Fraction": Fraction,
    "Decimal": Decimal,
}
each_engine = pytest.mark.usefixtures("engine")
each_estimator = pytest.mark.parametrize("estimator", WITH_TEMPERATURE, ids=name)


@each_engine
@each_estimator
@settings(max_examples=12)
@given(kind=st.sampled_from(list(NUMBERS)), eighths=st.integers(1, 24), seed=st.integers(0, 99))
def test_a_number_of_any_kind_is_the_float(estimator, kind, eighths, seed):
    number = NUMBERS[kind](eighths / 8)  # which half precision holds exactly
    with_float = replace(estimator, temperature=eighths / 8)
    with_number = replace(estimator, temperature=number)
    assert type(with_number.temperature) is float
    assert with_number == with_float
    assert hash(with_number) == hash(with_float)
    ours, theirs = (e.sample(LOGITS, rng=seed) for e in (with_number, with_float))
    np.testing.assert_array_equal(ours.value, theirs.value)
    np.testing.assert_array_equal(ours.vjp(LOGITS), theirs.vjp(LOGITS))
    np.testing.assert_array_equal(ours.jacobian(), theirs.jacobian())


@pytest.mark.parametrize("zero", [0, 0.0, np.float64(0), np.float32(0), np.int64(0), np.zeros(())])
def test_zero_of_any_kind_is_the_limit(xp, zero):
    assert rbgs.GumbelRao(zero) == rbgs.GumbelRao(0)
    logits = xp.asarray(LOGITS)
    product = rbgs.GumbelRao(zero).sample(logits, rng=0).vjp(logits)
    expected = rbgs.GumbelRao(0).sample(LOGITS, rng=0).vjp(LOGITS)
    np.testing.assert_allclose(to_numpy(product), expected, atol=1e-12)


@each_engine
@each_estimator
@pytest.mark.parametrize("other", [b for b in Backend if b is not Backend.CUPY], ids=str)
def test_an_array_without_axes_of_any_library(xp, estimator, other):
    scalar = other.load().asarray(0.5, dtype=other.load().float64)
    logits = xp.asarray(LOGITS)
    draw = replace(estimator, temperature=scalar).sample(logits, rng=0)
    expected = replace(estimator, temperature=0.5).sample(LOGITS, rng=0)
    np.testing.assert_allclose(to_numpy(draw.value), expected.value, atol=1e-9)
    np.testing.assert_allclose(to_numpy(draw.vjp(logits)), expected.vjp(LOGITS), atol=1e-9)


def test_an_array_without_axes_on_another_device(backend, xp):
    if backend is not Backend.STRICT:
        pytest.skip("array-api-strict stands in for a second device")
    logits = xp.asarray(LOGITS, device=xp.Device("device1"))
    draw = rbgs.GumbelRao(xp.asarray(0.5)).sample(logits, rng=0)
    assert draw.value.device == draw.vjp(logits).device == logits.device


def test_a_tensor_that_requires_a_gradient_stays_one():
    torch = pytest.importorskip("torch")
    temperature = torch.tensor(0.5, requires_grad=True)
    estimator = rbgs.GumbelRao(temperature)
    assert estimator.temperature is temperature
    with pytest.raises(ValueError, match=r"no derivative is defined .* temperature\.detach\(\)"):
        estimator.sample(LOGITS, rng=0)


def test_a_concrete_array_of_jax_inside_jit():
    xp = Backend.JAX.load()
    jax = pytest.importorskip("jax")
    for temperature in (xp.asarray(0.5), xp.full(6, 0.5)):
        jitted = jax.jit(lambda x, t=temperature: rbgs.GumbelRao(t).sample(x, rng=0).vjp(x))
        expected = rbgs.GumbelRao(0.5).sample(LOGITS, rng=0).vjp(LOGITS)
        np.testing.assert_allclose(jitted(xp.asarray(LOGITS)), expected, atol=1e-9)
    wrong = xp.asarray([0.5, -1.0])
    with pytest.raises(ValueError, match="in every element"):
        jax.jit(lambda x: x * rbgs.GumbelRao(wrong).samples)(1.0)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_half_precision_hides_no_temperature_of_zero(xp, dtype):
    dtype = getattr(xp, dtype, None)
    if dtype is None:
        pytest.skip("no such dtype")
    rbgs.GumbelRao(xp.asarray([0.5, 1.0], dtype=dtype)).sample(
        xp.asarray(LOGITS[:2], dtype=dtype), rng=0
    )
    with pytest.raises(ValueError, match="in every element"):
        rbgs.GumbelRao(xp.asarray([0.5, 0.0], dtype=dtype))


@pytest.mark.parametrize("wrong", [True, np.bool_(True), "1", 1j, np.complex128(1), None, [0.5]])
def test_what_is_no_number_is_refused(wrong):
    with pytest.raises(TypeError, match="temperature must be a float"):
        rbgs.GumbelRao(wrong)
    with pytest.raises(TypeError, match="temperature must be a float"):
        rbgs.GumbelRao(np.asarray("1"))


def test_a_number_above_all_floats_is_out_of_range():
    for wrong in (10**400, Fraction(10**400), -(10**400)):
        with pytest.raises(ValueError, match="temperature must be"):
            rbgs.GumbelRao(wrong)


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.asarray], ids=str)
def test_whatever_can_be_an_index_is_an_int(kind):
    estimator = rbgs.GumbelRao(0.5, samples=kind(4))
    assert type(estimator.samples) is int
    assert estimator == rbgs.GumbelRao(0.5, samples=4)
    assert type(rbgs.Reinforce(samples=kind(4)).samples) is int
    draw = estimator.sample(LOGITS, rng=kind(3), axis=kind(1))
    np.testing.assert_array_equal(draw.value, estimator.sample(LOGITS, rng=3).value)

    def oracle(value):
        return (value**2).sum(axis=-1), 2 * value

    (moments,) = rbgs.compare([estimator], oracle, LOGITS, draws=kind(8), rng=kind(0))
    assert type(moments.draws) is int
    assert rbgs.Key(kind(3)) == rbgs.Key(3)
    assert rbgs.Key(3).fold_in(kind(2)) == rbgs.Key(3).fold_in(2)
    assert rbgs.Key(3).split(kind(2)) == rbgs.Key(3).split(2)


def test_a_truth_value_is_no_count():
    for wrong in (True, np.bool_(True)):
        with pytest.raises(TypeError, match="samples must be an int"):
            rbgs.GumbelRao(0.5, samples=wrong)
        with pytest.raises(TypeError, match="samples must be an int"):
            rbgs.Reinforce(samples=wrong)
        with pytest.raises(TypeError, match="axis must be an int"):
            rbgs.GumbelRao(0.5).sample(LOGITS, rng=0, axis=wrong)
        with pytest.raises(TypeError, match="must be an int"):
            rbgs.Key(wrong)
