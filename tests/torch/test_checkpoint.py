"""Activation checkpointing: which source of random numbers gives the second draw of the first."""

import pytest

import rbgs

torch = pytest.importorskip("torch")
from torch.utils.checkpoint import checkpoint  # noqa: E402

import rbgs.torch  # noqa: E402

ESTIMATOR = rbgs.GumbelRao(0.5)
COST = torch.arange(5.0)
SOURCES = {
    "None": lambda: None,
    "Key": lambda: rbgs.Key(3),
    "seed": lambda: 3,
    "generator": lambda: torch.Generator().manual_seed(3),
}


def gradient(source, **options):
    """Return the gradient of a loss, evaluated a second time where options are given."""
    torch.manual_seed(0)
    logits, generator = torch.zeros(100, 5, requires_grad=True), source()

    def loss(logits):
        return (rbgs.torch.sample(ESTIMATOR, logits, generator=generator) @ COST).square().sum()

    (checkpoint(loss, logits, **options) if options else loss(logits)).backward()
    return logits.grad


@pytest.mark.parametrize("use_reentrant", [False, True])
@pytest.mark.parametrize("name", SOURCES)
def test_only_a_generator_draws_anew(name, use_reentrant):
    plain = gradient(SOURCES[name])
    again = gradient(SOURCES[name], use_reentrant=use_reentrant)
    assert torch.equal(plain, again) == (name != "generator")
