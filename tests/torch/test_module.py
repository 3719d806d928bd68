"""The layer `Sampler`: its temperature, and what is saved of it."""

import io

import numpy as np
import pytest

import rbgs

torch = pytest.importorskip("torch")
door = pytest.importorskip("rbgs.torch")

LOGITS = torch.asarray(np.random.default_rng(0).normal(size=(6, 4)))


def model(temperature=1.0):
    layer = door.Sampler(rbgs.GumbelRao(temperature, samples=3), dim=1)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), layer)


def saved_and_loaded(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def test_a_layer():
    layer = door.Sampler(rbgs.GumbelRao(1.0, samples=3), dim=1)
    assert (
        torch.nn.Sequential(torch.nn.Linear(3, 4), layer)(torch.randn(5, 3)).sum(dim=1).tolist()
        == [1.0] * 5
    )
    layer.temperature = 0.25
    assert "temperature=0.25" in repr(layer)
    with pytest.raises(ValueError, match="temperature must be"):
        layer.temperature = -1.0
    noise = layer.estimator.noise(LOGITS, 0, axis=1)
    expected = layer.estimator.sample(LOGITS, noise=noise, axis=1).value
    torch.testing.assert_close(layer(LOGITS, noise=noise), expected)


@pytest.mark.parametrize("temperature", [0.1, np.float64(0.1), np.float32(0.25), 1])
def test_the_temperature_is_saved_as_a_tensor(temperature):
    trained, restored = model(), model()
    trained[1].temperature = temperature
    state = saved_and_loaded(trained.state_dict())
    assert all(isinstance(x, torch.Tensor) for x in state.values())
    assert restored.load_state_dict(state) == torch.nn.Module().load_state_dict({})
    assert restored[1].temperature == float(temperature)
    assert restored[1].estimator == trained[1].estimator


def test_a_checkpoint_without_the_temperature():
    state = saved_and_loaded(torch.nn.Sequential(torch.nn.Linear(3, 4)).state_dict())
    restored = model(0.7)
    restored.load_state_dict(state, strict=True)
    assert restored[1].temperature == 0.7
    torch.testing.assert_close(restored[0].weight, state["0.weight"])
    del state["0.bias"]
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "0\.bias"\. *$'):
        restored.load_state_dict(state, strict=True)
    with pytest.raises(RuntimeError, match=r"1\.gain"):
        restored.load_state_dict(model().state_dict() | {"1.gain": torch.ones(())})


def test_a_checkpoint_with_a_dictionary():
    state = model().state_dict()
    state["1._extra_state"] = {"temperature": 0.3}
    restored = model()
    restored.load_state_dict(saved_and_loaded(state))
    assert restored[1].temperature == 0.3
