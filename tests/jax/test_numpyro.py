"""NumPyro: stochastic variational inference to known optima, transformations, a pytree."""

import importlib
import math
import pickle
from functools import partial

import numpy as np
import pytest
from backends import Backend

import rbgs

numpyro = pytest.importorskip("numpyro")
jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")
infer = importlib.import_module("numpyro.infer")
dist = importlib.import_module("numpyro.distributions")
door = importlib.import_module("rbgs.jax")
OneHotCategorical = importlib.import_module("rbgs.numpyro").OneHotCategorical
Backend.JAX.load()  # sets double precision

RANDOM = np.random.default_rng(0)
LOGITS = jax.numpy.asarray(RANDOM.normal(size=(6, 4)))
MASK = jax.numpy.asarray((RANDOM.random(size=(6, 4)) < 0.6) | (np.arange(4) == 1))
COST = jax.numpy.asarray(RANDOM.normal(size=4))
ESTIMATOR = rbgs.StraightThroughGumbelSoftmax(0.5)
UNBIASED = rbgs.GumbelRao(0)  # for bounds that are linear in the sample
KEY = jax.random.key(0)


def close(a, b, atol=1e-9):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=atol, rtol=0)


def test_value_and_gradient_are_those_of_sample():
    def loss(logits, law):
        value = law(logits)
        return (value @ COST).sum(), value

    laws = (
        lambda x: OneHotCategorical(x, ESTIMATOR, mask=MASK).sample(KEY),
        lambda x: door.sample(ESTIMATOR, KEY, x, mask=MASK),
    )
    found, expected = (jax.jit(jax.grad(partial(loss, law=x), has_aux=True))(LOGITS) for x in laws)
    assert (found[1] == expected[1]).all()
    assert set(np.unique(found[1])) == {0.0, 1.0}  # exactly
    close(found[0], expected[0])


def test_an_estimator_on_the_mixture_has_the_chain_rule():
    def mixed(x):
        logits = jax.numpy.log(0.8 * jax.nn.softmax(x) + 0.2 / 4)
        return (door.sample(ESTIMATOR, KEY, logits) @ COST).sum()

    def law(x):
        return (OneHotCategorical(x, ESTIMATOR, unimix=0.2).sample(KEY) @ COST).sum()

    close(*(jax.jit(jax.grad(f))(LOGITS) for f in (law, mixed)))


def test_what_is_known_in_closed_form():
    law = OneHotCategorical(LOGITS, ESTIMATOR)
    p = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=-1, keepdims=True)
    close(law.probs, p)
    close(law.mean, p)
    close(law.variance, p * (1 - p))
    close(law.entropy(), -(p * np.log(p)).sum(axis=-1))
    close(law.mode, np.eye(4)[p.argmax(axis=-1)])
    one_hot = np.eye(4)[:, None, :]
    close(law.log_prob(one_hot), np.log(p.T))
    close(law.log_prob(one_hot.astype(int)), np.log(p.T))
    q = OneHotCategorical(LOGITS[::-1], UNBIASED)
    expected = (p * np.log(p / p[::-1])).sum(axis=-1)
    close(dist.kl_divergence(law, q), expected)
    close(dist.kl_divergence(law.expand((2, 6)), q.expand((2, 6))), [expected] * 2)
    close(dist.kl_divergence(law.to_event(1), q.to_event(1)), expected.sum())
    assert law.has_rsample


def test_shapes():
    law = OneHotCategorical(LOGITS[:, None], ESTIMATOR, mask=MASK[:, None])
    for other, batch, event in (
        (law, (6, 1), (4,)),
        (law.expand((6, 3)), (6, 3), (4,)),
        (law.expand_by((2,)), (2, 6, 1), (4,)),
        (law.to_event(1), (6,), (1, 4)),
        (law.mask(MASK[:, :1]), (6, 1), (4,)),
    ):
        assert (other.batch_shape, other.event_shape) == (batch, event)
        value = jax.eval_shape(partial(other.rsample, sample_shape=(5,)), KEY)
        assert value.shape == (5, *other.shape())
        assert jax.eval_shape(other.log_prob, value).shape == (5, *batch)


def test_frequencies_are_the_probabilities():
    law = OneHotCategorical(LOGITS, ESTIMATOR, mask=MASK, unimix=0.3)
    draws = 40_000
    found = jax.jit(lambda key: law.sample(key, (draws,)).mean(axis=0))(jax.random.PRNGKey(0))
    error = np.sqrt(law.variance / draws)
    assert (abs(found - law.mean) <= 4.5 * error).all()
    assert (found[~MASK] == 0).all()


@pytest.mark.parametrize("unimix", [0.0, 0.01])
def test_forbidden_categories_leave_everything_finite(unimix):
    prior = OneHotCategorical(jax.numpy.zeros((6, 4)), ESTIMATOR, mask=MASK)

    @jax.jit
    @jax.jacrev
    def derivatives(logits):
        law = OneHotCategorical(logits, ESTIMATOR, mask=MASK, unimix=unimix)
        value = law.sample(KEY)
        divergences = dist.kl_divergence(law, prior), dist.kl_divergence(prior, law)
        return 1e6 * sum((*divergences, law.entropy(), law.log_prob(value))).sum()

    for logits in (LOGITS, jax.numpy.where(MASK, LOGITS, -jax.numpy.inf)):
        found = derivatives(logits)
        assert np.isfinite(found).all()
        assert (found[~MASK] == 0).all()
    law = OneHotCategorical(LOGITS, ESTIMATOR, mask=MASK)
    assert (np.isinf(law.log_prob(np.eye(4)[:, None, :])).T == ~MASK).all()


def test_validation():
    for row in ([0.0, np.nan], [np.inf, 0.0], [-np.inf, -np.inf]):
        logits = np.asarray([[0.0, 0.0], row])
        with pytest.raises(ValueError, match=r"have a row with NaN or .*validate_args=False"):
            OneHotCategorical(logits, ESTIMATOR, validate_args=True)
        law = OneHotCategorical(logits, ESTIMATOR, validate_args=False)
        for x in (law.sample(KEY).sum(axis=-1), law.entropy()):
            assert np.isnan(x).tolist() == [False, True]
    law = OneHotCategorical(LOGITS, ESTIMATOR, validate_args=True)
    with pytest.warns(UserWarning, match="Out-of-support"):
        assert np.isinf(law.log_prob(np.ones(4))).all()
    with pytest.raises(RuntimeError, match="the logits are traced"):
        jax.jit(lambda x: OneHotCategorical(x, ESTIMATOR).validate_args())(LOGITS)


def test_values_and_priors_of_other_categories():
    law, one = OneHotCategorical(LOGITS, ESTIMATOR), OneHotCategorical(np.zeros(1), ESTIMATOR)
    with pytest.raises(ValueError, match="of the 4 categories"):
        law.log_prob(np.ones((6, 1)))
    with pytest.raises(ValueError, match="of the 4 categories"):
        dist.kl_divergence(law, one)


def test_the_support_is_one_hot_vectors():
    support = OneHotCategorical(LOGITS, ESTIMATOR).support
    found = support(np.asarray([[0, 1, 0], [0.5, 0.5, 0], [1, 1, 0], [0, 0, 0], [np.nan, 1, 0]]))
    assert found.tolist() == [True, False, False, False, False]
    assert support(support.feasible_like(LOGITS)).all()
    assert support == OneHotCategorical(LOGITS[0], UNBIASED).support


def test_mixtures():
    laws = OneHotCategorical(jax.numpy.zeros((2, 5, 3)), ESTIMATOR)
    mixture = dist.MixtureSameFamily(dist.Categorical(logits=np.zeros((2, 5))), laws)
    assert mixture.sample(KEY, (4,)).shape == (4, 2, 3)
    close(mixture.log_prob(np.eye(3)[0]), np.full(2, -np.log(3)), atol=1e-6)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (rbgs.Reinforce(), r"call rbgs\.jax\.expectation\(estimator, key, loss, logits\)"),
        (rbgs.Systematic(ESTIMATOR, 2), "has an axis of draws"),
        (rbgs.GumbelSoftmax(1.0), r"relaxed.*take rbgs\.jax\.sample\(estimator, key, logits\)"),
        (rbgs.GumbelRao(1.0, structure=rbgs.Subset(2)), "GumbelRao is a Subset, and not one-hot"),
        (0.5, "estimator is a float; one such as"),
    ],
)
def test_estimators_that_make_no_sense(estimator, message):
    with pytest.raises(TypeError, match=message):
        OneHotCategorical(LOGITS, estimator)


@pytest.mark.parametrize("temperature", [0.5, jax.numpy.full(6, 0.5)])
def test_a_pytree(temperature):
    law = OneHotCategorical(LOGITS, rbgs.StraightThroughGumbelSoftmax(temperature), unimix=0.1)
    leaves, structure = jax.tree.flatten(law)
    assert len(leaves) == 1 + (not isinstance(temperature, float))
    hash(structure)
    copied = pickle.loads(pickle.dumps(law))
    passed = jax.jit(lambda law: law)(law)
    for other in (jax.tree.unflatten(structure, leaves), passed, copied):
        assert type(other) is OneHotCategorical
        assert other.estimator == law.estimator
        assert other.batch_shape == (6,)
        close(other.logits, law.logits)
    expanded = jax.jit(lambda law: (law.expand((3, 6)).sample(KEY), law.sample(KEY, (3,))))
    close(*expanded(law))


def test_transformations_and_a_traced_temperature():
    schedule, traces = optax.exponential_decay(1.0, 10, 0.5), []

    @jax.jit
    def gradient(logits, step, key):
        traces.append(step)

        def loss(logits, key):
            law = OneHotCategorical(logits, rbgs.StraightThroughGumbelSoftmax(schedule(step)))
            return law.sample(key) @ COST

        return jax.vmap(jax.grad(loss))(logits, jax.random.split(key, 6))

    for step in (0, 10):
        estimator = rbgs.StraightThroughGumbelSoftmax(float(schedule(step)))
        for row, key, found in zip(
            LOGITS[:2], jax.random.split(KEY, 6)[:2], gradient(LOGITS, step, KEY)[:2], strict=True
        ):
            noise = np.asarray(estimator.noise(row, key))
            expected = estimator.sample(np.asarray(row), noise=noise).vjp(np.asarray(COST))
            close(found, expected, atol=1e-6)  # the schedule is in float32
    assert len(traces) == 1


LIKELIHOOD = jax.numpy.asarray([0.5, 0.2, 0.1])
POSTERIOR = LIKELIHOOD / LIKELIHOOD.sum()
N = 100


def model(**_):
    with numpyro.plate("data", N):
        law = OneHotCategorical(jax.numpy.zeros((2, 3)), UNBIASED)
        codes = numpyro.sample("codes", law.to_event(1))
        numpyro.factor("evidence", (codes @ jax.numpy.log(LIKELIHOOD)).sum(axis=-1))


def guide(estimator=UNBIASED):
    logits = numpyro.param("logits", jax.numpy.zeros((2, 3)))
    with numpyro.plate("data", N):
        numpyro.sample("codes", OneHotCategorical(logits, estimator).to_event(1))


@pytest.mark.parametrize("bound", ["Trace_ELBO", "TraceMeanField_ELBO"])
def test_the_guide_becomes_the_posterior(bound):
    optimizer = numpyro.optim.Adam(lambda step: 0.1 * 0.99**step)
    svi = infer.SVI(model, guide, optimizer, getattr(infer, bound)(num_particles=2))

    @jax.jit
    def train(key):
        state, losses = jax.lax.scan(lambda state, _: svi.update(state), svi.init(key), length=400)
        return jax.nn.softmax(svi.get_params(state)["logits"]), losses[-50:].mean()

    found, loss = train(KEY)
    close(found, [POSTERIOR, POSTERIOR], atol=0.02)
    assert float(loss) == pytest.approx(-2 * N * math.log(LIKELIHOOD.mean()), rel=0.02)


def test_a_scheduled_temperature_in_inference():
    schedule = optax.exponential_decay(1.0, 10, 0.5)
    svi = infer.SVI(model, guide, numpyro.optim.Adam(0.1), infer.Trace_ELBO())

    def step(key, number):
        estimator = rbgs.GumbelRao(schedule(number))
        return svi.update(svi.init(key, estimator=estimator), estimator=estimator)[1]

    assert jax.eval_shape(step, KEY, 3).shape == ()
