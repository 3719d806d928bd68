"""The autodiff system of the tutorial trains a model with `draw.vjp` and with `draw.jvp`."""

import numpy as np
import pytest
from array_api_compat import size
from backends import to_numpy
from documents import TUTORIALS, cells, definitions

import rbgs

tape = definitions(*cells(TUTORIALS / "autodiff.md"))
Dual, Node = tape.Dual, tape.Node
ESTIMATOR = rbgs.GumbelRao(0.5, samples=4)


def loss(encoder, decoder, x, key):
    code = tape.sample(ESTIMATOR, tape.matmul(x, encoder), rng=key)
    return tape.squared_error(tape.matmul(code, decoder), x.value)


def reverse(xp, encoder, decoder, x, key):
    e, d = Node(encoder), Node(decoder)
    result = loss(e, d, Node(x), key)
    result.backward(xp.ones_like(result.value))
    return result.value, e.cotangent, d.cotangent


def forward(xp, encoder, decoder, x, key):
    """Return the same by one tangent for each parameter."""
    parameters = (encoder, decoder)
    gradients = []
    for which, parameter in enumerate(parameters):
        entries = []
        for unit in np.eye(size(parameter)):
            tangents = [xp.zeros_like(p) for p in parameters]
            tangents[which] = xp.asarray(unit.reshape(parameter.shape))
            e, d = (Dual(p, t) for p, t in zip(parameters, tangents, strict=True))
            result = loss(e, d, Dual(x, xp.zeros_like(x)), key)
            entries.append(result.tangent)
        gradients.append(xp.reshape(xp.stack(entries), parameter.shape))
    return result.value, *gradients


@pytest.mark.parametrize("mode", [reverse, forward])
def test_a_model_is_trained(xp, mode):
    steps = 150 if mode is reverse else 60
    x = xp.asarray(np.tile([[2.0, 0], [-2, 0], [0, 2], [0, -2]], (16, 1)))
    encoder = xp.asarray(0.1 * np.random.default_rng(0).normal(size=(2, 4)))
    decoder = xp.zeros((4, 2), dtype=xp.float64)
    losses = []
    for step in range(steps):
        value, of_encoder, of_decoder = mode(xp, encoder, decoder, x, rbgs.Key(step))
        encoder, decoder = encoder - of_encoder, decoder - of_decoder
        losses.append(float(value))
    assert losses[0] == 2
    assert np.mean(losses[-10:]) < 0.2


def test_both_modes_agree(xp):
    random = np.random.default_rng(1)
    arrays = [xp.asarray(random.normal(size=shape)) for shape in ((2, 4), (4, 2), (8, 2))]
    for a, b in zip(*(mode(xp, *arrays, rbgs.Key(1)) for mode in (reverse, forward)), strict=True):
        np.testing.assert_allclose(to_numpy(a), to_numpy(b), atol=1e-12)
