"""What a `Sampler` is made of is checked when it is made."""

import numpy as np
import pytest

import rbgs

torch = pytest.importorskip("torch")
door = pytest.importorskip("rbgs.torch")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (rbgs.GumbelRao, "estimator is the class GumbelRao; an instance such as"),
        (0.5, r"estimator is a float; one such as rbgs\.GumbelRao\(0\.5\)"),
        (rbgs.Reinforce(), r"call rbgs\.torch\.expectation\(estimator, loss, logits\), or "),
    ],
)
def test_only_estimators_with_a_derivative(wrong, message):
    with pytest.raises(TypeError, match=message):
        door.Sampler(wrong)


def test_the_temperature_is_a_python_float():
    layer = door.Sampler(rbgs.GumbelRao(np.float32(0.5)))
    assert type(layer.temperature) is float
    layer.temperature = np.float64(0.25)
    assert type(layer.temperature) is float


def test_a_tensor_or_parameter_is_no_temperature():
    layer = door.Sampler(rbgs.GumbelRao(0.5))
    for wrong in (torch.tensor(1.0), torch.nn.Parameter(torch.tensor(1.0))):
        with pytest.raises(TypeError, match=r"is a float, part of its state: .* with a tensor"):
            layer.temperature = wrong
    assert layer.temperature == 0.5
    assert not list(layer.parameters())


def test_names_of_other_doors():
    with pytest.raises(TypeError, match=r"Sampler\.__init__ has no axis=: it is dim= here"):
        door.Sampler(rbgs.GumbelRao(0.5), axis=-1)
    with pytest.raises(TypeError, match=r"Sampler\.forward has no rng=: it is generator= here"):
        door.Sampler(rbgs.GumbelRao(0.5))(torch.zeros(3), rng=0)
    for wrong, right in (
        ("axis", "dim"),
        ("seed", "generator"),
        ("temperature", "tau"),
        ("num_samples", "samples"),
    ):
        with pytest.raises(TypeError, match=f"gumbel_softmax has no {wrong}=: it is {right}= here"):
            door.gumbel_softmax(torch.zeros(3), **{wrong: 1})
