"""Pyro: stochastic variational inference, plates, enumeration, and known optima."""

import importlib
import math

import pytest

import rbgs

pyro = pytest.importorskip("pyro")
torch = importlib.import_module("torch")
infer = importlib.import_module("pyro.infer")
OneHotCategorical = importlib.import_module("rbgs.pyro").OneHotCategorical

ESTIMATOR = rbgs.GumbelRao(0)  # unbiased: these bounds are linear in the sample
LIKELIHOOD = torch.tensor([0.5, 0.2, 0.1])
POSTERIOR = LIKELIHOOD / LIKELIHOOD.sum()
EVIDENCE = math.log(LIKELIHOOD.mean())


@pytest.fixture(autouse=True)
def nothing_learned():
    pyro.clear_param_store()
    pyro.set_rng_seed(0)


def model(n, prior=None):
    with pyro.plate("data", n):
        code = pyro.sample("code", prior or OneHotCategorical(torch.zeros(3), ESTIMATOR))
        pyro.factor("evidence", code @ LIKELIHOOD.log())


def guide(n, **_):
    logits = pyro.param("logits", lambda: torch.zeros(3))
    with pyro.plate("data", n):
        pyro.sample("code", OneHotCategorical(logits, ESTIMATOR))


@pytest.mark.parametrize("bound", ["Trace_ELBO", "TraceMeanField_ELBO", "TraceGraph_ELBO"])
def test_the_guide_becomes_the_posterior(bound):
    loss = getattr(infer, bound)()
    svi = infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.1, "betas": (0.9, 0.9)}), loss)
    for step in range(60):
        svi.step(100 if step < 40 else 1000)
    found = pyro.param("logits").softmax(-1)
    torch.testing.assert_close(found, POSTERIOR, atol=0.02, rtol=0)
    with torch.no_grad():
        assert svi.evaluate_loss(1000) / 1000 == pytest.approx(-EVIDENCE, abs=0.02)


def test_the_gradient_of_the_bound_is_unbiased():
    """That of evidence, prior and entropy: the latter two count by the value's derivative alone."""
    prior, start, n = torch.tensor([0.6, 0.3, 0.1]), torch.tensor([0.8, -0.7, 0.4]), 20_000
    logits = start.clone().requires_grad_()
    q = logits.softmax(-1)
    (q @ (q.log() - prior.log() - LIKELIHOOD.log())).backward()
    pyro.param("logits", start)
    law = OneHotCategorical(prior.log(), ESTIMATOR)
    infer.Trace_ELBO().differentiable_loss(model, guide, n, prior=law).backward()
    found = pyro.param("logits").grad / n
    # An estimate for one point is below 1 in size, so its standard error is below 1 / sqrt(n).
    torch.testing.assert_close(found, logits.grad, atol=4 / math.sqrt(n), rtol=0)


@pytest.mark.parametrize("how", ["parallel", "sequential"])
@pytest.mark.parametrize("masked", [False, True])
def test_enumeration_in_the_guide_is_exact(how, masked):
    def enumerated(n):
        logits = pyro.param("logits", lambda: torch.tensor([0.3, -0.2, 0.1]))
        law = OneHotCategorical(logits, ESTIMATOR)
        with pyro.plate("data", n):
            law = law.mask(torch.ones(n, dtype=torch.bool)) if masked else law
            pyro.sample("code", law, infer={"enumerate": how})

    bound = infer.TraceEnum_ELBO(max_plate_nesting=1)
    loss = bound.differentiable_loss(model, enumerated, 2)
    (found,) = torch.autograd.grad(loss, pyro.param("logits"))
    logits = pyro.param("logits").detach().requires_grad_()
    q = logits.softmax(-1)
    expected = 2 * q @ (q.log() - math.log(1 / 3) - LIKELIHOOD.log())
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(found, *torch.autograd.grad(expected, logits))
    with torch.no_grad():
        assert bound.loss(model, enumerated, 2) == pytest.approx(expected.item(), rel=1e-5)


def test_enumeration_in_the_model_is_the_evidence():
    bound = infer.TraceEnum_ELBO(max_plate_nesting=1)
    loss = bound.loss(infer.config_enumerate(model), lambda _: None, 3)
    assert loss == pytest.approx(-3 * EVIDENCE, rel=1e-5)


def test_shapes_of_a_pyro_distribution():
    logits = torch.zeros(4, 1, 3, requires_grad=True)
    law = OneHotCategorical(logits, ESTIMATOR, unimix=0.1)
    for other, batch, event in (
        (law.expand([4, 5]), (4, 5), (3,)),
        (law.expand_by([2]), (2, 4, 1), (3,)),
        (law.to_event(1), (4,), (1, 3)),
        (law.mask(torch.tensor([True, False, True, True])[:, None]), (4, 1), (3,)),
        (law.expand([4, 5]).to_event(2).mask(torch.tensor(False)), (), (4, 5, 3)),
    ):
        assert (other.batch_shape, other.event_shape) == (batch, event)
        value = other()
        assert value.shape == other.shape()
        assert value.requires_grad
        assert other.log_prob(value).shape == batch
    assert law.mask(torch.tensor(False)).log_prob(law()).eq(0).all()
    assert law.expand([4, 5]).estimator is ESTIMATOR


def test_divergence_with_distributions_of_pyro():
    logits = torch.tensor([[0.2, -0.1, 1.0]])
    law, prior = OneHotCategorical(logits, ESTIMATOR), torch.tensor([0.2, 0.3, 0.5])
    expected = (law.probs * (law.logits - prior.log())).sum(-1)
    for other in (
        OneHotCategorical(prior.log(), ESTIMATOR),
        pyro.distributions.OneHotCategorical(prior),
        rbgs.torch.distributions.OneHotCategorical(prior.log(), ESTIMATOR),
    ):
        torch.testing.assert_close(torch.distributions.kl_divergence(law, other), expected)
        both = law.to_event(1), other.expand((1,))
        found = torch.distributions.kl_divergence(
            both[0], torch.distributions.Independent(both[1], 1)
        )
        torch.testing.assert_close(found, expected.sum())


def test_scale_and_subsampling():
    def scaled(law):
        with pyro.plate("data", 10, subsample_size=2), pyro.poutine.scale(scale=3.0):
            pyro.sample("code", law)

    law = OneHotCategorical(torch.zeros(3), ESTIMATOR)
    trace = pyro.poutine.trace(scaled).get_trace(law)
    assert trace.log_prob_sum().item() == pytest.approx(10 * 3.0 * math.log(1 / 3), rel=1e-5)


def test_a_plain_distribution_of_torch_is_not_enough():
    law = rbgs.torch.distributions.OneHotCategorical(torch.zeros(3), ESTIMATOR)
    with pytest.raises(TypeError, match="not callable"):
        pyro.sample("code", law)
