"""The gradient of an expectation, by enumeration of the outcomes."""

import math

from rbgs.arrays.devices import device
from rbgs.arrays.keywords import instead_of
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.oracle import evaluate
from rbgs.arrays.rows import read_logits
from rbgs.arrays.settings import own_settings
from rbgs.arrays.typing import Array, Oracle

# Elements of the one-hot values that the oracle is given at once.
_BLOCK = 2**22


@instead_of(dim="axis")
def exact_gradient(
    oracle: Oracle, logits: Array, *, mask: Array | None = None, axis: int = -1
) -> Array:
    r"""Return the gradient of :math:`E[f(D)]` for the logits, by evaluating every outcome.

    .. math:: \frac{\partial}{\partial \theta_j} \sum_i p_i f(e_i)
        = p_j \Big(f(e_j) - \sum_i p_i f(e_i)\Big)
        + \sum_i p_i \frac{\partial f(e_i)}{\partial \theta_j}

    Parameters
    ----------
    oracle : callable
        ``oracle(value)`` returns the loss and its gradient for the value, and optionally its direct
        gradient for the logits. The value has a further leading axis, of outcomes.
    logits : floating array ``(..., n)``
        Unnormalised log-probabilities.
    mask : bool array, optional
        True where a category is allowed. A category of probability zero adds nothing, whatever its
        loss.
    axis : int
        The category axis.

    Returns
    -------
    array ``(..., n)``
        The gradient, in the library, dtype and device of the logits.

    Raises
    ------
    TypeError, ValueError
        As in ``sample``, or what the oracle returns does not fit the value.

    Examples
    --------
    >>> import numpy as np, rbgs
    >>> cost = np.asarray([1.0, 2.0, 3.0])
    >>> def oracle(value):
    ...     return (value * cost).sum(axis=-1), np.broadcast_to(cost, value.shape)
    >>> rbgs.exact_gradient(oracle, np.zeros(3)).round(4)
    array([-0.3333,  0.    ,  0.3333])
    """
    with own_settings():
        rows = read_logits(logits, mask, axis)
        xp = array_namespace(rows.log_probs)
        probs = xp.exp(rows.log_probs)
    n, dtype = rows.n, probs.dtype
    outcomes = xp.eye(n, dtype=dtype, device=device(probs))
    size = max(1, _BLOCK // max(1, n * math.prod(rows.batch)))
    losses, mean_direct = [], 0.0
    for start in range(0, n, size):
        stop = min(start + size, n)
        count = stop - start
        value = xp.reshape(outcomes[start:stop, :], (count, *(1,) * len(rows.batch), n))
        value = xp.broadcast_to(value, (count, *rows.batch, n))
        value = xp.moveaxis(xp.astype(value, rows.dtype, copy=False), -1, rows.axis)
        loss, _, direct = evaluate(oracle, value, rows.axis)
        with own_settings():
            weight = probs[start:stop, :]
            happens = weight > 0
            loss = rows.merge(xp.astype(loss, dtype, copy=False), count)
            losses.append(xp.where(happens, loss, 0.0))
            if direct is not None:
                direct = xp.moveaxis(xp.astype(direct, dtype, copy=False), rows.axis, 0)
                weighted = weight * rows.merge(direct, n, count)
                mean_direct = mean_direct + xp.sum(xp.where(happens, weighted, 0.0), axis=1)
    loss = xp.concat(losses, axis=0)
    with own_settings():
        return rows.restore(probs * (loss - xp.sum(probs * loss, axis=0)) + mean_direct)
