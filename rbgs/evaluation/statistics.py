"""Mean and spread of a stream of estimates, and the moments of their error with a jackknife."""

from collections.abc import Iterable
from typing import NamedTuple

from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.settings import with_own_settings
from rbgs.arrays.typing import Array


class Summary(NamedTuple):
    """Of weighted estimates: their weight, mean ``(..., d)`` and squared deviations ``(...,)``."""

    weight: Array
    mean: Array
    spread: Array


class Known(NamedTuple):
    """A mean ``(..., d)``, the variance of one estimate, and how far it enters that of the mean."""

    mean: Array
    variance: Array | float
    noise: Array | float


class Measured(NamedTuple):
    """What is known, and the same without each group of draws, along a new leading axis.

    The second is None where nothing was drawn.
    """

    whole: Known
    left: Known | None = None


class ErrorMoments(NamedTuple):
    """Those of `rbgs.Moments`."""

    bias2: Array
    bias2_se: Array
    variance: Array
    variance_se: Array
    mse: Array
    mse_se: Array


def summarise(chunks: Iterable[tuple[Array, Array]]) -> Summary:
    """Return the summary of chunks of estimates ``(count, ..., d)`` and weights ``(count, ...)``.

    What has weight 0 does not count, whatever it is.
    """
    found: Summary | None = None
    for estimates, weights in chunks:
        found = _take_in(found, estimates, weights)
    assert found is not None
    return found


@with_own_settings
def _take_in(before: Summary | None, estimates: Array, weights: Array) -> Summary:
    xp = array_namespace(estimates)
    weights = weights[..., None]
    estimates = xp.where(weights > 0, estimates, 0.0)
    weight = xp.sum(weights, axis=0)
    mean = xp.sum(weights * estimates, axis=0) / xp.where(weight > 0, weight, 1.0)
    spread = xp.sum(weights * (estimates - mean) ** 2, axis=(0, -1))
    weight = weight[..., 0]
    if before is None:
        return Summary(weight, mean, spread)
    total = before.weight + weight
    share = weight / xp.where(total > 0, total, 1.0)
    step = mean - before.mean
    between = before.weight * share * xp.sum(step**2, axis=-1)
    return Summary(total, before.mean + step * share[..., None], before.spread + spread + between)


@with_own_settings
def sampled(groups: list[Summary]) -> Measured:
    """Return what groups of draws say, each draw of weight 1."""
    xp = array_namespace(groups[0].mean)
    weights, means, spreads = (xp.stack(list(each)) for each in zip(*groups, strict=True))
    total = xp.sum(weights, axis=0)
    mean = xp.sum(weights[..., None] * means, axis=0) / total[..., None]
    offsets = weights * xp.sum((means - mean[None, ...]) ** 2, axis=-1)
    spread = xp.sum(spreads + offsets, axis=0)
    left = total[None, ...] - weights
    means_left = total[None, ..., None] * mean[None, ...] - weights[..., None] * means
    spreads_left = spread[None, ...] - spreads - offsets * total / left

    def known(count: Array, mean: Array, spread: Array) -> Known:
        variance = spread / (count - 1)
        return Known(mean, variance, variance / count)

    return Measured(
        known(total, mean, spread), known(left, means_left / left[..., None], spreads_left)
    )


@with_own_settings
def enumerated(outcomes: Summary) -> Measured:
    """Return what all outcomes say, weighted by their probabilities."""
    return Measured(Known(outcomes.mean, outcomes.spread / outcomes.weight, 0.0))


@with_own_settings
def error_moments(found: Measured, target: Measured) -> ErrorMoments:
    """Return squared bias, variance and mean squared error, each with its standard error."""
    xp = array_namespace(found.whole.mean)

    def statistics(estimate: Known, truth: Known) -> tuple[Array, ...]:
        bias2 = xp.sum((estimate.mean - truth.mean) ** 2, axis=-1)
        bias2 = bias2 - estimate.noise - truth.noise
        variance = xp.broadcast_to(estimate.variance, bias2.shape)
        return bias2, variance, bias2 + variance

    values = statistics(found.whole, target.whole)
    if found.left is None and target.left is None:
        return ErrorMoments(*(x for value in values for x in (value, xp.zeros_like(value))))
    left = statistics(found.left or found.whole, target.left or target.whole)
    pairs = zip(values, map(_jackknife, left), strict=True)
    return ErrorMoments(*(x for pair in pairs for x in pair))


def _jackknife(without: Array) -> Array:
    """Return the standard error of a statistic from its values without each group."""
    xp = array_namespace(without)
    groups = without.shape[0]
    without = without - without[:1, ...]  # so that what is constant leaves no rounding
    deviations = without - xp.mean(without, axis=0, keepdims=True)
    return xp.sqrt(xp.sum(deviations**2, axis=0) * ((groups - 1) / groups))
