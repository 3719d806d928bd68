"""PyTorch: its transformations, precisions and modules, through the door and without it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import PATHWISE, name

import rbgs

torch = pytest.importorskip("torch")
door = pytest.importorskip("rbgs.torch")

RANDOM = np.random.default_rng(0)
LOGITS = torch.asarray(RANDOM.normal(size=(6, 4)))
VECTOR = torch.asarray(RANDOM.normal(size=(6, 4)))


def close(a, b, atol=1e-12):
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


@pytest.fixture(params=PATHWISE, ids=name)
def case(request):
    """Return an estimator, its noise, a sampler for one noise, and the draw to compare with."""
    estimator = request.param
    noise = estimator.noise(LOGITS, 0)

    def sample(logits, noise=noise):
        return door.sample(estimator, logits, noise=noise)

    return estimator, noise, sample, estimator.sample(LOGITS, noise=noise)


def test_forward_mode(case):
    _, _, sample, draw = case
    value, tangent = torch.func.jvp(sample, (LOGITS,), (VECTOR,))
    close(value, draw.value)
    close(tangent, draw.jvp(VECTOR))
    with torch.autograd.forward_ad.dual_level():
        dual = sample(torch.autograd.forward_ad.make_dual(LOGITS, VECTOR))
        close(torch.autograd.forward_ad.unpack_dual(dual).tangent, draw.jvp(VECTOR))


def test_reverse_mode(case):
    _, _, sample, draw = case
    close(torch.func.grad(lambda x: (sample(x) * VECTOR).sum())(LOGITS), draw.vjp(VECTOR))
    close(torch.func.vjp(sample, LOGITS)[1](VECTOR)[0], draw.vjp(VECTOR))


def test_a_dual_level_that_is_entered_later(case):
    _, noise, sample, draw = case
    forward_ad = torch.autograd.forward_ad
    logits = LOGITS.clone().requires_grad_()
    value = sample(logits, noise)
    with forward_ad.dual_level():
        cotangent = forward_ad.make_dual(VECTOR, 2 * VECTOR)
        (gradient,) = torch.autograd.grad(value, logits, cotangent)
        product, tangent = forward_ad.unpack_dual(gradient)
    close(product, draw.vjp(VECTOR))
    close(tangent, 2 * draw.vjp(VECTOR))


def test_jacobians(case):
    _, noise, sample, draw = case
    for transform in (torch.func.jacrev, torch.func.jacfwd):
        close(transform(lambda x: sample(x, noise[0]))(LOGITS[0]), draw.jacobian()[0])


def test_vmap(case):
    _, noise, sample, draw = case

    def loss(logits, noise, vector):
        return (sample(logits, noise) * vector).sum()

    close(torch.vmap(sample)(LOGITS, noise), draw.value)
    per_row = torch.vmap(torch.func.grad(loss))(LOGITS, noise, VECTOR)
    close(per_row, draw.vjp(VECTOR))
    across = torch.func.grad(lambda x: torch.vmap(loss)(x, noise, VECTOR).sum())(LOGITS)
    close(across, draw.vjp(VECTOR))
    columns = torch.vmap(sample, in_dims=1, out_dims=1)(LOGITS.mT, noise.mT)
    close(columns, draw.value.mT)


def test_vmap_over_what_varies_only_in_part():
    estimator = rbgs.GumbelRao(0.5, samples=3)
    noise = torch.stack([estimator.noise(LOGITS, seed) for seed in (0, 1)])
    mask = torch.asarray([True, False, True, True])
    index = torch.asarray([0, 2, 3, 0, 0, 2])

    def product(noise, index, scale):
        changed = rbgs.GumbelRao(0.5 * scale, samples=3)

        def loss(x):
            value = door.sample(changed, x, noise=noise, index=index, mask=mask)
            return (value * VECTOR).sum()

        return torch.func.grad(loss)(LOGITS)

    scales = torch.asarray([1.0, 2.0], dtype=torch.float64)
    together = torch.vmap(product, in_dims=(0, None, 0))(noise, index, scales)
    for i in range(2):
        alone = rbgs.GumbelRao(float(0.5 * scales[i]), samples=3)
        draw = alone.sample(LOGITS, noise=noise[i], index=index, mask=mask)
        close(together[i], draw.vjp(VECTOR))


def test_randomness_under_vmap_follows_its_flag():
    estimator = rbgs.StraightThrough()
    logits = torch.zeros(100, 5)

    def draw(x):
        return door.sample(estimator, x)

    with pytest.raises(RuntimeError, match="randomness"):
        torch.vmap(draw)(logits)
    assert torch.vmap(draw, randomness="same")(logits).std(dim=0).sum() == 0
    assert torch.vmap(draw, randomness="different")(logits).std(dim=0).sum() > 0


def test_a_second_derivative_is_right_or_refused(case):
    _, noise, sample, draw = case
    logits = LOGITS.clone().requires_grad_()
    weights = VECTOR.clone().requires_grad_()

    def loss(x, weights):
        return (sample(x) * weights).sum()

    (first,) = torch.autograd.grad(loss(logits, weights), logits, create_graph=True)
    # Linear in the cotangent: |A w|^2 has the gradient 2 A A w.
    expected = 2 * draw.vjp(draw.vjp(VECTOR))
    close(torch.autograd.grad(first.square().sum(), weights, retain_graph=True)[0], expected)
    twice = torch.func.grad(lambda w: torch.func.grad(loss)(LOGITS, w).square().sum())
    close(twice(VECTOR), expected)
    _, forward = torch.func.jvp(lambda w: torch.func.grad(loss)(LOGITS, w), (VECTOR,), (VECTOR,))
    close(forward, draw.jvp(VECTOR))
    refused = pytest.raises(NotImplementedError, match="no derivative for the logits")
    with refused:
        first.square().sum().backward()
    with refused:
        torch.func.hessian(lambda x: sample(x, noise[0]).square().sum())(LOGITS[0])
    with refused:
        torch.func.grad(lambda x: torch.func.grad(loss)(x, VECTOR).sum())(LOGITS)


@pytest.mark.parametrize("through_numpy", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_and_half_precision(dtype, through_numpy, monkeypatch):
    if not through_numpy:  # as on a GPU
        monkeypatch.setattr("rbgs.torch.function.fits_numpy", lambda _: False)
    estimator = rbgs.GumbelRao(0.5, sampling="exact")  # it multiplies matrices
    layer = torch.nn.Linear(3, 4)
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=dtype):
        logits = layer(x)
        assert logits.dtype == dtype
        noise = estimator.noise(logits, 0)
        assert noise.dtype == torch.float32
        value = door.sample(estimator, logits, noise=noise)
        loss = (value.float() * VECTOR.float()).sum()
        (gradient,) = torch.autograd.grad(loss, logits, retain_graph=True)
    assert value.dtype == gradient.dtype == dtype
    draw = estimator.sample(logits.detach().float(), noise=noise)
    close(value.float(), draw.value)
    expected = draw.vjp(VECTOR.float().to(dtype).float())
    torch.testing.assert_close(gradient.float(), expected, atol=1e-3, rtol=2**-7)
    loss.backward()
    assert layer.weight.grad.dtype == torch.float32
    logits = logits.detach().float().requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        value = door.sample(estimator, logits, noise=noise)
        (gradient,) = torch.autograd.grad(value, logits, VECTOR.float())
    close(gradient, draw.vjp(VECTOR.float()), atol=3e-6)


def test_settings_of_numpy_do_not_reach_the_backward_pass(case):
    _, noise, sample, _ = case
    logits = LOGITS.clone()
    logits[0, 0] = -torch.inf
    logits[1, 1] = torch.nan
    logits[2, 2] = -1e30
    logits.requires_grad_()
    with np.errstate(all="raise"):
        sample(logits, noise).backward(VECTOR)
    assert torch.isnan(logits.grad[1]).all()
    assert torch.isfinite(logits.grad[torch.arange(6) != 1]).all()


def test_tensors_that_are_not_contiguous():
    estimator = rbgs.GumbelRao(0.5, samples=3)
    wide = torch.randn(4, 8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wide.requires_grad_()
    logits = wide.permute(2, 0, 1)[::2, :, ::2]
    assert not logits.is_contiguous()
    noise = estimator.noise(logits, 0)
    door.sample(estimator, logits, noise=noise).square().sum().backward()
    draw = estimator.sample(logits.detach().contiguous(), noise=noise)
    close(wide.grad.permute(2, 0, 1)[::2, :, ::2], draw.vjp(2 * draw.value))


def test_the_default_generator_and_those_that_are_passed():
    estimator = rbgs.GumbelRao(0.5)
    logits = torch.zeros(50, 4)
    torch.manual_seed(3)
    first = door.sample(estimator, logits)
    second = door.sample(estimator, logits)
    torch.manual_seed(3)
    assert (door.sample(estimator, logits) == first).all()
    assert (first != second).any()
    for make in (lambda: torch.Generator().manual_seed(5), lambda: 5, lambda: rbgs.Key(5)):
        one, other = (door.sample(estimator, logits, generator=make()) for _ in range(2))
        assert (one == other).all()
        expected = estimator.sample(logits, rng=make()).value
        assert (one == expected).all()


def test_errors_name_the_fix():
    estimator = rbgs.GumbelRao(0.5)
    with pytest.raises(ValueError, match=r"pass temperature\.detach\(\)"):
        door.sample(rbgs.GumbelRao(torch.ones((), requires_grad=True)), LOGITS)
    with pytest.raises(ValueError, match="pass one of them"):
        door.sample(estimator, LOGITS, generator=0, noise=estimator.noise(LOGITS, 0))
    with pytest.raises(ValueError, match=r"make it with torch\.Generator\(device='meta'\)"):
        door.sample(estimator, LOGITS.to("meta"), generator=torch.Generator())
    with pytest.raises(TypeError, match=r"float\(temperature\)"):
        door.Sampler(rbgs.GumbelRao(torch.ones(())))
    with pytest.raises(TypeError, match=r"numpy ndarray.*torch\.from_dlpack"):
        door.sample(estimator, LOGITS.numpy())


@pytest.mark.parametrize("hard", [False, True])
def test_gumbel_softmax_takes_the_place_of_that_of_pytorch(hard):
    logits = LOGITS.clone().requires_grad_()
    torch.manual_seed(0)
    value = door.gumbel_softmax(logits, 0.5, hard, 1e-10, -1)
    torch.manual_seed(0)
    estimator = rbgs.GumbelRao(0.5) if hard else rbgs.GumbelSoftmax(0.5)
    close(value, door.sample(estimator, logits))
    value.square().sum().backward()
    assert torch.isfinite(logits.grad).all()
    other = door.gumbel_softmax(logits, tau=1, hard=hard, dim=0, generator=0)
    mask = torch.tensor([True, False, True])
    masked = door.gumbel_softmax(torch.zeros(9, 3), 0.5, hard, mask=mask)
    assert (masked[:, 1] == 0).all()
    torch.testing.assert_close(masked.sum(dim=-1), torch.ones(9))
    close(other.sum(dim=0), torch.ones(4, dtype=torch.float64))


def test_the_law_is_that_of_pytorch():
    logits = torch.randn(4, generator=torch.Generator().manual_seed(0)).expand(40_000, 4)
    ours = door.gumbel_softmax(logits, 0.5, hard=True, generator=0).mean(dim=0)
    expected = logits[0].softmax(dim=0)
    error = (expected * (1 - expected) / 40_000).sqrt()
    assert ((ours - expected).abs() < 5 * error).all()


def test_on_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    for estimator in PATHWISE:
        noise = estimator.noise(LOGITS, 0)
        logits = LOGITS.cuda().requires_grad_()
        value = door.sample(estimator, logits, noise=noise.cuda())
        value.backward(VECTOR.cuda())
        draw = estimator.sample(LOGITS, noise=noise)
        close(value.detach().cpu(), draw.value)
        close(logits.grad.cpu(), draw.vjp(VECTOR), atol=1e-9)
        torch.cuda.manual_seed(0)
        assert door.sample(estimator, logits).device == logits.device


def test_two_processes_of_distributed_data_parallel(tmp_path):
    script = Path(__file__).parents[1] / "support" / "data_parallel.py"
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1"}
    processes = [
        subprocess.Popen(
            [sys.executable, script, str(rank), tmp_path / "store"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in processes:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert output == "agrees\n"
