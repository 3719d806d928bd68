"""A temperature that follows a schedule inside a compiled step."""

import numpy as np
import pytest

import rbgs

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")
door = pytest.importorskip("rbgs.jax")
jnp = jax.numpy

LOGITS = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
COST = jnp.asarray([1.0, 2.0, 4.0])


def gradient(estimator, step):
    key = jax.random.fold_in(jax.random.key(0), step)
    return jax.grad(lambda x: (door.sample(estimator, key, x) @ COST).sum())(LOGITS)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16])
def test_a_schedule_has_one_program(dtype):
    schedule = optax.exponential_decay(1.0, transition_steps=1, decay_rate=0.85, end_value=0.1)
    traced = []

    @jax.jit
    def update(step):
        traced.append(step)
        return gradient(rbgs.StraightThroughGumbelSoftmax(schedule(step).astype(dtype)), step)

    found = [update(step) for step in range(20)]
    assert len(traced) == 1
    last = rbgs.StraightThroughGumbelSoftmax(float(schedule(19).astype(dtype)))
    expected = jax.jit(lambda: gradient(last, 19))()
    np.testing.assert_allclose(found[19], expected, atol=1e-4)


def test_a_schedule_that_reaches_zero_is_noticed():
    """There the limit is another program: what is traced is NaN, a number says what it wants."""
    schedule = optax.linear_schedule(1.0, 0.0, transition_steps=4)

    @jax.jit
    def sample(step):
        return door.sample(rbgs.StraightThroughGumbelSoftmax(schedule(step)), 0, LOGITS)

    assert np.isfinite(sample(3)).all()
    assert np.isnan(sample(4)).all()
    with pytest.raises(ValueError, match="temperature must be"):
        rbgs.StraightThroughGumbelSoftmax(schedule(4))
