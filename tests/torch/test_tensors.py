"""Tensors of every kind, and derivatives that are right or refused."""

import os
import subprocess
import sys

import numpy as np
import pytest
from cases import PATHWISE, name

import rbgs

torch = pytest.importorskip("torch")
door = pytest.importorskip("rbgs.torch")

RANDOM = np.random.default_rng(0)
LOGITS = torch.asarray(RANDOM.normal(size=(6, 4)))
VECTOR = torch.asarray(RANDOM.normal(size=(6, 4)))


def close(a, b, atol=1e-9):
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


@pytest.fixture(params=PATHWISE, ids=name)
def case(request):
    """Return an estimator, its noise, a sampler for one noise, and the draw to compare with."""
    estimator = request.param
    noise = estimator.noise(LOGITS, 0)

    def sample(logits, noise=noise):
        return door.sample(estimator, logits, noise=noise)

    return estimator, noise, sample, estimator.sample(LOGITS, noise=noise)


def test_signs_that_are_not_yet_applied(case):
    _, noise, sample, draw = case
    logits = torch._neg_view(-LOGITS).requires_grad_()
    value = sample(logits, torch._neg_view(-noise))
    close(value.detach(), draw.value)
    value.backward(torch._neg_view(-VECTOR))
    close(logits.grad, draw.vjp(VECTOR))
    leaf = LOGITS.clone().requires_grad_()
    sample(leaf).backward(torch.complex(VECTOR, -VECTOR).conj().imag)
    close(leaf.grad, draw.vjp(VECTOR))


class Subclass(torch.Tensor):
    """A tensor that only has another type."""


@pytest.mark.parametrize("of_logits", [True, False])
@pytest.mark.parametrize("of_cotangent", [True, False])
def test_subclasses(case, of_logits, of_cotangent):
    _, _, sample, draw = case
    logits, vector = (
        x.clone().as_subclass(Subclass if wrapped else torch.Tensor)
        for x, wrapped in ((LOGITS, of_logits), (VECTOR, of_cotangent))
    )
    logits.requires_grad_()
    sample(logits).backward(vector)
    close(logits.grad.as_subclass(torch.Tensor), draw.vjp(VECTOR))


def test_a_subclass_with_rules_of_its_own(case):
    two = pytest.importorskip("torch.testing._internal.two_tensor").TwoTensor
    _, noise, sample, draw = case
    logits = two(LOGITS.clone(), LOGITS.clone()).requires_grad_()
    sample(logits, two(noise, noise)).backward(two(VECTOR, 2 * VECTOR))
    close(logits.grad.a, draw.vjp(VECTOR))
    close(logits.grad.b, 2 * draw.vjp(VECTOR))
    leaf = LOGITS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(sample(leaf), leaf, two(VECTOR, 2 * VECTOR))
    close(gradient.b, 2 * draw.vjp(VECTOR))


def test_many_cotangents_at_once(case):
    _, noise, sample, draw = case
    leaf = LOGITS.clone().requires_grad_()
    vectors = torch.asarray(RANDOM.normal(size=(3, 6, 4)))
    (gradients,) = torch.autograd.grad(sample(leaf), leaf, vectors, is_grads_batched=True)
    close(gradients, torch.stack([draw.vjp(vector) for vector in vectors]))
    for options in ({}, {"vectorize": True}, {"vectorize": True, "strategy": "forward-mode"}):
        jacobian = torch.autograd.functional.jacobian(
            lambda x: sample(x, noise[0]), LOGITS[0], **options
        )
        close(jacobian, draw.jacobian()[0])


def test_vmap_of_a_draw_without_the_door(case):
    estimator, _, _, draw = case
    vectors = torch.asarray(RANDOM.normal(size=(3, 6, 4)))
    close(torch.vmap(draw.vjp)(vectors), torch.stack([draw.vjp(v) for v in vectors]))
    noises = torch.stack([estimator.noise(LOGITS, seed) for seed in range(3)])
    draws = [estimator.sample(LOGITS, noise=noise) for noise in noises]
    both = torch.vmap(lambda noise, v: estimator.sample(LOGITS, noise=noise).vjp(v))
    close(
        both(noises, vectors), torch.stack([d.vjp(v) for d, v in zip(draws, vectors, strict=True)])
    )


def test_a_draw_that_left_vmap_is_refused(case):
    estimator, noise, _, _ = case
    left = []

    def leave(noise):
        left.append(estimator.sample(LOGITS, noise=noise))
        return left[0].value

    torch.vmap(leave)(torch.stack([noise, noise]))
    for use in (lambda d: d.vjp(VECTOR), lambda d: d.jvp(VECTOR), lambda d: d.jacobian()):
        with pytest.raises(ValueError, match=r"made inside torch\.vmap and is used outside"):
            use(left[0])


def test_a_derivative_for_the_noise_is_refused(case):
    estimator, noise, sample, draw = case
    if not estimator._needs_noise(None):
        pytest.skip("no noise")
    refused = pytest.raises(ValueError, match=r"for the noise: pass noise\.detach\(\)")
    ones = torch.ones_like(noise)

    def loss(noise, logits=LOGITS):
        return (sample(logits, noise) * VECTOR).sum()

    leaf = noise.clone().requires_grad_()
    with refused:
        loss(leaf)
    with refused:
        torch.func.grad(loss)(noise)
    with refused:
        torch.func.grad(loss, argnums=(0, 1))(noise, LOGITS)
    with refused:
        torch.func.jvp(loss, (noise,), (ones,))
    with refused:
        torch.func.jvp(loss, (noise, LOGITS), (ones, VECTOR))
    with refused:
        torch.vmap(torch.func.grad(loss))(torch.stack([noise, noise]))
    forward_ad = torch.autograd.forward_ad
    with forward_ad.dual_level(), refused:
        loss(forward_ad.make_dual(noise, ones))
    with torch.no_grad():
        close(sample(LOGITS, leaf), draw.value)
    close(sample(LOGITS, leaf.detach()), draw.value)


def test_a_derivative_for_the_temperature_is_refused():
    noise = rbgs.GumbelRao(0.5).noise(LOGITS, 0)
    half = torch.tensor(0.5, dtype=torch.float64)

    def loss(temperature):
        return (door.sample(rbgs.GumbelRao(temperature), LOGITS, noise=noise) * VECTOR).sum()

    for derivative in (torch.func.grad(loss), lambda t: torch.func.jvp(loss, (t,), (t,))):
        with pytest.raises(ValueError, match=r"for the temperature: pass temperature\.detach\(\)"):
            derivative(half)


@pytest.mark.parametrize("argument", ["noise", "mask", "index", "temperature"])
def test_another_device_than_that_of_the_logits(argument):
    estimator = rbgs.GumbelRao(0.5)
    given = {
        "noise": estimator.noise(LOGITS, 0),
        "mask": torch.ones(6, 4, dtype=torch.bool),
        "index": torch.zeros(6, dtype=torch.int64),
    }
    if argument == "temperature":
        estimator = rbgs.GumbelRao(torch.full((6,), 0.5, dtype=torch.float64, device="meta"))
    else:
        given[argument] = given[argument].to("meta")
    with pytest.raises(
        ValueError, match=f"{argument} is on device meta, but the logits are on cpu"
    ):
        door.sample(estimator, LOGITS, **given)


def test_layouts_that_are_not_dense():
    dense = LOGITS.clone()
    jagged = torch.nested.nested_tensor([dense, dense[:2]], layout=torch.jagged)
    for logits in (dense.to_sparse(), dense.float().to_mkldnn(), jagged):
        with pytest.raises(TypeError, match=r"the layout of logits is .* pass a dense tensor"):
            door.sample(rbgs.GumbelRao(0.5), logits)


DISTRIBUTED = """
import torch, rbgs, rbgs.torch
from torch.distributed.tensor import DTensor, Shard, distribute_tensor, init_device_mesh
store = torch.distributed.HashStore()
torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
estimator = rbgs.GumbelRao(0.5)
plain = torch.randn(6, 4)
logits = distribute_tensor(plain, init_device_mesh("cpu", (1,)), [Shard(0)]).requires_grad_()
noise = estimator.noise(plain, 0)
try:
    rbgs.torch.sample(estimator, logits, noise=noise)
except TypeError as error:
    print(error)
local = rbgs.torch.sample(estimator, logits.to_local(), noise=noise)
value = DTensor.from_local(local, logits.device_mesh, logits.placements)
value.square().sum().backward()
draw = estimator.sample(plain, noise=noise)
print((logits.grad.full_tensor() - draw.vjp(2 * draw.value)).abs().max().item() < 1e-6)
torch.distributed.destroy_process_group()
"""


def test_a_distributed_tensor():
    pytest.importorskip("torch.distributed.tensor")
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo"}
    run = subprocess.run(
        [sys.executable, "-c", DISTRIBUTED],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    message, agrees = run.stdout.splitlines()
    assert "logits is a DTensor" in message
    assert "DTensor.from_local(value" in message
    assert agrees == "True"


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("dim", [-1, 0, 1])
def test_tau_of_the_shape_that_pytorch_takes(hard, dim):
    logits = torch.asarray(RANDOM.normal(size=(2, 3, 4)))
    shape = list(logits.shape)
    shape[dim] = 1
    tau = torch.asarray(RANDOM.uniform(0.2, 2, size=shape))
    value = door.gumbel_softmax(logits, tau, hard, dim=dim, generator=0)
    estimator = (rbgs.GumbelRao if hard else rbgs.GumbelSoftmax)(tau.squeeze(dim))
    close(value, door.sample(estimator, logits, generator=0, dim=dim))
    if not hard:
        noise = estimator.noise(logits, 0, axis=dim)
        one = rbgs.GumbelSoftmax(float(tau[0, 0, 0])).sample(logits, noise=noise, axis=dim).value
        row = (0, 0) if dim == -1 else (0, slice(None), 0) if dim == 1 else (slice(None), 0, 0)
        close(value[row], one[row])


def test_tau_for_each_category_is_refused():
    with pytest.raises(ValueError, match=r"temperature has shape .* does not broadcast"):
        door.gumbel_softmax(LOGITS, torch.ones(6, 4, dtype=torch.float64), hard=True)
