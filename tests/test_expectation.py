"""The expected loss through every autodiff door: its value, and all of its derivatives."""

import dataclasses
import math

import numpy as np
import pytest
from cases import CASES, UNBIASED, exp_oracle, name, softmax, standard_error_test
from doors import FRAMEWORKS, Framework

import rbgs

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(3, 2, 4))
DECODER = RANDOM.normal(size=(4, 2))
KEY = rbgs.Key(0)
REINFORCE = rbgs.Reinforce("leave_one_out", samples=3)

each_case = pytest.mark.parametrize("estimator", CASES, ids=name)
each_path = pytest.mark.parametrize("estimator", [rbgs.GumbelRao(0.5), *UNBIASED], ids=name)


@pytest.fixture(params=FRAMEWORKS)
def framework(request):
    return Framework(request.param)


def make_loss(framework, shared=0, axis=-1):
    """Return a loss of a value and a decoder, shared along so many of the last axes."""
    xp = framework.xp

    def loss(value, decoder):
        hidden = xp.tanh(xp.moveaxis(value, axis, -1) @ decoder) + 0.3
        losses = hidden[..., 0] ** 2 + xp.sum(hidden, axis=-1)
        if not shared:
            return losses
        total = xp.sum(losses, axis=tuple(range(-shared, 0)))
        return total + total**2 / 4

    return loss


def of_framework(framework, estimator, shared=0):
    """Return an estimator whose control variate is a function of the framework."""
    if not isinstance(estimator, rbgs.Relax):
        return estimator
    xp = framework.xp
    axes = tuple(range(-1 - shared, 0))
    return dataclasses.replace(estimator, control_variate=lambda v: xp.sum(xp.exp(v), axis=axes))


def shared_exp(shared):
    def oracle(value):
        loss, derivative = exp_oracle(value)
        return loss.sum(axis=tuple(range(loss.ndim - shared, loss.ndim))), derivative

    return oracle


def evaluated(framework, estimator, loss, cotangent=None, logits=LOGITS, rng=KEY, **options):
    """Return the expectation, and its gradients for logits and decoder."""

    def expected(logits, decoder):
        def of_value(value):
            return loss(value, decoder)

        return framework.expectation(estimator, of_value, logits, rng, **options)

    value, pullback = framework.vjp(expected, logits, DECODER)
    return value, *pullback(np.ones_like(value) if cotangent is None else cotangent)


def of_core(framework, estimator, loss, shared=0, **options):
    """Return what the core says: the losses, the estimate, and the gradient for the decoder."""
    seen, decoder = [], framework.array(DECODER)

    def oracle(value):
        losses, pullback = framework.vjp(lambda value: loss(value, decoder), value)
        seen.append(value)
        return losses, *pullback(np.ones_like(losses))

    if isinstance(estimator, rbgs.Relax):
        estimator = dataclasses.replace(estimator, control_variate=shared_exp(shared))
    estimate = estimator.gradient(oracle, LOGITS, rng=KEY, **options)
    losses, pullback = framework.vjp(
        lambda decoder: loss(framework.array(seen[0]), decoder), DECODER
    )
    return losses, estimate, pullback


@pytest.mark.parametrize("shared", [0, 1])
@each_case
def test_gradients_are_those_of_the_core_and_of_the_framework(framework, estimator, shared):
    loss = make_loss(framework, shared)
    losses, estimate, of_losses = of_core(framework, estimator, loss, shared)
    value, of_logits, of_decoder = evaluated(
        framework, of_framework(framework, estimator, shared), loss
    )
    several, vimco = estimator._draws > 1, isinstance(estimator, rbgs.Vimco)
    weights = np.full_like(losses, 1 / estimator._draws)
    expected = losses.mean(axis=0) if several else losses
    if vimco:
        weights = softmax(-losses, axis=0)
        expected = -np.log(np.exp(-losses).mean(axis=0))
    np.testing.assert_allclose(value, expected, rtol=1e-10)
    np.testing.assert_allclose(of_logits, estimate, atol=1e-10)
    np.testing.assert_allclose(of_decoder, of_losses(weights)[0], atol=1e-10)


@each_path
def test_mask_and_axis(framework, estimator):
    mask = np.asarray([[True], [True], [False], [True]])
    logits = np.moveaxis(LOGITS, -1, 1)  # (3, 4, 2)
    estimator = of_framework(framework, estimator)
    if isinstance(estimator, rbgs.Relax):
        pytest.skip("its control variate sums along the last axis")
    loss = make_loss(framework, axis=-2)
    value, of_logits, _ = evaluated(
        framework, estimator, loss, logits=logits, mask=framework.array(mask), axis=1
    )

    def oracle(value):
        decoder = framework.array(DECODER)
        losses, pullback = framework.vjp(lambda value: loss(value, decoder), value)
        return losses, *pullback(np.ones_like(losses))

    estimate = estimator.gradient(oracle, logits, rng=KEY, mask=mask, axis=1)
    np.testing.assert_allclose(of_logits, estimate, atol=1e-10)
    assert (of_logits[:, 2] == 0).all()
    assert np.isfinite(value).all()


@pytest.mark.parametrize("shared", [0, 1, 2])
@pytest.mark.parametrize("estimator", [rbgs.GumbelRao(0.5), REINFORCE, rbgs.MuProp()], ids=name)
def test_a_cotangent_is_spread_over_the_variables_that_share_a_loss(framework, estimator, shared):
    loss = make_loss(framework, shared)
    value, estimate, _ = evaluated(framework, estimator, loss)
    cotangent = RANDOM.normal(size=value.shape)
    _, of_logits, _ = evaluated(framework, estimator, loss, cotangent)
    spread = cotangent.reshape(*cotangent.shape, *(1,) * (shared + 1))
    np.testing.assert_allclose(of_logits, spread * estimate, atol=1e-10)


@pytest.mark.parametrize("estimator", [rbgs.GumbelRao(0.5), REINFORCE, rbgs.Vimco(3)], ids=name)
def test_a_loss_that_uses_the_logits_directly(framework, estimator):
    xp, loss = framework.xp, make_loss(framework)

    def expected(logits):
        def of_value(value):
            decoder = framework.array(DECODER)
            return loss(value, decoder) + xp.sum(xp.sin(logits), axis=-1)

        return framework.expectation(estimator, of_value, logits, KEY)

    value, pullback = framework.vjp(expected, LOGITS)
    plain, of_logits, _ = evaluated(framework, estimator, loss)
    np.testing.assert_allclose(value, plain + np.sin(LOGITS).sum(axis=-1), rtol=1e-10)
    direct = pullback(np.ones_like(value))[0]
    if isinstance(estimator, rbgs.GumbelRao) or estimator._draws > 1:  # a constant drops out
        np.testing.assert_allclose(direct, of_logits + np.cos(LOGITS), atol=1e-10)


@pytest.mark.parametrize("estimator", UNBIASED, ids=name)
def test_it_is_unbiased(framework, estimator):
    """Value and gradient, of many rows that are alike, against enumeration."""
    logits, loss = LOGITS[0], make_loss(framework, 1)
    value, of_logits, _ = evaluated(
        framework,
        of_framework(framework, estimator, 1),
        loss,
        logits=np.tile(logits, (10_000, 1, 1)),
        rng=7,
    )
    there = make_loss(Framework("autograd"), 1)
    draws = estimator._draws if isinstance(estimator, rbgs.Vimco) else 1
    exact = rbgs.exact_gradient(lambda value: there(value, DECODER), logits, samples=draws)
    standard_error_test(of_logits, exact)
    if draws == 1:
        pairs = np.stack([np.eye(4)[[i, j]] for i, j in np.ndindex(4, 4)])
        p = softmax(logits)
        standard_error_test(value, np.outer(p[0], p[1]).ravel() @ there(pairs, DECODER))


@each_path
def test_rows_without_an_answer_are_nan_and_others_are_not(framework, estimator):
    logits = LOGITS.copy()
    logits[0, 0, 1] = np.nan
    logits[1, 0] = [-np.inf, 0.0, -np.inf, 1.0]
    estimator = of_framework(framework, estimator)
    value, of_logits, _ = evaluated(framework, estimator, make_loss(framework), logits=logits)
    wrong = np.zeros((3, 2), bool)
    wrong[0, 0] = True
    np.testing.assert_array_equal(np.isnan(value), wrong)
    np.testing.assert_array_equal(np.isnan(of_logits), np.stack([wrong] * 4, axis=-1))
    assert (of_logits[1, 0, [0, 2]] == 0).all()


@each_path
def test_one_category_and_no_rows(framework, estimator):
    loss, estimator = make_loss(framework), of_framework(framework, estimator)
    for shape in ((0, 4), (2, 0, 4)):
        value, of_logits, _ = evaluated(framework, estimator, loss, logits=np.zeros(shape))
        assert value.shape == shape[:-1]
        assert of_logits.shape == shape
    shared = make_loss(framework, 1)
    its_own = of_framework(framework, estimator, 1)
    value, of_logits, _ = evaluated(framework, its_own, shared, logits=np.zeros((2, 0, 4)))
    assert value.shape == (2,)
    assert of_logits.shape == (2, 0, 4)
    xp = framework.xp
    value, pullback = framework.vjp(
        lambda logits: framework.expectation(
            estimator, lambda value: xp.sum(value, axis=-1), logits, KEY
        ),
        np.zeros((2, 1)),
    )
    np.testing.assert_allclose(value, 1)
    np.testing.assert_allclose(pullback(np.ones(2))[0], 0, atol=1e-12)


@each_path
def test_dtypes_are_kept(framework, estimator):
    estimator = of_framework(framework, estimator)
    xp = framework.xp
    for dtype in ("float32", "float16"):
        logits = LOGITS.astype(dtype)
        value, pullback = framework.vjp(
            lambda logits: framework.expectation(
                estimator, lambda drawn: xp.sum(drawn**2, axis=-1), logits, KEY
            ),
            logits,
        )
        assert value.dtype == dtype
        assert pullback(np.ones_like(value))[0].dtype == dtype


def test_no_second_derivative_is_a_silent_zero(framework):
    xp, loss = framework.xp, make_loss(framework)
    for estimator in (rbgs.GumbelRao(0.5), REINFORCE, rbgs.MuProp()):
        with pytest.raises(NotImplementedError, match="has no derivative for the logits"):
            framework.second_derivative(
                lambda logits, estimator=estimator: xp.sum(
                    framework.expectation(
                        estimator,
                        lambda value: loss(value, framework.array(DECODER)),
                        logits,
                        KEY,
                    )
                ),
                LOGITS,
            )


def test_second_derivatives_for_the_decoder_are_there(framework):
    xp = framework.xp
    logits = framework.array(LOGITS)
    for estimator in (rbgs.GumbelRao(0.5), REINFORCE, rbgs.MuProp()):
        found = framework.second_derivative(
            lambda decoder, estimator=estimator: xp.sum(
                framework.expectation(
                    estimator, lambda value: xp.sum((value @ decoder) ** 2, axis=-1), logits, KEY
                )
            ),
            DECODER,
        )
        assert np.abs(found).max() > 0


def test_a_running_mean_is_advanced_by_each_gradient(framework):
    baseline = rbgs.RunningMean()
    loss = make_loss(framework)
    value, first, _ = evaluated(framework, rbgs.Reinforce(baseline), loss)
    assert math.isclose(baseline.value, value.mean())
    _, second, _ = evaluated(framework, rbgs.Reinforce(baseline), loss)
    _, expected, _ = evaluated(framework, rbgs.Reinforce(float(value.mean())), loss)
    np.testing.assert_allclose(second, expected, atol=1e-10)
    assert np.abs(first - second).max() > 1e-3


class TestLearning:
    """What is trained by the squared norm of the estimate: eta, and a control variate."""

    def losses(self, framework, logits, decoder, eta, guess, shared=1):
        xp, loss = framework.xp, make_loss(framework, shared)
        estimator = rbgs.Relax(
            0.6, eta, lambda value: xp.sum(xp.tanh(value @ guess), axis=(-2, -1))
        )
        if guess is None:
            estimator = rbgs.Rebar(0.6, eta)
        return framework.expectation(estimator, lambda value: loss(value, decoder), logits, KEY)

    def squared_norm(self, eta, guess):
        """Return the squared norms by the core, with oracles of NumPy."""

        def control_variate(value):
            hidden = np.tanh(value @ guess)
            return hidden.sum(axis=(-2, -1)), (1 - hidden**2) @ guess.T

        loss = make_loss(Framework("autograd"), 1)
        estimator = rbgs.Relax(0.6, eta, control_variate)
        estimate = estimator.gradient(lambda value: loss(value, DECODER), LOGITS, rng=KEY)
        return (estimate**2).sum(axis=(-2, -1)), estimate

    @pytest.mark.parametrize("name", ["torch", "jax"])
    def test_it_is_the_derivative_of_the_squared_norm(self, name):
        framework = Framework(name)
        eta, guess = RANDOM.uniform(0.5, 1, size=3), RANDOM.normal(size=(4, 2))
        cotangent = RANDOM.normal(size=3)
        value, pullback = framework.vjp(
            lambda *given: self.losses(framework, *given), LOGITS, DECODER, eta, guess
        )
        of_logits, of_decoder, of_eta, of_guess = pullback(cotangent)
        plain, _, decoder = evaluated(
            framework, rbgs.Reinforce(), make_loss(framework, 1), cotangent
        )
        np.testing.assert_allclose(value, plain)
        np.testing.assert_allclose(of_decoder, decoder, atol=1e-10)
        squares, estimate = self.squared_norm(eta, guess)
        np.testing.assert_allclose(of_logits, cotangent[:, None, None] * estimate, atol=1e-10)
        step = 1e-6
        for place in range(3):
            moved = eta + step * (np.arange(3) == place)
            slope = cotangent @ (self.squared_norm(moved, guess)[0] - squares) / step
            np.testing.assert_allclose(of_eta[place], slope, rtol=1e-4)
        for place in np.ndindex(4, 2):
            moved = guess.copy()
            moved[place] += step
            slope = cotangent @ (self.squared_norm(eta, moved)[0] - squares) / step
            np.testing.assert_allclose(of_guess[place], slope, rtol=1e-3, atol=1e-5)

    @pytest.mark.parametrize("name", ["torch", "jax"])
    def test_eta_of_rebar_is_that_of_the_core(self, name):
        framework = Framework(name)
        value, pullback = framework.vjp(
            lambda logits, eta: self.losses(framework, logits, framework.array(DECODER), eta, None),
            LOGITS,
            np.asarray(0.7),
        )
        loss = make_loss(framework, 1)

        def oracle(value):
            losses, pull = framework.vjp(lambda v: loss(v, framework.array(DECODER)), value)
            return losses, *pull(np.ones_like(losses))

        estimate, of_eta = rbgs.Rebar(0.6, 0.7).gradient_with_eta(oracle, LOGITS, rng=KEY)
        found = pullback(np.ones_like(value))
        np.testing.assert_allclose(found[0], estimate, atol=1e-10)
        np.testing.assert_allclose(found[1], of_eta.sum(), rtol=1e-10)

    def test_autograd_refuses_to_train_a_control_variate(self):
        framework = Framework("autograd")
        with pytest.raises(ValueError, match=r"cannot train a control variate: use rbgs\.torch"):
            framework.vjp(
                lambda guess: self.losses(framework, LOGITS, DECODER, 1.0, guess),
                np.ones((4, 2)),
            )


def test_an_encoder_and_a_decoder_are_trained(framework):
    """The discrete autoencoder of the README, with values of the loss alone for the encoder."""
    xp = framework.xp
    x = framework.array(np.tile([[2.0, 0], [-2, 0], [0, 2], [0, -2]], (32, 1)))
    parameters = [np.zeros((2, 4)), np.asarray(x)[:4].copy()]

    def loss(encoder, decoder, key):
        def of_value(value):
            return xp.sum((value @ decoder - x) ** 2, axis=-1)

        return xp.mean(framework.expectation(REINFORCE, of_value, x @ encoder, key))

    values = []
    for step in range(201):
        value, pullback = framework.vjp(lambda *p, s=step: loss(*p, KEY.fold_in(s)), *parameters)
        values.append(float(value))
        gradients = pullback(np.ones(()))
        parameters = [p - 0.3 * g for p, g in zip(parameters, gradients, strict=True)]
    assert values[0] > 4
    assert values[-1] < 0.3
