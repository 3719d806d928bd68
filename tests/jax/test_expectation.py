"""What is particular to JAX's expectation: transformations, programs, precision."""

import functools

import numpy as np
import pytest
from backends import Backend
from cases import UNBIASED, name

import rbgs

jax = pytest.importorskip("jax")
door = pytest.importorskip("rbgs.jax")
jnp = jax.numpy

RANDOM = np.random.default_rng(0)
LOGITS, TANGENT = RANDOM.normal(size=(2, 5, 4))
DECODER, OTHER = RANDOM.normal(size=(2, 4, 2))
KEY = jax.random.key(0)
REINFORCE = rbgs.Reinforce("leave_one_out", samples=3)
TWO = rbgs.GumbelRao(0.5), rbgs.Systematic(rbgs.ReinMax(), 3)


def of_jax(estimator):
    if not isinstance(estimator, rbgs.Relax):
        return estimator
    return rbgs.Relax(0.6, control_variate=lambda value: jnp.exp(value).sum(axis=-1))


each_path = pytest.mark.parametrize("estimator", [*TWO, *map(of_jax, UNBIASED)], ids=name)


@pytest.fixture(autouse=True)
def double_precision():
    Backend.JAX.load()


def loss_of(value, decoder):
    hidden = jnp.tanh(value @ decoder) + 0.3
    return hidden.sum(axis=-1) + hidden[..., 0] ** 2 * hidden[..., 1]


def total(estimator, logits, decoder=DECODER, key=KEY):
    return door.expectation(
        estimator, key, lambda value: loss_of(value, decoder), jnp.asarray(logits)
    ).sum()


@each_path
def test_transformations(estimator):
    function = functools.partial(total, estimator)
    value, expected = jax.value_and_grad(function, (0, 1))(LOGITS, DECODER)
    close = functools.partial(np.testing.assert_allclose, atol=1e-10)
    for transformed in (
        jax.jit(jax.grad(function, (0, 1))),
        jax.grad(jax.jit(function), (0, 1)),
        jax.jit(jax.grad(jax.checkpoint(function), (0, 1))),
    ):
        for got, wanted in zip(transformed(LOGITS, DECODER), expected, strict=True):
            close(got, wanted)
    got, tangent = jax.jit(lambda *x: jax.jvp(function, x, (TANGENT, OTHER)))(LOGITS, DECODER)
    close(got, value)
    close(tangent, (expected[0] * TANGENT).sum() + (expected[1] * OTHER).sum())


@each_path
def test_vmap_and_scan_over_keys(estimator):
    def gradient(key):
        return jax.grad(functools.partial(total, estimator, key=key))(jnp.asarray(LOGITS))

    keys = jax.random.split(KEY, 3)
    expected = np.stack([gradient(key) for key in keys])
    np.testing.assert_allclose(jax.jit(jax.vmap(gradient))(keys), expected, atol=1e-10)

    def scanned(logits):
        def add(value, key):
            return value + total(estimator, logits, key=key), None

        return jax.lax.scan(add, 0.0, keys)[0]

    found = jax.jit(jax.grad(scanned))(jnp.asarray(LOGITS))
    np.testing.assert_allclose(found, expected.sum(axis=0), atol=1e-10)


def test_a_baseline_is_carried_as_an_array():
    @jax.jit
    def step(baseline, key):
        def objective(logits):
            estimator = rbgs.Reinforce(baseline)
            losses = door.expectation(estimator, key, lambda v: loss_of(v, DECODER), logits)
            return losses.sum(), losses

        gradient, losses = jax.grad(objective, has_aux=True)(jnp.asarray(LOGITS))
        return 0.5 * baseline + 0.5 * losses.mean(), gradient

    _, gradients = jax.lax.scan(step, jnp.zeros(()), jax.random.split(KEY, 3))
    assert gradients.shape == (3, 5, 4)


@pytest.mark.parametrize("state", [rbgs.RunningMean, rbgs.RunningDeviation])
def test_state_is_refused_where_it_is_traced(state):
    estimator = (
        rbgs.Reinforce(state()) if state is rbgs.RunningMean else rbgs.Reinforce(scale=state())
    )
    function = functools.partial(total, estimator)
    with pytest.raises(TypeError, match="carry its number as an array"):
        jax.jit(jax.grad(function))(LOGITS)
    with pytest.raises(TypeError, match="carry its number as an array"):
        jax.vmap(function)(jnp.stack([LOGITS, TANGENT]))
    jax.grad(function)(LOGITS)  # as it is, it may be used


@pytest.mark.parametrize("precision", [True, False])
def test_both_precisions(precision):
    with jax.enable_x64(precision):
        dtype = np.float64 if precision else np.float32
        for estimator in (rbgs.GumbelRao(0.5), REINFORCE, rbgs.MuProp(), rbgs.Vimco(2)):
            value, gradient = jax.jit(jax.value_and_grad(functools.partial(total, estimator)))(
                LOGITS.astype(dtype), DECODER.astype(dtype)
            )
            assert value.dtype == gradient.dtype == dtype


def test_strict_rank_promotion_reaches_the_loss_alone():
    def loss(value):
        return (value**2).sum(axis=-1)

    with jax.numpy_rank_promotion("raise"):
        for estimator in (REINFORCE, rbgs.Vimco(2), rbgs.Rebar(0.5), rbgs.IndeCateR()):
            jax.grad(lambda x, e=estimator: door.expectation(e, KEY, loss, x).sum())(
                jnp.asarray(LOGITS)
            )
        with pytest.raises(ValueError, match="rank"):
            door.expectation(
                REINFORCE, KEY, lambda value: (value + jnp.ones(4)).sum(axis=-1), LOGITS
            )


@pytest.mark.parametrize("estimator", [rbgs.Rebar, rbgs.GumbelRao])
def test_no_derivative_for_the_temperature(estimator):
    def function(temperature):
        return total(estimator(temperature), LOGITS)

    with pytest.raises(ValueError, match=r"pass jax\.lax\.stop_gradient\(temperature\)"):
        jax.grad(function)(0.5)
    assert jax.jit(function)(0.5).shape == ()


def test_nor_does_the_decoder_see_the_estimate():
    """A silent 0 would be wrong: the estimate depends on the decoder."""

    def of_estimate(decoder):
        return jax.grad(functools.partial(total, REINFORCE))(jnp.asarray(LOGITS), decoder).sum()

    with pytest.raises(NotImplementedError, match="has no derivative for the logits"):
        jax.grad(of_estimate)(DECODER)


def test_arrays_of_numpy_become_those_of_jax():
    value = door.expectation(REINFORCE, 0, lambda _: np.zeros(5), LOGITS, mask=np.ones(4, bool))
    assert isinstance(value, jax.Array)


def test_the_temperature_of_several_draws_may_be_traced():
    def gradient(temperature):
        many = rbgs.Systematic(rbgs.GumbelRao(temperature), draws=4)

        def total(logits):
            return door.expectation(many, KEY, lambda value: loss_of(value, DECODER), logits).sum()

        return jax.grad(total)(jnp.asarray(LOGITS))

    temperatures = 0.3, 1.2
    wanted = [gradient(temperature) for temperature in temperatures]
    per_row = jnp.asarray([0.3, 1.2, 0.3, 1.2, 0.3])
    np.testing.assert_allclose(jax.jit(gradient)(0.3), wanted[0], atol=1e-9)
    np.testing.assert_allclose(
        jax.vmap(gradient)(jnp.asarray(temperatures)), jnp.stack(wanted), atol=1e-9
    )
    by_row = jnp.where(per_row[:, None] == 0.3, *wanted)
    for function in (gradient, jax.jit(gradient)):
        np.testing.assert_allclose(function(per_row), by_row, atol=1e-9)
    with pytest.raises(ValueError, match=r"stop_gradient\(temperature\)"):
        jax.jacobian(gradient)(0.3)
