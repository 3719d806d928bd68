"""Comparing estimators: bias, variance and mean squared error, with standard errors."""

from collections.abc import Iterable, Sequence

from rbgs.arrays.keywords import instead_of
from rbgs.arrays.typing import Array, Generator, Oracle
from rbgs.estimators.base import Estimator, check_estimator
from rbgs.evaluation.comparison import Comparison
from rbgs.evaluation.measurement import Measurement


@instead_of(dim="axis", generator="rng", key="rng", seed="rng")
def compare(
    estimators: Sequence[Estimator],
    oracle: Oracle,
    logits: Array,
    *,
    draws: int,
    rng: Generator,
    mask: Array | None = None,
    axis: int = -1,
    reference: Estimator | None = None,
    reference_draws: int | None = None,
    max_outcomes: int = 2**16,
) -> Comparison:
    r"""Measure bias, variance and mean squared error of gradient estimates.

    With gradient estimates :math:`g_t`, their mean :math:`\bar g`, the exact gradient
    :math:`\nabla` and T draws,

    .. math::

        & \operatorname{variance} = \frac{1}{T - 1} \sum_t |g_t - \bar g|^2, \\
        & \operatorname{bias}^2 = |\bar g - \nabla|^2 - \frac{\operatorname{variance}}{T}, \\
        & \operatorname{mse} = \operatorname{bias}^2 + \operatorname{variance},

    all three unbiased. Standard errors are the jackknife's over 64 groups of draws; where the bias
    is zero, that of its square is too large, by a factor of up to :math:`\sqrt 2`. The moments are
    streamed: memory does not grow with the number of draws. An estimator that is a function of
    the outcome alone, such as :class:`~rbgs.StraightThrough` or exact :class:`~rbgs.GumbelRao`, is
    not drawn from if it has at most T outcomes, joint ones where variables share a loss: they are
    enumerated, and its standard errors are 0.

    Parameters
    ----------
    estimators : sequence of Estimator
        What to compare. All draw the same ``structure``, if they have one; its relaxations may
        differ. With an int seed or a key all of them get the same randomness. What has
        state, such as :class:`~rbgs.RunningMean`, goes on from it.
    oracle : callable
        ``oracle(value)`` returns what it does for ``gradient``. The value has a further leading
        axis, of draws, and so have the answers; for an estimator that evaluates the loss at several
        points at once, one more before it. PyTorch's record of how the answer was computed is
        dropped.
    logits : floating array ``(..., n)``
        Unnormalised log-probabilities.
    draws : int
        Gradient estimates for each loss, at least 4; standard errors want some hundreds.
    rng : generator, key or int seed
        Where the randomness comes from: see :meth:`rbgs.Estimator.sample`.
    mask : bool array ``(..., n)``, optional
        True where a category is allowed; broadcasts against the logits.
    axis : int
        The category axis.
    reference : Estimator, optional
        Instead of the exact gradient, which is enumerated: an unbiased estimator, such as
        ``rbgs.Reinforce("leave_one_out", samples=8)``. The mean of R independent estimates stands
        for :math:`\nabla`; their variance over R is taken off the squared bias too, which stays
        unbiased, and each group of the jackknife is one of both, so that the standard errors
        include those of the reference.
    reference_draws : int, optional
        R, at least 4; by default as many as ``draws``.
    max_outcomes : int
        How many joint outcomes are enumerated at most: see :func:`exact_gradient`.

    Returns
    -------
    Comparison
        The :class:`Moments` in the order of the estimators, float64 where the library and device
        have it. It prints as a table.

    Raises
    ------
    TypeError, ValueError
        As in ``gradient``; ``draws`` is below 4; there is no sequence of estimators; there are too
        many joint outcomes; estimators have different structures; the reference is biased, or
        estimates something else.

    Notes
    -----
    For an estimator of the multi-sample bound, :class:`~rbgs.Vimco`, the exact gradient is that of
    the bound.

    References
    ----------
    Efron, Stein (1981). The jackknife estimate of variance. Annals of Statistics 9.

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

    Thirty variables share a loss, far too many to enumerate:

    >>> def oracle(value):
    ...     excess = value[..., 0].sum(axis=-1) - 12  # of those in the first category
    ...     first = np.asarray([1.0, 0.0, 0.0])
    ...     return excess**2, 2 * excess[..., None, None] * np.broadcast_to(first, value.shape)
    >>> comparison = rbgs.compare(
    ...     [rbgs.GumbelRao(1.0), rbgs.Reinforce()], oracle, np.zeros((30, 3)), draws=500, rng=0,
    ...     reference=rbgs.Reinforce("leave_one_out", samples=8))
    >>> bool(comparison[0].mse < comparison[1].mse)
    True
    """
    if isinstance(estimators, Estimator) or not isinstance(estimators, Iterable):
        raise TypeError(
            f"estimators is {estimators!r}; a list such as [rbgs.GumbelRao(0.5)] is wanted"
        )
    estimators = list(estimators)
    for estimator in estimators:
        check_estimator("one of the estimators", estimator)
    measurement = Measurement(
        estimators, oracle, logits, draws, rng, mask, axis, reference, reference_draws, max_outcomes
    )
    return Comparison(map(measurement.moments, estimators))
