"""The gradient of an expectation, by enumeration of the outcomes."""

import math
from collections.abc import Iterator

import numpy as np

from rbgs.arrays.devices import device
from rbgs.arrays.inputs import check_count
from rbgs.arrays.keywords import instead_of
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.oracle import Answer, evaluate
from rbgs.arrays.rows import Rows, read_logits
from rbgs.arrays.settings import own_settings
from rbgs.arrays.typing import Array, Oracle

# Elements of the one-hot values that the oracle is given at once.
_BLOCK = 2**22


@instead_of(dim="axis")
def exact_gradient(
    oracle: Oracle,
    logits: Array,
    *,
    mask: Array | None = None,
    axis: int = -1,
    samples: int = 1,
    max_outcomes: int = 2**16,
) -> Array:
    r"""Return the gradient of :math:`E[f(D)]` for the logits, by evaluating every outcome.

    .. math:: \frac{\partial}{\partial \theta_{lj}} E[f] = \sum_D p(D) \Big(f(D) (D_{lj} - p_{lj})
        + \frac{\partial f(D)}{\partial \theta_{lj}}\Big)

    over the joint outcomes :math:`D = (D_1, \dots, D_L)` of the L variables that share a loss,
    :math:`p(D) = \prod_l p(D_l)`: :math:`n^L` evaluations.

    Parameters
    ----------
    oracle : callable
        ``oracle(value)`` returns the loss, ``(loss, dloss_dvalue)`` or, with its direct gradient
        for the logits, ``(loss, dloss_dvalue, dloss_dlogits)``; the second is not used and may be
        None. The value has a further leading axis, of outcomes, and so have the answers. Behind it
        the loss has the axes of the batch, without the last ones if all variables along them share
        it.
    logits : floating array ``(..., n)``
        Unnormalised log-probabilities.
    mask : bool array, optional
        True where a category is allowed. A category of probability zero adds nothing, whatever its
        loss.
    axis : int
        The category axis.
    samples : int
        Above 1, M: the gradient of the multi-sample bound
        :math:`E[-\log \frac{1}{M} \sum_m e^{-f(D^m)}]` instead, over the :math:`n^{L M}` outcomes
        of M independent draws: what :class:`~rbgs.Vimco` estimates.
    max_outcomes : int
        How many joint outcomes, of one variable any number, are enumerated at most.

    Returns
    -------
    array ``(..., n)``
        The gradient, in the library, dtype and device of the logits.

    Raises
    ------
    TypeError, ValueError
        As in ``sample``; what the oracle returns does not fit the value; or there are more joint
        outcomes than ``max_outcomes``.

    Notes
    -----
    Whether the oracle returns one loss for all variables of an example or one for each of them
    makes a difference: each of them would be put to the same category in the second case, and a
    function of all of them at once would be evaluated there alone.

    Examples
    --------
    >>> import numpy as np, rbgs
    >>> cost = np.asarray([1.0, 2.0, 3.0])
    >>> rbgs.exact_gradient(lambda value: value @ cost, np.zeros(3)).round(4)
    array([-0.3333,  0.    ,  0.3333])

    Two variables share the loss, 1 where they agree:

    >>> logits = np.asarray([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    >>> rbgs.exact_gradient(lambda value: value.prod(axis=-2).sum(axis=-1), logits).round(4)
    array([[ 0.    ,  0.    ,  0.    ],
           [ 0.0809, -0.0405, -0.0405]])
    """
    samples = check_count("samples", samples)
    max_outcomes = check_count("max_outcomes", max_outcomes)
    with own_settings():
        rows = read_logits(logits, mask, axis)
        xp = array_namespace(rows.log_probs)
        probs = rows.split(xp.matrix_transpose(xp.exp(rows.log_probs)), rows.n)
        first, _, _ = joint_outcomes(rows, probs, (), 0, 1)
    # Its loss shows how many variables share one.
    found = evaluate(oracle, _restored(rows, first), rows.axis, leading=1)
    shared = rows.batch[found.loss.ndim - 1 :]
    count = _count(rows.n, math.prod(shared), samples, max_outcomes)

    loss = weight = None
    if samples > 1:
        pairs = [(answer.loss, q) for _, q, answer in _outcomes(oracle, rows, probs, shared, count)]
        with own_settings():
            losses, chances = (xp.concat(list(each), axis=0) for each in zip(*pairs, strict=True))
            loss, weight = _multi_sample(losses, chances, samples)
    with_loss: Array = 0.0
    mean: Array = 0.0
    direct: Array = 0.0
    start = 0
    shared_axes = (..., *(None,) * len(shared), None)
    for outcome, chance, answer in _outcomes(oracle, rows, probs, shared, count):
        with own_settings():
            happens, stop = chance > 0, start + chance.shape[0]
            its_loss = answer.loss if loss is None else loss[start:stop, ...]
            its_loss = xp.astype(its_loss, probs.dtype, copy=False)
            weighted = xp.where(happens, chance * its_loss, 0.0)
            mean = mean + xp.sum(weighted, axis=0)
            with_loss = with_loss + xp.sum(outcome * weighted[shared_axes], axis=0)
            if answer.direct is not None:
                factor = chance if weight is None else chance * weight[start:stop, ...]
                its_direct = xp.astype(answer.direct, probs.dtype, copy=False)
                its_direct = factor[shared_axes] * xp.moveaxis(its_direct, rows.axis, -1)
                its_direct = xp.where(happens[shared_axes], its_direct, 0.0)
                direct = direct + xp.sum(its_direct, axis=0)
            start = stop
    with own_settings():
        return _restored(rows, with_loss - probs * mean[shared_axes] + direct)


def _count(n: int, variables: int, samples: int, most: int) -> int:
    """Return how many joint outcomes one loss has; raise if they are too many to enumerate."""
    joint: int = n ** (variables * samples)
    if variables * samples > 1 and joint > most:
        draws = f", in {samples} draws," if samples > 1 else ""
        raise ValueError(
            f"{variables} variables of {n} categories share a loss: that{draws} is {joint:.4g} "
            f"joint outcomes, more than max_outcomes={most}. Measure on fewer variables or "
            "categories, raise the limit, or compare with an unbiased estimator instead: "
            "reference= of rbgs.compare"
        )
    return int(n**variables)


def _outcomes(
    oracle: Oracle, rows: Rows, probs: Array, shared: tuple[int, ...], count: int
) -> Iterator[tuple[Array, Array, Answer]]:
    """Yield joint outcomes block by block, one-hot with the categories last.

    With them go their probabilities, of the shape of the loss, and the oracle's answers.
    """
    size = max(1, _BLOCK // max(1, rows.n * math.prod(rows.batch)))
    for start in range(0, count, size):
        with own_settings():
            outcome, _, chance = joint_outcomes(
                rows, probs, shared, start, min(start + size, count)
            )
            value = _restored(rows, outcome)
        yield outcome, chance, evaluate(oracle, value, rows.axis, leading=1)


def joint_outcomes(
    rows: Rows, probs: Array, shared: tuple[int, ...], start: int, stop: int
) -> tuple[Array, Array, Array]:
    """Return joint outcomes by their numbers, whose digits to the base n are the categories.

    One-hot with the categories last ``(outcome, *batch, n)``, as indices ``(outcome, *batch)``, and
    their probabilities, of the shape of the loss behind that axis.
    """
    xp, here = array_namespace(probs), device(probs)
    digits = np.arange(start, stop)[:, None] // rows.n ** np.arange(math.prod(shared)) % rows.n
    unshared = (1,) * (len(rows.batch) - len(shared))
    index = xp.asarray(digits.reshape(-1, *unshared, *shared), device=here)
    one_hot = xp.arange(rows.n, dtype=index.dtype, device=here) == index[..., None]
    one_hot = xp.astype(one_hot, probs.dtype)
    chance = xp.sum(one_hot * probs, axis=-1)
    axes = tuple(range(chance.ndim - len(shared), chance.ndim))
    chance = xp.prod(chance, axis=axes) if axes else chance
    batch = (stop - start, *rows.batch)
    return (
        xp.broadcast_to(one_hot, (*batch, rows.n)),
        xp.broadcast_to(index, batch),
        chance,
    )


def _restored(rows: Rows, x: Array) -> Array:
    """Return an array with the categories last in the layout and dtype of the logits.

    It is a copy: an oracle may overwrite it.
    """
    xp = array_namespace(x)
    return xp.moveaxis(xp.astype(x, rows.dtype, copy=True), -1, rows.axis)


def _multi_sample(losses: Array, chances: Array, samples: int) -> tuple[Array, Array]:
    r"""Return what replaces loss and direct gradient of an outcome in the multi-sample bound.

    By symmetry that is M times the mean of the bound, and of
    :math:`e^{-f(D^1)} / \sum_m e^{-f(D^m)}`, over the other draws given the first one.
    """
    xp = array_namespace(chances)
    losses = xp.where(chances > 0, xp.astype(losses, chances.dtype, copy=False), math.inf)
    least = xp.min(losses, axis=0)
    evidence = xp.exp(least - losses)
    others, together = evidence, chances
    for _ in range(samples - 2):
        others = xp.reshape(others[:, None, ...] + evidence, (-1, *least.shape))
        together = xp.reshape(together[:, None, ...] * chances, (-1, *least.shape))
    total = evidence[:, None, ...] + others
    together = samples * together

    def mean(x: Array) -> Array:
        return xp.sum(xp.where(together > 0, together * x, 0.0), axis=1)

    return mean(least - xp.log(total / samples)), mean(evidence[:, None, ...] / total)
