r"""The law of a one-hot vector by its log-probabilities, for frameworks to differentiate.

The category axis is the last one. A forbidden category, with log-probability -inf, counts as the
limit does (:math:`0 \log 0 = 0`) and makes no derivative NaN: of ``where`` both branches are
finite wherever a derivative is taken through them.
"""

import math

from rbgs.arrays.inputs import check_broadcast, check_like, wide_dtype
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.rows import nan_unless
from rbgs.arrays.scalars import as_float
from rbgs.arrays.settings import with_own_settings
from rbgs.arrays.typing import Array


def check_unimix(unimix: float) -> float:
    """Return the share of the uniform distribution as a float; raise unless it is in [0, 1]."""
    share = as_float("unimix", unimix)
    if not isinstance(share, float):
        raise TypeError(
            f"unimix must be a float, the same for all rows, got {type(share).__name__}"
        )
    if not 0 <= share <= 1:
        raise ValueError(f"unimix must lie in [0, 1], got {share}")
    return share


@with_own_settings
def log_probabilities(logits: Array, mask: Array | None = None, unimix: float = 0.0) -> Array:
    r"""Return :math:`\log((1 - u) \operatorname{softmax}(\theta) + u / m)`.

    Parameters
    ----------
    logits : floating array ``(..., n)``
        Unnormalised log-probabilities; -inf forbids a category.
    mask : bool array, optional
        True where a category is allowed; broadcasts against the logits.
    unimix : float
        The share u of the uniform distribution over the m allowed categories, in [0, 1].

    Returns
    -------
    array ``(..., n)``
        Normalised, of the dtype of the logits, computed in float32 at least: -inf where a category
        is forbidden. A row with NaN or +inf, or without an allowed category, has a NaN.

    References
    ----------
    Hafner, Pasukonis, Ba, Lillicrap (2023). Mastering diverse domains through world models.
    arXiv 2301.04104.
    """
    share, xp = check_unimix(unimix), array_namespace(logits)
    wide = xp.astype(logits, wide_dtype(logits), copy=False)
    if mask is not None:
        check_like("mask", mask, logits, "bool")
        check_broadcast("mask", tuple(mask.shape), tuple(logits.shape))
        wide = xp.where(mask, wide, -math.inf)
    allowed = wide != -math.inf
    shifted = xp.where(allowed, wide - xp.max(wide, axis=-1, keepdims=True), 0.0)
    weights = xp.where(allowed, xp.exp(shifted), 0.0)
    found = shifted - xp.log(xp.sum(weights, axis=-1, keepdims=True))
    count = xp.sum(xp.astype(allowed, wide.dtype), axis=-1, keepdims=True)
    if share > 0:
        of_softmax = math.log1p(-share) if share < 1 else -math.inf
        found = xp.logaddexp(found + of_softmax, math.log(share) - xp.log(count))
    forbidden = nan_unless(count > 0, wide) - math.inf
    return xp.astype(xp.where(allowed, found, forbidden), logits.dtype, copy=False)


def _check_categories(name: str, x: Array, log_probs: Array) -> None:
    """Raise unless the last axis is as long: one of size 1 would broadcast."""
    n = log_probs.shape[-1]
    if tuple(x.shape[-1:]) != (n,):
        raise ValueError(
            f"{name} has shape {tuple(x.shape)}; its last axis must be that of the {n} categories"
        )


def _allowed(log_probs: Array) -> tuple[Array, Array]:
    """Return where categories are allowed (or NaN), and the log-probabilities, elsewhere 0."""
    allowed = log_probs != -math.inf
    return allowed, array_namespace(log_probs).where(allowed, log_probs, 0.0)


@with_own_settings
def log_prob(log_probs: Array, value: Array) -> Array:
    """Return the log-probability of one-hot values: linear in them, -inf for forbidden ones.

    Its derivative for the value, which a sample carries on, is the log-probabilities.
    """
    xp = array_namespace(log_probs)
    _check_categories("value", value, log_probs)
    value = xp.astype(value, log_probs.dtype, copy=False)
    allowed, finite = _allowed(log_probs)
    impossible = xp.any((value > 0) & ~allowed, axis=-1)
    return xp.where(impossible, -math.inf, xp.sum(value * finite, axis=-1))


@with_own_settings
def entropy(log_probs: Array) -> Array:
    r"""Return :math:`-\sum_i p_i \log p_i`."""
    xp = array_namespace(log_probs)
    allowed, finite = _allowed(log_probs)
    return -xp.sum(xp.where(allowed, xp.exp(finite), 0.0) * finite, axis=-1)


@with_own_settings
def divergence(log_p: Array, log_q: Array) -> Array:
    r"""Return :math:`\sum_i p_i \log (p_i / q_i)`, infinite where q alone forbids a category."""
    xp = array_namespace(log_p, log_q)
    _check_categories("the second distribution", log_q, log_p)
    (in_p, log_p), (in_q, log_q) = _allowed(log_p), _allowed(log_q)
    terms = xp.where(in_p, xp.exp(log_p) * (log_p - log_q), 0.0)
    return xp.where(xp.any(in_p & ~in_q, axis=-1), math.inf, xp.sum(terms, axis=-1))
