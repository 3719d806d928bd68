"""A constant added to the logits changes nothing, up to what their dtype resolves."""

import math

import numpy as np
import pytest
from backends import Backend, to_numpy
from cases import ESTIMATORS, name

import rbgs

LOGITS = [[0.0, 1.0, -2.0], [4.0, 0.0, 2.0]]
# Powers of 2 so large that these logits can just be added exactly.
OFFSETS = {"float64": 2.0**50, "float32": 2.0**21, "float16": 2.0**8, "bfloat16": 2.0**5}


def cost(xp, like):
    """Return the oracle of a loss that is linear in the value."""
    costs = xp.asarray([0.0, 1.0, 3.0], dtype=like.dtype)
    return lambda value: (xp.sum(value * costs, axis=-1), xp.broadcast_to(costs, value.shape))


def check(xp, dtype, gradient):
    """Assert that a function of oracle and logits is the same at all offsets."""
    if not hasattr(xp, dtype):
        pytest.skip(f"the library has no {dtype}")
    logits = xp.asarray(LOGITS, dtype=getattr(xp, dtype))
    oracle = cost(xp, logits)
    expected = to_numpy(gradient(oracle, logits))
    assert np.all(np.isfinite(expected))
    for offset in (OFFSETS[dtype], -OFFSETS[dtype]):
        moved = logits + xp.asarray(offset, dtype=logits.dtype)
        np.testing.assert_allclose(to_numpy(gradient(oracle, moved)), expected, atol=1e-6)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("dtype", OFFSETS)
def test_exact_gradient(xp, dtype):
    check(xp, dtype, rbgs.exact_gradient)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=name)
def test_every_estimator(xp, estimator):
    check(xp, "float32", lambda oracle, logits: estimator.gradient(oracle, logits, rng=0))


@pytest.mark.usefixtures("engine")
def test_far_from_zero_with_a_category_that_is_forbidden(xp):
    logits = xp.asarray([1e7, 1e7, -math.inf], dtype=xp.float32)
    gradient = rbgs.exact_gradient(cost(xp, logits), logits)
    np.testing.assert_allclose(to_numpy(gradient), [-0.25, 0.25, 0.0], atol=1e-6)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("dtype", OFFSETS)
def test_xla_does_not_fold_the_offset_into_log_z(dtype):
    jax = pytest.importorskip("jax")
    xp = Backend.JAX.load()

    def gradient(oracle, logits):
        # The offset is part of the program: taken away and added again inside.
        offset = jax.numpy.max(logits)
        return jax.jit(lambda x, c: rbgs.exact_gradient(oracle, x + c))(logits - offset, offset)

    check(xp, dtype, gradient)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.parametrize("dtype", OFFSETS)
def test_inductor_does_not_fold_the_offset_into_log_z(dtype):
    torch = pytest.importorskip("torch")

    def gradient(oracle, logits):
        return torch.compile(lambda x: rbgs.exact_gradient(oracle, x))(logits)

    check(Backend.TORCH.load(), dtype, gradient)
