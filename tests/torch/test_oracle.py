"""What is particular to PyTorch's oracles: modules, modes, kinds of arrays, the compiler."""

import numpy as np
import pytest

import rbgs

torch = pytest.importorskip("torch")
door = pytest.importorskip("rbgs.torch")

LOGITS = np.random.default_rng(0).normal(size=(6, 4))
ESTIMATOR = rbgs.GumbelRao(0.5, samples=3)


def square(value):
    return value.square().sum(dim=-1)


def test_a_module_gets_no_gradient():
    decoder = torch.nn.Linear(4, 2).double()
    oracle = door.oracle(lambda value: decoder(value).square().sum(dim=-1))
    for logits in (LOGITS, torch.asarray(LOGITS)):
        ESTIMATOR.gradient(oracle, logits, rng=0)
        rbgs.compare([ESTIMATOR], oracle, logits[0], draws=8, rng=0)
    assert all(p.grad is None for p in decoder.parameters())
    found = oracle(torch.asarray(LOGITS).requires_grad_())
    assert not any(x.requires_grad for x in found)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_whether_gradients_are_recorded_does_not_matter(mode):
    with mode():
        loss, derivative = door.oracle(square)(torch.asarray(LOGITS))
    torch.testing.assert_close(derivative, 2 * torch.asarray(LOGITS))
    assert not loss.requires_grad


def test_a_lost_record_teaches():
    weight = torch.ones(4, dtype=torch.float64, requires_grad=True)
    for loss in (
        lambda value: square(value.detach()),
        torch.no_grad()(square),
        lambda value: square(value.detach() * weight),
        lambda value: value.argmax(dim=-1).to(value.dtype),
    ):
        oracle = door.oracle(loss)
        for ask in (oracle, torch.func.vmap(oracle), torch.compile(oracle, backend="eager")):
            with pytest.raises(TypeError, match=r"detach\(\) or torch\.no_grad\(\) in between"):
                ask(torch.asarray(LOGITS))


@pytest.mark.parametrize("make", [lambda x: x[::-1], lambda x: x[:, 1:], np.asfortranarray])
def test_arrays_of_numpy_in_any_layout(make):
    value = make(LOGITS)
    value.flags.writeable = False
    loss, derivative = door.oracle(square)(value)
    np.testing.assert_allclose(loss, (value**2).sum(axis=-1))
    np.testing.assert_allclose(derivative, 2 * value)


def test_a_loss_without_room_for_draws():
    def loss(value):  # (4,) to one number
        assert value.ndim == 1
        return square(value)

    oracle = door.oracle(torch.vmap(loss))
    (moments,) = rbgs.compare([ESTIMATOR], oracle, LOGITS[0], draws=8, rng=0)
    (wanted,) = rbgs.compare([ESTIMATOR], door.oracle(square), LOGITS[0], draws=8, rng=0)
    assert moments.variance == wanted.variance


def test_half_precision():
    loss, derivative = door.oracle(square)(torch.asarray(LOGITS).half())
    assert loss.dtype == derivative.dtype == torch.float16


def test_inside_transformations():
    value = torch.asarray(LOGITS)
    expected = door.oracle(square)(value)
    for found in (torch.vmap(door.oracle(square))(value), door.oracle(torch.vmap(square))(value)):
        torch.testing.assert_close(found, expected)
