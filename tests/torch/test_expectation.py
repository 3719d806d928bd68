"""What is particular to PyTorch's expectation: its modes, transformations, modules, compiler."""

import warnings

import numpy as np
import pytest
from cases import CASES, UNBIASED, name

import rbgs

torch = pytest.importorskip("torch")
door = pytest.importorskip("rbgs.torch")

# PyTorch's compiler makes an object of this class for itself, and throws its warning away.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")

RANDOM = np.random.default_rng(0)
LOGITS, TANGENT = torch.asarray(RANDOM.normal(size=(2, 5, 4)))
DECODER, OTHER = torch.asarray(RANDOM.normal(size=(2, 4, 2)))
KEY = rbgs.Key(0)
REINFORCE = rbgs.Reinforce("leave_one_out", samples=3)
REINMAX = rbgs.ReinMax()
TWO = rbgs.GumbelRao(0.5), rbgs.Systematic(rbgs.ReinMax(), 3)


def of_torch(estimator):
    if not isinstance(estimator, rbgs.Relax):
        return estimator
    return rbgs.Relax(0.6, control_variate=lambda value: value.exp().sum(dim=-1))


each_unbiased = pytest.mark.parametrize("estimator", [TWO[1], *map(of_torch, UNBIASED)], ids=name)


def loss_of(value, decoder=DECODER):
    hidden = (value @ decoder).tanh() + 0.3
    return hidden.sum(dim=-1) + hidden[..., 0] ** 2 * hidden[..., 1]


def expected(estimator, generator=KEY):
    """Return the expectation as a function of logits and decoder."""

    def function(logits, decoder=DECODER):
        return door.expectation(
            estimator, lambda value: loss_of(value, decoder), logits, generator=generator
        )

    return function


def gradients(function):
    """Return the value, and the gradients of its sum."""
    leaves = [x.clone().requires_grad_() for x in (LOGITS, DECODER)]
    value = function(*leaves)
    return value.detach(), *torch.autograd.grad(value.sum(), leaves)


def close(a, b, atol=1e-10):
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


@each_unbiased
def test_forward_mode(estimator):
    function = expected(estimator)
    value, of_logits, of_decoder = gradients(function)
    both = ((of_logits * TANGENT).sum() + (of_decoder * OTHER).sum(), (of_decoder * OTHER).sum())
    for count, wanted in zip((0, 1), both, strict=True):
        primals, tangents = (LOGITS, DECODER)[count:], (TANGENT, OTHER)[count:]
        whole = function if count == 0 else lambda decoder: function(LOGITS, decoder)
        got, tangent = torch.func.jvp(whole, primals, tangents)
        close(got, value)
        close(tangent.sum(), wanted)
    forward_ad = torch.autograd.forward_ad
    with forward_ad.dual_level():
        dual = function(forward_ad.make_dual(LOGITS, TANGENT), forward_ad.make_dual(DECODER, OTHER))
        close(forward_ad.unpack_dual(dual).tangent.sum(), both[0])


@each_unbiased
def test_transformations(estimator):
    function = expected(estimator)
    _, of_logits, of_decoder = gradients(function)
    found = torch.func.grad(lambda *x: function(*x).sum(), argnums=(0, 1))(LOGITS, DECODER)
    close(found, (of_logits, of_decoder))
    close(torch.func.jacrev(function)(LOGITS).sum(dim=0), of_logits)
    close(torch.func.jacfwd(function)(LOGITS).sum(dim=0), of_logits)
    leaf = LOGITS.clone().requires_grad_()
    (rows,) = torch.autograd.grad(
        function(leaf), leaf, torch.eye(5, dtype=LOGITS.dtype), is_grads_batched=True
    )
    close(rows.sum(dim=0), of_logits)


@each_unbiased
def test_vmap(estimator):
    """Rows that are mapped over are rows of a batch that draw noise of their own."""
    logits = LOGITS[:1].expand(2000, 4)

    def row(logits):
        return door.expectation(estimator, loss_of, logits)

    torch.manual_seed(0)
    mapped = torch.vmap(torch.func.grad(row), randomness="different")(logits)
    leaf = logits.clone().requires_grad_()
    door.expectation(estimator, loss_of, leaf).sum().backward()
    error = (mapped.var(dim=0) / 1000).sqrt() + 1e-12
    assert ((mapped.mean(dim=0) - leaf.grad.mean(dim=0)).abs() < 5 * error).all()
    leaf.grad = None
    torch.vmap(row, randomness="different")(leaf).sum().backward()
    assert ((mapped.mean(dim=0) - leaf.grad.mean(dim=0)).abs() < 5 * error).all()


@pytest.mark.parametrize("estimator", [*TWO, *map(of_torch, UNBIASED)], ids=name)
def test_compile_in_one_graph(estimator):
    function = expected(estimator)
    torch.compiler.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for got, wanted in zip(gradients(compiled), gradients(function), strict=True):
        close(got, wanted)


def test_what_is_learned_is_learned_in_one_graph_too():
    guess, eta = OTHER.clone().requires_grad_(), torch.tensor(0.7, dtype=torch.float64)

    def function(logits, guess, eta):
        estimator = rbgs.Relax(0.6, eta, lambda value: (value @ guess).tanh().sum(dim=-1))
        return expected(estimator)(logits)

    torch.compiler.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    leaves = [x.clone().requires_grad_() for x in (LOGITS, guess.detach(), eta)]
    for got, wanted in zip(
        *(torch.autograd.grad(f(*leaves).sum(), leaves) for f in (compiled, function)), strict=True
    ):
        assert wanted.abs().sum() > 0
        close(got, wanted)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # PyTorch's compiler hides it
def test_a_running_mean_runs_uncompiled():
    torch.compiler.reset()
    baselines = rbgs.RunningMean(), rbgs.RunningMean()
    compiled = torch.compile(expected(rbgs.Reinforce(baselines[0])), backend="aot_eager")
    for _ in range(2):
        for got, wanted in zip(
            gradients(compiled), gradients(expected(rbgs.Reinforce(baselines[1]))), strict=True
        ):
            close(got, wanted)
    assert baselines[0].value == pytest.approx(baselines[1].value)


@pytest.mark.parametrize("estimator", [of_torch(x) for x in CASES], ids=name)
def test_logits_that_are_not_contiguous_and_another_dim(estimator):
    if isinstance(estimator, rbgs.Relax):
        pytest.skip("its control variate sums along the last axis")
    there = LOGITS.T  # (4, 5), strided

    def loss(value):
        assert value.shape == there.shape
        return loss_of(value.T)

    leaf = there.clone(memory_format=torch.preserve_format).requires_grad_()
    value = door.expectation(estimator, loss, leaf, generator=KEY, dim=0)
    value.sum().backward()
    contiguous = there.contiguous().requires_grad_()
    other = door.expectation(estimator, loss, contiguous, generator=KEY, dim=0)
    other.sum().backward()
    close(value, other)
    close(leaf.grad, contiguous.grad)


def test_without_a_derivative_nothing_more_is_evaluated():
    calls, baseline = [], rbgs.RunningMean()

    def loss(value):
        calls.append(value)
        return loss_of(value)

    for estimator in (rbgs.MuProp(), rbgs.Reinforce(baseline)):
        door.expectation(estimator, loss, LOGITS, generator=KEY)
        with torch.no_grad():
            leaf = LOGITS.clone().requires_grad_()
            assert not door.expectation(estimator, loss, leaf, generator=KEY).requires_grad
    assert len(calls) == 4
    assert baseline.value == 0


@pytest.mark.parametrize("estimator", [of_torch(x) for x in UNBIASED], ids=name)
def test_further_evaluations_keep_no_graph_of_the_decoder(estimator):
    decoder = DECODER.clone().requires_grad_()
    outputs = []

    def loss(value):
        outputs.append(loss_of(value, decoder))
        return outputs[-1]

    door.expectation(estimator, loss, LOGITS.clone().requires_grad_(), generator=KEY)
    needs_derivative = isinstance(estimator, (rbgs.MuProp, rbgs.Rebar))
    assert all(x.requires_grad for x in outputs[: estimator._draws])
    if not needs_derivative:
        assert not any(x.requires_grad for x in outputs[estimator._draws :])


def test_autocast():
    encoder, decoder = torch.nn.Linear(3, 4), torch.nn.Linear(4, 3)
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    for estimator in (rbgs.GumbelRao(0.5), REINFORCE, rbgs.MuProp(), rbgs.IndeCateR()):
        seen = set()

        def loss(value, seen=seen):
            hidden = decoder(value)
            seen.add(hidden.dtype)
            return hidden.square().sum(dim=-1)

        encoder.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = encoder(x)
            value = door.expectation(estimator, loss, logits, generator=KEY)
        assert (logits.dtype, seen) == (torch.bfloat16, {torch.bfloat16})
        value.sum().backward()
        assert encoder.weight.grad.dtype == torch.float32
        assert encoder.weight.grad.abs().sum() > 0


def test_modules_with_dropout():
    torch.manual_seed(0)
    decoder = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(), torch.nn.Linear(8, 1))
    logits = torch.zeros(50, 4, requires_grad=True)
    for estimator in (REINFORCE, rbgs.MuProp(), rbgs.Rebar()):
        value = door.expectation(estimator, lambda value: decoder(value).squeeze(-1), logits)
        value.sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert all(p.grad is not None for p in decoder.parameters())


def test_the_generator_of_pytorch_is_the_default():
    def draw():
        return door.expectation(REINFORCE, loss_of, LOGITS)

    torch.manual_seed(3)
    first, second = draw(), draw()
    torch.manual_seed(3)
    close(draw(), first)
    assert (first != second).any()
    generator = torch.Generator().manual_seed(3)
    close(expected(REINFORCE, generator)(LOGITS), first)


def test_the_result_may_be_changed_in_place():
    leaf = LOGITS.clone().requires_grad_()
    value = expected(REINFORCE)(leaf)
    value += 1
    value.sum().backward()
    close(leaf.grad, gradients(expected(REINFORCE))[1])


def test_no_derivative_for_the_temperature():
    temperature = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    for estimator in (rbgs.Rebar(temperature), rbgs.GumbelRao(temperature)):
        with pytest.raises(ValueError, match=r"for the temperature: pass temperature\.detach\(\)"):
            expected(estimator)(LOGITS)
        with torch.no_grad():
            expected(estimator)(LOGITS)


def test_no_warning_is_raised():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for estimator in map(of_torch, CASES):
            gradients(expected(estimator))


@pytest.mark.parametrize("estimator", [rbgs.MuProp(), rbgs.Rebar(), rbgs.Systematic(REINMAX, 2)])
def test_a_loss_without_the_derivative_that_is_needed(estimator):
    table = torch.asarray(RANDOM.normal(size=4)).requires_grad_()
    logits = LOGITS.clone().requires_grad_()
    for loss in (
        lambda value: table[value.argmax(dim=-1)],
        lambda value: value.detach() @ table,
        lambda value: value.argmax(dim=-1).double(),
    ):
        with pytest.raises(TypeError, match=r"needs the derivative of loss\(value\).*argmax"):
            door.expectation(estimator, loss, logits, generator=KEY)
        door.expectation(REINFORCE, loss, logits, generator=KEY).sum().backward()
    assert logits.grad.abs().sum() > 0


@pytest.mark.parametrize("estimator", [rbgs.StraightThroughGumbelSoftmax, rbgs.ReinMax])
def test_the_temperature_of_several_draws_may_be_a_tensor(estimator):
    def value(logits, temperature):
        return expected(rbgs.Systematic(estimator(temperature), draws=4))(logits).sum()

    def gradient(temperature, function=value):
        leaf = LOGITS.clone().requires_grad_()
        return torch.autograd.grad(function(leaf, temperature), leaf)[0]

    temperatures = torch.asarray([0.3, 1.2], dtype=torch.float64)
    wanted = torch.stack([gradient(temperature) for temperature in (0.3, 1.2)])
    compiled = torch.compile(value, fullgraph=True, backend="aot_eager")
    mapped = torch.vmap(torch.func.grad(value), in_dims=(None, 0))
    close(mapped(LOGITS, temperatures), wanted)
    close(gradient(temperatures[1]), wanted[1])
    rows = [0, 1, 0, 1, 0]
    for function in (value, compiled):
        close(gradient(temperatures[rows], function), wanted[rows, torch.arange(5)])
    with pytest.raises(ValueError, match=r"temperature\.detach\(\)"):
        value(LOGITS, temperatures[0].requires_grad_())
