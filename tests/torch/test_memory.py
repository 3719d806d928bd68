"""What a sample keeps until the backward pass, and what may be overwritten before."""

import gc
import weakref

import numpy as np
import pytest
from cases import PATHWISE, name

import rbgs

torch = pytest.importorskip("torch")
door = pytest.importorskip("rbgs.torch")

RANDOM = np.random.default_rng(0)
LOGITS = torch.asarray(RANDOM.normal(size=(6, 4)))
VECTOR = torch.asarray(RANDOM.normal(size=(6, 4)))
each_estimator = pytest.mark.parametrize("estimator", PATHWISE, ids=name)


def close(a, b, atol=1e-12):
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


@pytest.fixture(params=["through NumPy", "in PyTorch"], autouse=True)
def way(request, monkeypatch):
    if request.param == "in PyTorch":  # as on a GPU
        monkeypatch.setattr("rbgs.torch.function.fits_numpy", lambda _: False)


def saved_bytes(run):
    """Return the bytes of the memory that is saved for the backward pass, and the result."""
    saved = {}

    def pack(x):
        storage = x.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        result = run()
    return sum(saved.values()), result


def arrays_held(x, found):
    """Collect the arrays that a context or an object on it holds, apart from saved tensors."""
    if isinstance(x, (torch.Tensor, np.ndarray)):
        found.append(x)
    elif isinstance(x, dict):
        for value in x.values():
            arrays_held(value, found)
    elif isinstance(x, (tuple, list)):
        for value in x:
            arrays_held(value, found)
    elif type(x).__module__.startswith("rbgs"):
        arrays_held(vars(x), found)
    return found


@each_estimator
def test_only_saved_tensors_are_kept(estimator):
    logits = torch.zeros(1000, 4, requires_grad=True)
    bytes_, value = saved_bytes(lambda: door.sample(estimator, logits, generator=0))
    # Log-probabilities, exponentials, index, key; of the sum of two operators the other's point.
    arrays = 3 if isinstance(estimator, rbgs.ReinMaxRao) else 2
    assert 0 < bytes_ <= 1000 * (4 * 4 * arrays + 8 + 8)
    assert arrays_held(vars(value.grad_fn), []) == []


def test_what_is_kept_does_not_grow_with_the_samples():
    logits = torch.zeros(1000, 4, requires_grad=True)
    few, many = (
        saved_bytes(
            lambda k=k: door.sample(rbgs.GumbelRao(0.5, k, "monte_carlo"), logits, generator=0)
        )[0]
        for k in (4, 4000)
    )
    assert few == many


class Box:
    """What stands for a saved tensor."""

    def __init__(self, content):
        self.content = content


@each_estimator
def test_nothing_is_alive_after_the_backward_pass(estimator):
    logits = LOGITS.clone().requires_grad_()
    saved = []

    def pack(x):
        box = Box(x)
        saved.append(weakref.ref(box))
        return box

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda box: box.content):
        value = door.sample(estimator, logits)
    assert any(box() is not None for box in saved)
    value.backward(VECTOR)
    gc.collect()
    assert all(box() is None for box in saved)
    assert arrays_held(vars(value.grad_fn), []) == []


@each_estimator
def test_arguments_and_value_may_be_overwritten(estimator):
    leaf = LOGITS.clone().requires_grad_()
    noise = estimator.noise(LOGITS, 0)
    index = torch.asarray(RANDOM.integers(4, size=6))
    for given in ({}, {"index": index}):
        draw = estimator.sample(LOGITS, noise=noise, **given)
        given = {"noise": noise, **given, "mask": torch.ones(6, 4, dtype=torch.bool)}
        given = {key: x.clone() for key, x in given.items()}
        logits = leaf.clone()
        value = door.sample(estimator, logits, **given)
        with torch.no_grad():
            logits.add_(1)
            for x in given.values():
                x.zero_()
        value.mul_(3)
        (gradient,) = torch.autograd.grad(value, leaf, VECTOR)
        close(gradient, 3 * draw.vjp(VECTOR))


def test_a_temperature_may_be_scheduled_in_place():
    noise = rbgs.GumbelRao(0.5).noise(LOGITS, 0)
    temperature = torch.full((6,), 0.5, dtype=torch.float64)
    leaf = LOGITS.clone().requires_grad_()
    value = door.sample(rbgs.GumbelRao(temperature), leaf, noise=noise)
    temperature.mul_(0.1)
    value.backward(VECTOR)
    half = torch.full((6,), 0.5, dtype=torch.float64)
    close(leaf.grad, rbgs.GumbelRao(half).sample(LOGITS, noise=noise).vjp(VECTOR))


def test_checkpointing_recomputes_the_same_sample():
    estimator = rbgs.GumbelRao(0.5)
    plain, saved = (LOGITS.clone().requires_grad_() for _ in range(2))

    def loss(x):
        return (door.sample(estimator, 2 * x) * VECTOR).sum()

    torch.manual_seed(0)
    loss(plain).backward()
    torch.manual_seed(0)
    bytes_, value = saved_bytes(
        lambda: torch.utils.checkpoint.checkpoint(loss, saved, use_reentrant=False)
    )
    assert bytes_ <= saved.nbytes
    value.backward()
    close(plain.grad, saved.grad)


def test_saved_on_another_device():
    leaf = LOGITS.clone().requires_grad_()
    estimator = rbgs.GumbelRao(0.5)
    noise = estimator.noise(LOGITS, 0)
    with torch.autograd.graph.save_on_cpu():
        value = door.sample(estimator, leaf, noise=noise)
    value.backward(VECTOR)
    close(leaf.grad, estimator.sample(LOGITS, noise=noise).vjp(VECTOR))


WIDE = torch.asarray(RANDOM.normal(size=(2, 3, 4, 5)))
LAYOUTS = {
    "contiguous": WIDE,
    "channels last": WIDE.to(memory_format=torch.channels_last),
    "permuted": WIDE.permute(3, 1, 0, 2),
    "strided": WIDE[:, :, ::2, 1:4],
    "expanded": WIDE[:1].expand(3, 3, 4, 5),
}


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("logits", LAYOUTS.values(), ids=LAYOUTS)
def test_the_layout_of_the_value_is_that_of_gumbel_softmax(logits, hard, dim):
    value = door.gumbel_softmax(logits, 0.5, hard, dim=dim)
    of_pytorch = torch.nn.functional.gumbel_softmax(logits, 0.5, hard, dim=dim)
    assert value.stride() == of_pytorch.stride()
    assert value.view(-1).shape == (logits.numel(),)
