r"""The simplex: softmax, one-hot vectors, and the one derivative rule of the library.

For a point :math:`s` on the simplex the Jacobian of the softmax at temperature :math:`\tau` is
:math:`J_\tau(s) = (\operatorname{diag}(s) - s s^\top) / \tau`. It is symmetric, so one product
serves as Jacobian-vector and as vector-Jacobian product.

Inside the library the category axis is the first one: a sum over categories then adds whole
vectors, one lane for each row.
"""

from array_api_compat import array_namespace, device

from rbgs._typing import Array, Temperature


def log_softmax(logits: Array) -> Array:
    """Return the log-probabilities of ``logits`` along the first axis."""
    xp = array_namespace(logits)
    shifted = logits - xp.max(logits, axis=0)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=0))


def softmax(logits: Array, temperature: Temperature = 1.0) -> Array:
    """Return ``softmax(logits / temperature)`` along the first axis, safe at any temperature."""
    xp = array_namespace(logits)
    shifted = logits - xp.max(logits, axis=0)
    # exp(-1000) is 0 in double precision: what lies lower would only overflow in the division.
    lowest = -1000.0 * temperature
    weights = xp.exp(xp.where(shifted < lowest, lowest, shifted) / temperature)
    return weights / xp.sum(weights, axis=0)


def is_category(index: Array, n: int) -> Array:
    """Return the boolean one-hot vectors ``(n, ...)`` of ``index``; all False outside 0..n-1."""
    xp = array_namespace(index)
    categories = xp.arange(n, dtype=index.dtype, device=device(index))
    return xp.reshape(categories, (n, *(1,) * index.ndim)) == index


def jacobian_product(points: Array, vector: Array, temperature: Temperature) -> Array:
    r"""Return :math:`J_\tau(s) v = (s \circ v - s \langle s, v \rangle) / \tau`."""
    xp = array_namespace(points, vector)
    weighted = points * vector
    return (weighted - points * xp.sum(weighted, axis=0)) / temperature
