"""One-hot distributions of PyTorch: exact where the base class is, with an estimator's gradient."""

import copy
import io
import pickle
import warnings

import numpy as np
import pytest
from cases import PATHWISE, name

import rbgs

torch = pytest.importorskip("torch")
door = pytest.importorskip("rbgs.torch")

kl_divergence = torch.distributions.kl_divergence
OfTorch = torch.distributions.OneHotCategorical
OneHotCategorical = door.distributions.OneHotCategorical
RANDOM = np.random.default_rng(0)
LOGITS = torch.asarray(RANDOM.normal(size=(6, 4)))
MASK = torch.asarray(RANDOM.random(size=(6, 4)) < 0.6) | (torch.arange(4) == 1)
COST = torch.asarray(RANDOM.normal(size=4))
ESTIMATOR = rbgs.GumbelRao(0.5, samples=7)
DISCRETE = [x for x in PATHWISE if not isinstance(x, rbgs.GumbelSoftmax)]


@pytest.fixture(autouse=True)
def validation(monkeypatch):
    """Have PyTorch check arguments, which its compiler turns off for the whole process."""
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", True)


def close(a, b, atol=1e-12):
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


def gradient(function, logits=LOGITS):
    leaf = logits.clone().requires_grad_()
    return torch.autograd.grad(function(leaf), leaf)[0]


@pytest.mark.parametrize("estimator", DISCRETE, ids=name)
@pytest.mark.parametrize("mask", [None, MASK])
def test_value_and_gradient_are_those_of_sample(estimator, mask):
    leaf = LOGITS.clone().requires_grad_()
    value = OneHotCategorical(leaf, estimator, mask=mask).rsample(generator=3)
    expected = door.sample(estimator, leaf, mask=mask, generator=3)
    assert (value == expected).all()
    assert set(value.unique().tolist()) == {0.0, 1.0}  # exactly
    got, wanted = (torch.autograd.grad((x @ COST).sum(), leaf)[0] for x in (value, expected))
    close(got, wanted)


def test_an_estimator_on_the_mixture_has_the_chain_rule():
    law = OneHotCategorical(leaf := LOGITS.clone().requires_grad_(), ESTIMATOR, unimix=0.2)
    mixed = (0.8 * leaf.softmax(-1) + 0.2 / 4).log()
    expected = door.sample(ESTIMATOR, mixed, generator=3)
    got, wanted = (
        torch.autograd.grad((x @ COST).sum(), leaf, retain_graph=True)[0]
        for x in (law.rsample(generator=3), expected)
    )
    close(got, wanted)


@pytest.mark.parametrize("sample_shape", [(), (2,), (3, 1), (0,)])
def test_shapes(sample_shape):
    law = OneHotCategorical(LOGITS, rbgs.GumbelRao(torch.full((6,), 0.5)))
    assert law.has_rsample
    assert (law.batch_shape, law.event_shape) == ((6,), (4,))
    for shape in (sample_shape, torch.Size(sample_shape), list(sample_shape)):
        value = law.rsample(shape)
        assert value.shape == (*sample_shape, 6, 4)
        assert law.log_prob(value).shape == (*sample_shape, 6)
    assert OneHotCategorical(LOGITS[0], ESTIMATOR).rsample(sample_shape).shape == (*sample_shape, 4)


def test_sample_has_no_gradient():
    law = OneHotCategorical(LOGITS.clone().requires_grad_(), ESTIMATOR)
    value = law.sample((5,), generator=1)
    assert not value.requires_grad
    assert (value == law.rsample((5,), generator=1)).all()
    with pytest.raises(TypeError, match=r"rsample has no rng=: it is generator= here"):
        law.rsample(rng=1)


def test_frequencies_are_the_probabilities():
    law = OneHotCategorical(LOGITS, ESTIMATOR, mask=MASK, unimix=0.3)
    draws = 40_000
    found = law.sample((draws,), generator=torch.Generator().manual_seed(0)).mean(dim=0)
    error = (law.variance / draws).sqrt()
    assert ((found - law.mean).abs() <= 4.5 * error).all()
    assert (found[~MASK] == 0).all()
    wrong = OneHotCategorical(LOGITS, ESTIMATOR, mask=MASK).mean  # the test can tell them apart
    assert ((found - wrong).abs() > 10 * error).any()


def test_all_but_the_sample_is_that_of_the_base_class():
    law, base = OneHotCategorical(LOGITS, ESTIMATOR), OfTorch(logits=LOGITS)
    for attribute in ("logits", "probs", "mean", "mode", "variance", "stddev"):
        close(getattr(law, attribute), getattr(base, attribute))
    close(law.deterministic_sample, base.mode)
    support = law.enumerate_support()
    close(support, base.enumerate_support())
    close(law.enumerate_support(expand=False), base.enumerate_support(expand=False))
    close(law.log_prob(support), base.log_prob(support))
    close(law.log_prob(support).exp().sum(dim=0), torch.ones(6, dtype=torch.float64))
    close(law.entropy(), base.entropy())
    ours, its = lambda x: OneHotCategorical(x, ESTIMATOR), lambda x: OfTorch(logits=x)
    close(*(gradient(lambda x, f=f: f(x).entropy().sum()) for f in (ours, its)))


def test_log_prob_carries_the_derivative_for_the_value_on():
    law, value = OneHotCategorical(LOGITS, ESTIMATOR), torch.eye(4, dtype=torch.float64)[[0] * 6]
    found = gradient(lambda value: law.log_prob(value).sum(), value)
    close(found, law.logits)


KINDS = {
    "ours": lambda logits: OneHotCategorical(logits, rbgs.StraightThrough(1.0)),
    "torch": lambda logits: OfTorch(logits=logits),
    "probabilities": lambda logits: OfTorch(probs=logits.softmax(-1)),
    "straight-through": lambda logits: torch.distributions.OneHotCategoricalStraightThrough(
        logits=logits
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_divergence(kind):
    logits = LOGITS.flip(0)
    law, other = OneHotCategorical(LOGITS, ESTIMATOR), KINDS[kind](logits)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an ambiguous rule warns
        close(
            kl_divergence(law, other), kl_divergence(OfTorch(logits=LOGITS), KINDS["torch"](logits))
        )
        close(
            kl_divergence(other, law), kl_divergence(KINDS["torch"](logits), OfTorch(logits=LOGITS))
        )
    Independent = torch.distributions.Independent  # noqa: N806
    close(
        kl_divergence(Independent(law, 1), Independent(other, 1)), kl_divergence(law, other).sum()
    )


def test_divergence_of_what_is_no_one_hot_vector_is_unknown():
    law = OneHotCategorical(LOGITS, ESTIMATOR)
    with pytest.raises(NotImplementedError):
        kl_divergence(law, torch.distributions.Categorical(logits=LOGITS))


@pytest.mark.parametrize("unimix", [0.0, 0.01])
@pytest.mark.parametrize(
    ("logits", "mask"), [(LOGITS.float(), MASK), (LOGITS.float().where(MASK, -torch.inf), None)]
)
def test_forbidden_categories_leave_everything_finite(logits, mask, unimix):
    def law(logits):
        return OneHotCategorical(logits, ESTIMATOR, mask=mask, unimix=unimix)

    prior = OneHotCategorical(torch.zeros(6, 4), ESTIMATOR, mask=MASK)
    value = law(logits).sample()
    for function in (
        lambda x: 1e6 * law(x).entropy().sum(),  # scaled up, that of the base class is NaN
        lambda x: 1e6 * kl_divergence(law(x), prior).sum(),
        lambda x: 1e6 * kl_divergence(prior, law(x)).sum(),
        lambda x: 1e6 * kl_divergence(law(x), OfTorch(logits=prior.logits)).sum(),
        lambda x: law(x).log_prob(value).sum(),
        lambda x: law(x).log_prob(law(x).rsample()).sum(),
    ):
        assert function(logits).isfinite()
        found = gradient(function, logits)
        assert found.isfinite().all()
        assert (found[~MASK] == 0).all()
    support = law(logits).enumerate_support()
    assert (law(logits).log_prob(support).T.isinf() == ~MASK).all()


def test_derivatives_of_the_mixture():
    def functions(logits):
        law = OneHotCategorical(logits, ESTIMATOR, mask=MASK, unimix=0.1)
        prior = OneHotCategorical(torch.zeros(4, dtype=torch.float64), ESTIMATOR)
        return law.probs, law.entropy(), kl_divergence(law, prior)

    assert torch.autograd.gradcheck(functions, LOGITS.clone().requires_grad_())


def test_expand():
    temperature = torch.full((6,), 0.5, dtype=torch.float64)
    law = OneHotCategorical(LOGITS, rbgs.GumbelRao(temperature, 7), mask=MASK, unimix=0.1)
    wide = law.expand((3, 6))
    assert type(wide) is OneHotCategorical
    assert wide.estimator is law.estimator
    assert wide.batch_shape == (3, 6)
    assert (wide.rsample((2,), generator=0) == law.rsample((2, 3), generator=0)).all()
    close(wide.entropy(), law.entropy().expand(3, 6))
    expected = law.log_prob(law.enumerate_support())[:, None].expand(4, 3, 6)
    close(wide.log_prob(wide.enumerate_support()), expected)
    close(kl_divergence(wide, law), torch.zeros(3, 6, dtype=torch.float64))
    for flag in (True, False):
        checked = OneHotCategorical(LOGITS, ESTIMATOR, validate_args=flag)
        assert checked.expand((2, 6))._validate_args is flag
    independent = torch.distributions.Independent(law, 1)
    assert independent.has_rsample
    assert independent.expand((2,)).rsample().shape == (2, 6, 4)

    class Further(OneHotCategorical):
        pass

    assert type(Further(LOGITS, ESTIMATOR).expand((2, 6))) is Further


def test_validation():
    for row in ([0.0, torch.nan], [torch.inf, 0.0], [-torch.inf, -torch.inf]):
        logits = torch.asarray([[0.0, 0.0], row])
        with pytest.raises(ValueError, match=r"have a row with NaN or .*validate_args=False"):
            OneHotCategorical(logits, ESTIMATOR)
        law = OneHotCategorical(logits, ESTIMATOR, validate_args=False)
        for x in (law.rsample().sum(dim=-1), law.entropy(), law.logits.sum(dim=-1)):
            assert x.isnan().tolist() == [False, True]
    with pytest.raises(ValueError, match="or one without an allowed category"):
        OneHotCategorical(LOGITS, ESTIMATOR, mask=torch.zeros(4, dtype=torch.bool))
    law = OneHotCategorical(LOGITS, ESTIMATOR)
    with pytest.raises(ValueError, match="within the support"):
        law.log_prob(torch.ones(4))
    assert OneHotCategorical(LOGITS, ESTIMATOR, validate_args=False).log_prob(torch.ones(4)).shape
    OneHotCategorical.set_default_validate_args(False)
    try:
        assert OneHotCategorical(torch.asarray([torch.nan]), ESTIMATOR).logits.isnan()
    finally:
        OneHotCategorical.set_default_validate_args(__debug__)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (
            rbgs.Reinforce(),
            r"no gradient: call rbgs\.torch\.expectation\(estimator, loss, logits\)",
        ),
        (rbgs.Systematic(ESTIMATOR, 2), r"has an axis of draws.*expectation\(estimator, loss, log"),
        (rbgs.GumbelSoftmax(1.0), r"relaxed.*take torch\.distributions\.RelaxedOneHotCategorical"),
        (rbgs.GumbelRao(1.0, structure=rbgs.Subset(2)), "GumbelRao is a Subset, and not one-hot"),
        (rbgs.GumbelRao, "estimator is the class GumbelRao; an instance such as"),
        (0.5, "estimator is a float; one such as"),
    ],
)
def test_estimators_that_make_no_sense(estimator, message):
    with pytest.raises(TypeError, match=message):
        OneHotCategorical(LOGITS, estimator)


def test_logits_that_make_no_sense():
    with pytest.raises(TypeError, match=r"a list.*torch\.tensor\(logits\)"):
        OneHotCategorical([0.0, 1.0], ESTIMATOR)
    with pytest.raises(TypeError, match="a real floating dtype is wanted"):
        OneHotCategorical(torch.arange(3), ESTIMATOR)
    with pytest.raises(ValueError, match="0-dimensional"):
        OneHotCategorical(torch.tensor(0.0), ESTIMATOR)
    with pytest.raises(ValueError, match=r"unimix must lie in \[0, 1\]"):
        OneHotCategorical(LOGITS, ESTIMATOR, unimix=2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtypes(dtype):
    logits = LOGITS.to(dtype).requires_grad_()
    law = OneHotCategorical(logits, ESTIMATOR, mask=MASK, unimix=0.01)
    value = law.rsample((2,))
    (law.log_prob(value) + law.entropy()).sum().backward()
    assert {x.dtype for x in (value, law.log_prob(value), law.probs, law.mode)} == {dtype}
    assert logits.grad.isfinite().all()


def test_half_precision_of_more_categories_than_its_largest_number():
    logits = torch.zeros(2, 70_000, dtype=torch.float16)  # the sum of their exponentials overflows
    law = OneHotCategorical(logits, ESTIMATOR, unimix=0.01)
    expected = torch.full((2,), 70_000.0).log().half()
    for found in (-law.logits[:, 0], law.entropy(), law.expand((3, 2)).entropy()[0]):
        torch.testing.assert_close(found, expected, atol=0.02, rtol=0)
    assert law.sample().sum(dim=-1).tolist() == [1, 1]


@pytest.mark.parametrize("validate_args", [True, False])
def test_an_empty_batch(validate_args):
    law = OneHotCategorical(torch.zeros(0, 3), ESTIMATOR, validate_args=validate_args)
    value = law.rsample((2,))
    assert value.shape == (2, 0, 3)
    assert law.log_prob(value).shape == (2, 0)
    assert law.entropy().shape == kl_divergence(law, law).shape == (0,)


def test_values_and_priors_of_other_categories():
    law, message = OneHotCategorical(LOGITS, ESTIMATOR, validate_args=False), "of the 4 categories"
    for value in (torch.ones(6, 1), torch.ones(6, 3), torch.tensor(1.0)):
        with pytest.raises(ValueError, match=message):
            law.log_prob(value)
    for prior in (OneHotCategorical(torch.zeros(1), ESTIMATOR), OfTorch(logits=torch.zeros(6, 1))):
        with pytest.raises(ValueError, match=message):
            kl_divergence(law, prior)


def test_pickle_and_copies():
    law = OneHotCategorical(LOGITS, ESTIMATOR, mask=MASK, unimix=0.1)
    buffer = io.BytesIO()
    torch.save(law, buffer)
    buffer.seek(0)
    for other in (
        pickle.loads(pickle.dumps(law)),
        copy.copy(law),
        copy.deepcopy(law),
        torch.load(buffer, weights_only=False),
    ):
        assert other.estimator == law.estimator
        assert (other.sample(generator=0) == law.sample(generator=0)).all()


class Policy(torch.nn.Module):
    """A module that makes its distribution anew for every batch."""

    def __init__(self, **options):
        super().__init__()
        self.head = torch.nn.Linear(3, 4)
        self.options = options

    def forward(self, x):
        law = OneHotCategorical(self.head(x), **self.options)
        value = law.rsample()
        return value, law.log_prob(value), law.entropy()


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("compiler", ["eager", pytest.param("aot_eager", marks=pytest.mark.slow)])
def test_compile(compiler):
    torch.compiler.reset()
    torch.manual_seed(0)
    policy = Policy(estimator=rbgs.StraightThrough(1.0), unimix=0.01)
    compiled = torch.compile(policy, fullgraph=True, backend=compiler, dynamic=True)
    for batch in (5, 7, 3):
        x, found = torch.randn(batch, 3), []
        for module in (policy, compiled):
            torch.manual_seed(1)
            value, log_prob, entropy = module(x)
            policy.zero_grad()
            (value @ COST.float() + log_prob + entropy).sum().backward()
            found.append((value, log_prob, entropy, policy.head.weight.grad.clone()))
        for a, b in zip(*found, strict=True):
            close(a, b, atol=1e-5)


def test_parameters_from_a_dictionary():
    """As code for reinforcement learning makes its distributions."""
    distribution_class, options = OneHotCategorical, {"estimator": ESTIMATOR, "unimix": 0.01}
    parameters = {"logits": LOGITS.clone().requires_grad_(), "mask": MASK}
    law = distribution_class(**parameters, **options)
    action = law.rsample() if law.has_rsample else law.sample()
    assert law.log_prob(action.long()).shape == law.entropy().shape == (6,)
    assert (law.deterministic_sample == law.mode).all()
    assert law.mode.sum(dim=-1).tolist() == [1.0] * 6


def test_data_loader_and_training():
    """The best category is learned from batches, through the sample alone."""
    torch.manual_seed(0)
    x = torch.eye(3).repeat(40, 1)
    policy = Policy(estimator=ESTIMATOR, unimix=0.01)
    cost = torch.tensor([[0.0, 1, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]])
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.1)
    for _ in range(10):
        for batch in torch.utils.data.DataLoader(x, batch_size=20, shuffle=True):
            loss = (policy(batch)[0] * (batch @ cost)).sum(dim=-1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    law = OneHotCategorical(policy.head(torch.eye(3)), ESTIMATOR)
    assert law.mode.argmax(dim=-1).tolist() == [0, 2, 3]


def test_transformations():
    def sample(logits, noise_seed=0):
        law = OneHotCategorical(logits, ESTIMATOR, validate_args=False)
        return (law.rsample(generator=rbgs.Key(noise_seed)) @ COST).sum()

    close(torch.func.grad(sample)(LOGITS), gradient(sample))
    mapped = torch.func.vmap(torch.func.grad(sample), randomness="same")(LOGITS)
    assert mapped.shape == LOGITS.shape
