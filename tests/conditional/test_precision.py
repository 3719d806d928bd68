"""Single precision gives what double precision gives, at low temperatures and for rare events."""

import numpy as np
import pytest
from backends import to_numpy
from scipy import stats

import rbgs
from rbgs.conditional.samples import ConditionalSamples

RNG = np.random.default_rng(0)
LOGITS = (2 * RNG.normal(size=(2000, 5))).astype(np.float32)
VECTOR = RNG.normal(size=LOGITS.shape).astype(np.float32)
LOW = (1e-2, 1e-3, 1e-4, 1e-6)


def products(xp, estimator, logits, vector, **given):
    return [
        to_numpy(
            estimator.sample(
                xp.asarray(logits, dtype=dtype),
                **{name: xp.asarray(x, dtype=dtype) for name, x in given.items()},
            ).vjp(xp.asarray(vector, dtype=dtype))
        )
        for dtype in (xp.float32, xp.float64)
    ]


@pytest.mark.parametrize("temperature", LOW)
def test_the_exact_operator(xp, temperature):
    estimator = rbgs.GumbelRao(temperature, sampling="exact")
    logits, vector = LOGITS[:20], VECTOR[:20]
    noise = RNG.random(logits.shape).astype(np.float32)
    single, double = products(xp, estimator, logits, vector, noise=noise)
    np.testing.assert_allclose(single, double, rtol=2e-5, atol=2e-6)
    index = np.argmax(logits, axis=-1)
    matrices = [
        to_numpy(estimator.sample(xp.asarray(x), index=xp.asarray(index)).jacobian())
        for x in (logits, logits.astype(np.float64))
    ]
    np.testing.assert_allclose(*matrices, rtol=2e-5, atol=2e-6)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("temperature", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("reduced", [None, True, False])
def test_a_common_offset_of_the_cotangent_changes_nothing(xp, temperature, reduced):
    """The Jacobian's rows sum to zero: here is what rounding makes of that, near a corner."""
    if reduced is None:
        estimator = rbgs.StraightThroughGumbelSoftmax(temperature)
    else:
        estimator = rbgs.GumbelRao(temperature, control_variate=reduced)
    # A second category close behind: near-ties at every temperature.
    logits = np.stack([LOGITS[:, 0], LOGITS[:, 0], LOGITS[:, 2]], axis=-1)
    noise = np.random.default_rng(1).random(logits.shape)
    noise[:, 1] = -np.expm1(np.log1p(-noise[:, 0]) * (1 + 2 * temperature))
    noise = noise.astype(np.float32)
    vector = np.tile(np.float32([1.0, 2.0, 4.0]), (len(logits), 1))
    draw = estimator.sample(xp.asarray(logits), noise=xp.asarray(noise))
    plain = temperature * to_numpy(draw.vjp(xp.asarray(vector)))
    offset = temperature * to_numpy(draw.vjp(xp.asarray(vector + np.float32(4096))))
    assert np.abs(plain).max() > (1e-3 * temperature if reduced else 5e-3)
    np.testing.assert_allclose(offset, plain, rtol=0, atol=2e-6)


@pytest.mark.usefixtures("engine")
def test_a_point_of_the_lattice_is_as_fine_as_floats():
    """Where the sum of phase and shift is 1, the digits that it has lost decide."""
    rows, p = 4000, 1e-8
    uniforms = np.random.default_rng(1).random((3, rows))
    uniforms[2] = 0.5  # K = 2: the second point's is 0, but for further digits
    exponentials = -np.log1p(-uniforms).astype(np.float32)
    exponentials[2] = np.float32(np.log(2))
    log_probs = np.log(np.float32([[1.0], [1e-30], [p]])) + np.zeros((3, rows), np.float32)
    points = ConditionalSamples(1.0, 2, log_probs, np.zeros(rows, np.int64), exponentials)
    rival = np.zeros((3, rows), np.float32)
    rival[2] = 1
    weights = -2 * points.product(rival)[0].astype(float)  # s_0 s_2 of the second point
    of_winner = -np.log1p(-((uniforms[0] + 0.5) % 1))
    relative = (1 - 2 * weights - np.sqrt(1 - 4 * weights)) / (2 * weights)  # s_2 / s_0
    drawn = (1 / relative - 1) * p * of_winner
    assert stats.kstest(drawn * 2.0**24, "uniform").pvalue > 1e-3
