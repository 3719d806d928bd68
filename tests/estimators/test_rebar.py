"""REBAR and RELAX: the derivative by hand against their own surrogate, and the coefficient."""

import numpy as np
import pytest
from backends import to_numpy
from cases import exp_oracle, quadratic, softmax, standard_error_test

import rbgs

LOGITS = np.asarray([[0.3, -0.2, 0.9], [0.1, 1.1, -0.7]])
TARGET, WEIGHTS = np.asarray([0.1, 0.7, 0.2]), np.asarray([1.0, 3.0, -2.0])


def shared(oracle):
    """Return the oracle of the square of its loss's sum over two variables, which share it."""

    def joint(value):
        loss, gradient = oracle(value)
        total = loss.sum(axis=-1)
        return total**2, 2 * total[..., None, None] * gradient

    return joint


ORACLE = shared(quadratic(np, TARGET, WEIGHTS))


def surrogate(logits, at, exponentials, index, temperature, eta, oracle, control_variate):
    """Return a function whose derivative at ``logits == at`` is the estimate, for fixed noise.

    The exponentials are those of the race that ended with the outcome.
    """
    winner = np.eye(3)[index]

    def relaxed(p, time_of_winner):
        rival = -np.log(exponentials / p + time_of_winner)
        z = np.where(winner == 1, -np.log(time_of_winner), rival)
        return softmax(z / temperature)

    time = np.sum(winner * exponentials, axis=-1, keepdims=True)
    # With fixed Gumbels: the winner's time is E_i = T, and a rival's E_j / p_j + T.
    z = np.where(winner == 1, -np.log(time), -np.log(exponentials / softmax(at) + time))
    gumbels = z - np.log(softmax(at))
    unconditional = softmax((np.log(softmax(logits)) + gumbels) / temperature)
    conditional = relaxed(softmax(logits), time)
    c = (control_variate or oracle)(relaxed(softmax(at), time))[0]
    signal = oracle(winner)[0] - eta * c
    log_p = np.sum(winner * np.log(softmax(logits)))
    of = control_variate or oracle
    return signal * log_p + eta * of(unconditional)[0] - eta * of(conditional)[0]


@pytest.mark.parametrize("control_variate", [None, shared(exp_oracle)], ids=["rebar", "relax"])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(4))
def test_finite_differences_of_the_surrogate_at_fixed_noise(temperature, seed, control_variate):
    eta = 0.7
    estimator = rbgs.Relax(temperature, eta, control_variate)
    outcome = estimator._outcome(LOGITS, np.random.default_rng(seed), None, None, None, -1)
    exponentials = np.asarray(outcome.exponentials).T
    estimate = estimator.gradient(ORACLE, LOGITS, rng=np.random.default_rng(seed))
    given = (LOGITS, exponentials, outcome.index, temperature, eta, ORACLE, control_variate)
    step = 1e-5
    for place in np.ndindex(LOGITS.shape):
        up, down = LOGITS.copy(), LOGITS.copy()
        up[place] += step
        down[place] -= step
        difference = (surrogate(up, *given) - surrogate(down, *given)) / (2 * step)
        np.testing.assert_allclose(estimate[place], difference, atol=2e-7 * (1 + abs(difference)))


def test_relax_without_a_control_variate_is_rebar(xp):
    logits, oracle = xp.asarray(LOGITS), quadratic(xp, TARGET, WEIGHTS)
    one, other = (
        to_numpy(estimator.gradient(oracle, logits, rng=0))
        for estimator in (rbgs.Rebar(0.7), rbgs.Relax(0.7))
    )
    np.testing.assert_array_equal(one, other)


def test_relax_asks_for_no_derivative_of_the_loss(xp):
    def values(value):
        return xp.sum(value**2, axis=-1)

    estimator = rbgs.Relax(control_variate=exp_oracle)
    assert tuple(estimator.gradient(values, xp.asarray(LOGITS), rng=0).shape) == LOGITS.shape
    for needy in (rbgs.Rebar(), rbgs.Relax(), rbgs.MuProp()):
        with pytest.raises(TypeError, match=rf"{type(needy).__name__} needs the derivative"):
            needy.gradient(values, xp.asarray(LOGITS), rng=0)
    with pytest.raises(TypeError, match=r"Relax needs .* the control variate does not"):
        rbgs.Relax(control_variate=values).gradient(values, xp.asarray(LOGITS), rng=0)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.5, "array"])
def test_the_gradient_for_eta_is_that_of_the_squared_norm(xp, eta):
    logits = xp.asarray(np.tile(LOGITS, (5, 1, 1)))
    each = np.linspace(0.0, 2.0, 5) if eta == "array" else np.full(5, eta)
    there = quadratic(xp, TARGET, WEIGHTS)

    def oracle(value):
        loss, gradient = there(value)
        return xp.sum(loss, axis=-1), gradient

    def squared_norm(eta):
        estimate = rbgs.Rebar(0.7, xp.asarray(eta)).gradient(oracle, logits, rng=rbgs.Key(1))
        return np.sum(to_numpy(estimate) ** 2, axis=(-2, -1))

    estimator = rbgs.Rebar(0.7, xp.asarray(each) if eta == "array" else eta)
    estimate, slope = estimator.gradient_with_eta(oracle, logits, rng=rbgs.Key(1))
    plain = estimator.gradient(oracle, logits, rng=rbgs.Key(1))
    np.testing.assert_array_equal(to_numpy(estimate), to_numpy(plain))
    difference = (squared_norm(each + 1e-4) - squared_norm(each - 1e-4)) / 2e-4
    np.testing.assert_allclose(to_numpy(slope), difference, rtol=1e-7, atol=1e-7)


def test_a_running_coefficient_finds_the_least_variance(xp):
    logits = xp.asarray(np.tile(LOGITS[:1], (2000, 1)))
    oracle = quadratic(xp, TARGET, WEIGHTS)
    eta = rbgs.RunningCoefficient()
    for seed in range(5):
        rbgs.Rebar(0.5, eta).gradient(oracle, logits, rng=seed)
    variances = [
        to_numpy(rbgs.Rebar(0.5, x).gradient(oracle, logits, rng=9)).var(axis=0).sum()
        for x in (eta.value - 0.3, eta.value, eta.value + 0.3)
    ]
    assert variances[1] == min(variances)


def test_a_running_coefficient_leaves_the_mean_alone():
    eta = rbgs.RunningCoefficient(decay=0.9)
    logits = np.tile(LOGITS[0], (1000, 1))
    oracle = quadratic(np, TARGET, WEIGHTS)
    estimates = [rbgs.Rebar(eta=eta).gradient(oracle, logits, rng=seed) for seed in range(50)]
    standard_error_test(np.concatenate(estimates), rbgs.exact_gradient(oracle, LOGITS[0]))


def test_rebar_lowers_the_variance_of_reinforce_and_costs_no_third_evaluation():
    counted = []

    def oracle(value):
        counted.append(value.shape)
        return ORACLE(value)

    estimators = [rbgs.Rebar(0.5, rbgs.RunningCoefficient()), rbgs.Reinforce()]
    rebar, reinforce = (
        estimator.gradient(oracle, np.tile(LOGITS, (20_000, 1, 1)), rng=0).var(axis=0).sum()
        for estimator in estimators
    )
    assert rebar < 0.8 * reinforce
    assert len(counted) == 3  # two of REBAR, one of REINFORCE
