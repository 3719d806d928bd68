"""Bias, variance and mean squared error of estimators, with standard errors."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rbgs.arrays.devices import device
from rbgs.arrays.inputs import check_count, detached
from rbgs.arrays.keywords import instead_of
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.rows import Rows, read_logits
from rbgs.arrays.settings import own_settings, with_own_settings
from rbgs.arrays.typing import Array, Generator, Namespace, Oracle
from rbgs.estimators.base import Estimator, check_estimator
from rbgs.evaluation.exact import exact_gradient
from rbgs.random.noise import split
from rbgs.random.source import check_source

# Draws are dealt to groups, whose spread gives the standard errors; within a group they are taken
# in chunks of this many elements.
_GROUPS = 64
_CHUNK = 2**16


@dataclass(frozen=True, eq=False)
class Moments:
    """Bias, variance and mean squared error of one estimator, for each row of logits.

    All are sums over the categories, of the batch's shape, in the units of the squared gradient;
    each ``*_se`` is the standard error of what it is named after.

    Attributes
    ----------
    estimator : Estimator
        Whose moments these are.
    draws : int
        Over how many draws; 0 where all outcomes were enumerated instead.
    bias2, bias2_se : array ``(...,)``
        Squared bias. It is estimated without bias, so it can come out below zero.
    variance, variance_se : array ``(...,)``
        Trace of the covariance matrix.
    mse, mse_se : array ``(...,)``
        Mean squared error, ``bias2 + variance``.
    """

    estimator: Estimator
    draws: int
    bias2: Array
    bias2_se: Array
    variance: Array
    variance_se: Array
    mse: Array
    mse_se: Array


@instead_of(dim="axis", generator="rng", key="rng")
def compare(
    estimators: Sequence[Estimator],
    oracle: Oracle,
    logits: Array,
    *,
    draws: int,
    rng: Generator,
    mask: Array | None = None,
    axis: int = -1,
) -> list[Moments]:
    r"""Measure bias, variance and mean squared error against the enumerated gradient.

    With gradient estimates :math:`g_t`, their mean :math:`\bar g`, the exact gradient
    :math:`\nabla` and T draws,

    .. math::

        \operatorname{variance} = \frac{1}{T - 1} \sum_t |g_t - \bar g|^2, \quad
        \operatorname{bias}^2 = |\bar g - \nabla|^2 - \frac{\operatorname{variance}}{T}, \quad
        \operatorname{mse} = \operatorname{bias}^2 + \operatorname{variance},

    all three unbiased. Standard errors are the jackknife's over 64 groups of draws. The moments
    are streamed: memory does not grow with the number of draws. An estimator that is a function of
    the outcome alone, such as :class:`~rbgs.StraightThrough` or exact :class:`~rbgs.GumbelRao`, is
    not drawn from: its outcomes are enumerated, and its standard errors are 0.

    Parameters
    ----------
    estimators : sequence of Estimator
        What to compare. With an int seed or a JAX key all of them get the same randomness.
    oracle : callable
        ``oracle(value)`` returns the loss and its gradient for the value, and optionally its direct
        gradient for the logits. The value has a further leading axis, of draws. PyTorch's record
        of how the answer was computed is dropped.
    logits : floating array ``(..., n)``
        Unnormalised log-probabilities.
    draws : int
        Gradient estimates for each row, at least 4; standard errors want some hundreds.
    rng : generator, key or int seed
        See ``sample``.
    mask : bool array, optional
        True where a category is allowed.
    axis : int
        The category axis.

    Returns
    -------
    list of Moments
        In the order of the estimators; float64 where the library and device have it.

    Raises
    ------
    TypeError, ValueError
        As in ``gradient``, or ``draws`` is below 4, or there is no sequence of estimators.

    Examples
    --------
    >>> import numpy as np, rbgs
    >>> target = np.asarray([0.1, 0.2, 0.7])
    >>> def oracle(value):
    ...     return ((value - target) ** 2).sum(axis=-1), 2 * (value - target)
    >>> one, many = rbgs.compare(
    ...     [rbgs.StraightThroughGumbelSoftmax(0.5), rbgs.GumbelRao(0.5, samples=100)],
    ...     oracle, np.zeros(3), draws=2000, rng=0)
    >>> bool(many.variance < one.variance)
    True
    """
    draws = check_count("draws", draws, 4)
    if isinstance(estimators, Estimator) or not isinstance(estimators, Iterable):
        raise TypeError(
            f"estimators is {estimators!r}; a list such as [rbgs.GumbelRao(0.5)] is wanted"
        )
    estimators = list(estimators)
    for estimator in estimators:
        check_estimator("one of the estimators", estimator)
    oracle = _without_record(oracle)
    exact = exact_gradient(oracle, logits, mask=mask, axis=axis)
    with own_settings():
        rows = read_logits(logits, mask, axis)
    rng = check_source("rng", rng, logits)
    axis = rows.axis
    xp = array_namespace(exact)
    groups = min(_GROUPS, draws // 2)
    sizes = [draws // groups + (group < draws % groups) for group in range(groups)]
    chunk = max(1, _CHUNK // max(1, math.prod(logits.shape)))
    calls = sum(math.ceil(size / chunk) for size in sizes)

    moments = []
    for estimator in estimators:
        if estimator._function_of_outcome and rows.n <= draws:
            moments.append(_enumerate(estimator, oracle, logits, exact, rows, mask))
            continue
        sources = iter(split(rng, calls))

        def estimates(
            count: int, estimator: Estimator = estimator, sources: Iterator[Generator] = sources
        ) -> Iterator[Array]:
            for start in range(0, count, chunk):
                shape = (min(chunk, count - start), *logits.shape)
                many = xp.broadcast_to(logits, shape)
                error = (
                    estimator.gradient(oracle, many, rng=next(sources), mask=mask, axis=axis)
                    - exact[None, ...]
                )
                yield xp.astype(xp.moveaxis(error, axis, -1), _widest(xp, exact), copy=False)

        parts = [_accumulate(estimates(size)) for size in sizes]
        moments.append(_moments(estimator, sizes, parts))
    return moments


def _without_record(oracle: Oracle) -> Oracle:
    def answer(value: Array) -> tuple[Array, ...]:
        found = oracle(value)
        return tuple(map(detached, found)) if isinstance(found, tuple) else found

    return answer


def _widest(xp: Namespace, x: Array) -> object:
    known = xp.__array_namespace_info__().dtypes(device=device(x), kind="real floating")
    return known.get("float64", xp.float32)


def _accumulate(chunks: Iterator[Array]) -> tuple[Array, Array]:
    """Return the mean ``(..., n)`` and the sum of squared deviations from it ``(...,)``."""
    count, mean, spread = 0, 0.0, 0.0
    for chunk in chunks:
        mean, spread = _take_in(chunk, count, mean, spread)
        count += chunk.shape[0]
    return mean, spread


@with_own_settings
def _take_in(chunk: Array, count: int, mean: Array, spread: Array) -> tuple[Array, Array]:
    """Take further estimates into the mean and the spread of so many before."""
    xp = array_namespace(chunk)
    size = chunk.shape[0]
    its_mean = xp.mean(chunk, axis=0)
    its_spread = xp.sum((chunk - its_mean) ** 2, axis=(0, -1))
    step = its_mean - mean
    spread = spread + its_spread + xp.sum(step**2, axis=-1) * (count * size / (count + size))
    return mean + step * (size / (count + size)), spread


def _enumerate(
    estimator: Estimator,
    oracle: Oracle,
    logits: Array,
    exact: Array,
    rows: Rows,
    mask: Array | None,
) -> Moments:
    """Return the moments of an estimator that depends on the outcome alone: no draws, no error."""
    xp = array_namespace(exact)
    dtype = _widest(xp, exact)

    def wide(x: Array) -> Array:
        return xp.astype(x, dtype, copy=False)

    estimates = xp.stack(
        [
            wide(
                xp.moveaxis(
                    estimator.gradient(oracle, logits, index=i, mask=mask, axis=rows.axis),
                    rows.axis,
                    -1,
                )
            )
            for i in range(rows.n)
        ]
    )
    with own_settings():
        errors = estimates - wide(xp.moveaxis(exact, rows.axis, -1))
        probs = rows.split(xp.matrix_transpose(wide(xp.exp(rows.log_probs))), rows.n)
        probs = xp.moveaxis(probs, -1, 0)[..., None]
        errors = xp.where(probs == 0, 0.0, errors)
        bias = xp.sum(probs * errors, axis=0)
        bias2 = xp.sum(bias**2, axis=-1)
        variance = xp.sum(probs * (errors - bias) ** 2, axis=(0, -1))
    none = xp.zeros_like(bias2)
    return Moments(estimator, 0, bias2, none, variance, none, bias2 + variance, none)


@with_own_settings
def _moments(estimator: Estimator, sizes: list[int], parts: list[tuple[Array, Array]]) -> Moments:
    xp = array_namespace(parts[0][0])
    means = xp.stack([mean for mean, _ in parts])  # (group, ..., n)
    spreads = xp.stack([spread for _, spread in parts])  # (group, ...)
    total = sum(sizes)
    weights = xp.asarray(sizes, dtype=means.dtype, device=device(means))
    weights = xp.reshape(weights, (-1, *(1,) * (spreads.ndim - 1)))  # (group, 1...)

    mean = xp.sum(weights[..., None] * means, axis=0) / total
    offsets = weights * xp.sum((means - mean[None, ...]) ** 2, axis=-1)
    spread = xp.sum(spreads + offsets, axis=0)
    # The same without one group.
    left = total - weights
    means_left = (total * mean[None, ...] - weights[..., None] * means) / left[..., None]
    spreads_left = spread[None, ...] - spreads - offsets * total / left

    def statistics(count: Array | int, mean: Array, spread: Array) -> tuple[Array, Array, Array]:
        variance = spread / (count - 1)
        bias2 = xp.sum(mean**2, axis=-1) - variance / count
        return bias2, variance, bias2 + variance

    groups = len(sizes)
    results: list[Array] = []
    for whole, without in zip(
        statistics(total, mean, spread), statistics(left, means_left, spreads_left), strict=True
    ):
        deviations = without - xp.mean(without, axis=0, keepdims=True)
        error = xp.sqrt(xp.sum(deviations**2, axis=0) * ((groups - 1) / groups))
        results += [whole, error]
    return Moments(estimator, total, *results)
