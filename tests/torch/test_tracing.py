"""Whoever records the operations of a sample gets a program, never the numbers of one call."""

import numpy as np
import pytest
from cases import PATHWISE, name

import rbgs

torch = pytest.importorskip("torch")
door = pytest.importorskip("rbgs.torch")
make_fx = pytest.importorskip("torch.fx.experimental.proxy_tensor").make_fx

pytestmark = [  # of PyTorch's tracers themselves
    pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node:UserWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit.trace:DeprecationWarning"),
    # The number of categories is a constant of what torch.jit.trace traces.
    pytest.mark.filterwarnings("ignore:Converting a tensor to a Python (int|bool):Warning"),
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
]

RANDOM = np.random.default_rng(0)
# Sizes that all differ, and other numbers for the call that follows.
LOGITS, LATER = torch.asarray(RANDOM.normal(size=(2, 7, 4)))
VECTOR, OTHER = torch.asarray(RANDOM.normal(size=(2, 7, 4)))


def close(a, b, atol=1e-9):
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


@pytest.fixture(params=PATHWISE, ids=name)
def case(request):
    """Return a sampler, two noises for it, and a function for the draw with the second one."""
    estimator = request.param
    first, second = (estimator.noise(LOGITS, seed) for seed in (0, 1))

    def sample(logits, noise):
        return door.sample(estimator, logits, noise=noise)

    return sample, first, second, estimator.sample(LATER, noise=second)


def gradient(sample):
    def through_autograd(logits, noise, vector):
        leaf = logits.detach().requires_grad_()
        return torch.autograd.grad(sample(leaf, noise), leaf, vector)[0]

    return through_autograd


def test_linearize(case):
    sample, noise, _, _ = case
    _, expected = torch.func.jvp(lambda x: sample(x, noise), (LOGITS,), (VECTOR,))
    value, product = torch.func.linearize(lambda x: sample(x, noise), LOGITS)
    close(value, sample(LOGITS, noise))
    close(product(VECTOR), expected)
    close(product(2 * VECTOR), 2 * expected)
    close(product(VECTOR), expected)


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
def test_make_fx(case, mode):
    sample, first, second, draw = case
    traced = make_fx(sample, tracing_mode=mode)(LOGITS, first)
    close(traced(LATER, second), draw.value)
    traced = make_fx(gradient(sample), tracing_mode=mode)(LOGITS, first, VECTOR)
    close(traced(LATER, second, OTHER), draw.vjp(OTHER))
    if mode == "symbolic":
        close(traced(LATER[:3], second[:3], OTHER[:3]), draw.vjp(OTHER)[:3])


def test_make_fx_of_transformations(case):
    sample, first, second, draw = case

    def product(logits, noise, vector):
        return torch.func.vjp(lambda x: sample(x, noise), logits)[1](vector)[0]

    close(make_fx(product)(LOGITS, first, VECTOR)(LATER, second, OTHER), draw.vjp(OTHER))
    rows = make_fx(torch.vmap(product))(LOGITS, first, VECTOR)
    close(rows(LATER, second, OTHER), draw.vjp(OTHER))


def test_jit_trace(case):
    sample, first, second, draw = case
    traced = torch.jit.trace(sample, (LOGITS, first))
    close(traced(LATER, second), draw.value)
    close(traced(LATER[:3], second[:3]), draw.value[:3])
    close(gradient(traced)(LATER, second, OTHER), draw.vjp(OTHER))


def test_jit_trace_of_the_drop_in():
    traced = torch.jit.trace(
        lambda x: door.gumbel_softmax(x, 0.5, hard=True), LOGITS, check_trace=False
    )
    assert (traced(LOGITS).argmax(-1) != traced(LOGITS).argmax(-1)).any()  # it draws anew
    certain = torch.full((7, 4), -100.0, dtype=torch.float64)
    certain[:, 2] = 100.0
    assert (traced(certain).argmax(-1) == 2).all()


@pytest.mark.parametrize("strict", [False, True])
def test_export(strict):
    estimator = rbgs.GumbelRao(0.5, 7)

    class Model(torch.nn.Module):
        def forward(self, logits, noise):
            return door.sample(estimator, logits, noise=noise)

    first, second = (estimator.noise(LOGITS, seed) for seed in (0, 1))
    rows = {0: torch.export.Dim("rows", min=2, max=100)}
    program = torch.export.export(
        Model(), (LOGITS, first), dynamic_shapes=(rows, rows), strict=strict
    )
    draw = estimator.sample(LATER, noise=second)
    close(program.module()(LATER, second), draw.value)
    close(program.module()(LATER[:3], second[:3]), draw.value[:3])


def test_tensors_without_numbers(case):
    sample, noise, _, _ = case
    logits, noise, vector = (x.to("meta") for x in (LOGITS, noise, VECTOR))
    logits.requires_grad_()
    value = sample(logits, noise)
    assert value.device.type == "meta"
    assert value.shape == LOGITS.shape
    value.backward(vector)
    assert logits.grad.shape == LOGITS.shape
    fake = pytest.importorskip("torch._subclasses").FakeTensorMode()
    with fake:
        logits = fake.from_tensor(LOGITS)
        value = sample(logits, fake.from_tensor(torch.zeros(noise.shape, dtype=torch.float64)))
    assert isinstance(value, type(logits))
    assert value.stride() == LOGITS.stride()


def names_of(mode, run):
    """Return what a mode that counts calls sees of a function."""
    seen = []

    class Mode(mode):
        def see(self, function, _, args=(), kwargs=None):
            seen.append(getattr(function, "__name__", str(function)))
            return function(*args, **kwargs or {})

        __torch_function__ = __torch_dispatch__ = see

    with Mode():
        result = run()
    return result, seen


def test_modes_see_the_operations(case):
    sample, noise, _, _ = case
    modes = pytest.importorskip("torch.utils._python_dispatch")
    for mode in (torch.overrides.TorchFunctionMode, modes.TorchDispatchMode):
        got, seen = names_of(mode, lambda: gradient(sample)(LOGITS, noise, VECTOR))
        close(got, gradient(sample)(LOGITS, noise, VECTOR))
        assert any("log" in x or "exp" in x for x in seen)


def test_a_default_device_is_nobody_who_records(case, monkeypatch):
    sample, noise, _, _ = case
    from rbgs.torch import function

    through = []
    fits_numpy = function.fits_numpy
    monkeypatch.setattr(
        function, "fits_numpy", lambda x: through.append(fits_numpy(x)) or through[-1]
    )
    with torch.device("cpu"):
        gradient(sample)(LOGITS, noise, VECTOR)
    assert through == [True, True]


def test_functionalize_is_refused(case):
    sample, noise, _, _ = case
    for function in (sample, torch.vmap(sample)):
        with pytest.raises(NotImplementedError, match="has no rule for functions with a deriv"):
            torch.func.functionalize(function)(LOGITS, noise)


def test_numbers_of_one_call_are_refused_in_a_trace():
    generator = np.random.default_rng(0)
    with pytest.raises(ValueError, match="would be drawn from once"):
        make_fx(lambda x: door.sample(rbgs.GumbelRao(0.5), x, generator=generator))(LOGITS)
