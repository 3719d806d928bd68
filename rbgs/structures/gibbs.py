r"""The marginals of the Gibbs law over k-subsets, and their derivative.

The law has the probability of a subset proportional to :math:`e^{\sum u_e}` over its elements, and
so is that of independent coins with :math:`p_e = \sigma(u_e - c)`, given that k of them show 1. Any
c will do; the one with :math:`\sum_e p_e = k` makes that likely. Given k is a Fourier sum over
:math:`z_f = e^{2 \pi i f / F}`: with :math:`d_e = 1 - p_e + p_e z` and :math:`q_e = p_e (1 - p_e)`,

.. math::

    \varphi_f = \prod_e d_e, \quad \omega_f = \frac{\varphi_f z_f^{-k}}{\sum \varphi z^{-k}}, \quad
    \mu_e = p_e + q_e \operatorname{Re} \sum_f \omega_f \frac{z_f - 1}{d_e}.

The derivative is the covariance of the law. With :math:`A_f = \langle p, v \rangle +
(z_f - 1) \sum_e q_e v_e / d_e`, whose mean under :math:`\omega` is :math:`\langle \mu, v \rangle`,

.. math::

    (J v)_e = q_e \operatorname{Re} \sum_f \omega_f \Big( \frac{z_f v_e}{d_e^2}
        + (A_f - \langle \mu, v \rangle) \frac{z_f - 1}{d_e} \Big).

Terms f and F - f are conjugates, so half of them are computed.
"""

import math
from dataclasses import dataclass
from typing import Any

from rbgs.arrays.devices import device
from rbgs.arrays.loops import block_elements, over_blocks
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.simplex import clamp
from rbgs.arrays.tracing import is_traced_by_torch
from rbgs.arrays.typing import Array

_NEWTON_STEPS = 6
# Beyond this a coin's odds cannot be told from certainty.
_FURTHEST = 1000.0


def frequency_count(n: int, k: int, eps: float) -> int:
    r"""Return F, odd: so many frequencies tell k from what lies F away.

    The number of coins that show 1 has the mean k and a variance :math:`s^2 \le k (1 - k / n)`. By
    Bernstein's inequality it is F or more away with a probability below
    :math:`2 \exp(-F^2 / (2 s^2 + 2 F / 3))`: far below eps, beside the probability of k itself.
    """
    variance = k * (1 - k / n)
    wanted = 3 - math.log(eps)
    bound = wanted / 3 + math.sqrt(wanted**2 / 9 + 2 * wanted * variance)
    # None is further away than that.
    return 2 * (min(math.ceil(bound), max(k, n - k) + 1) // 2) + 1


@dataclass(frozen=True)
class Coins:
    """Independent coins: p, and its product with 1 - p, of the shape of the utilities."""

    heads: Array
    variances: Array


def _toss(utilities: Array, shift: Array) -> tuple[Array, Array, Array]:
    """Return p = σ(u - c), 1 - p, and their product."""
    xp = array_namespace(utilities)
    x = utilities - shift
    small = xp.exp(-xp.abs(x))
    large = 1 / (1 + small)
    small = small * large
    is_likely = x > 0
    return xp.where(is_likely, large, small), xp.where(is_likely, small, large), small * large


def coins(utilities: Array, taken: Array) -> Coins:
    """Return coins of which as many show 1, on average, as elements are taken.

    Parameters
    ----------
    utilities : array ``(n, count, rows)``
        Relative to the least one that is taken; -inf forbids an element.
    taken : bool array ``(n, 1, rows)``
        The elements of the largest utilities. Both kinds are there, in rows that are valid.

    Notes
    -----
    The coins are to be wrong about the elements taken as often as about the others. The logarithm
    of the ratio falls with c, by 1 to 2 for each unit: Newton's method needs no safeguard.
    """
    xp = array_namespace(utilities)
    near = clamp(utilities, low=-_FURTHEST, high=_FURTHEST)
    first_beyond = xp.max(xp.where(taken, -_FURTHEST, near), axis=0)
    shift = first_beyond / 2
    tiny = xp.finfo(utilities.dtype).smallest_normal
    for _ in range(_NEWTON_STEPS):
        heads, tails, variances = _toss(near, shift)
        false_tails = clamp(xp.sum(xp.where(taken, tails, 0.0), axis=0), low=tiny)
        false_heads = clamp(xp.sum(xp.where(taken, 0.0, heads), axis=0), low=tiny)
        of_tails = xp.sum(xp.where(taken, variances, 0.0), axis=0) / false_tails
        of_heads = xp.sum(xp.where(taken, 0.0, variances), axis=0) / false_heads
        slope = clamp(of_tails + of_heads, low=1.0)
        shift = shift + xp.log(false_heads / false_tails) / slope
    heads, _, variances = _toss(near, shift)
    is_allowed = utilities > -math.inf
    return Coins(xp.where(is_allowed, heads, 0.0), xp.where(is_allowed, variances, 0.0))


def centred(found: Coins, vector: Array) -> Array:
    """Return a vector without its mean under q: no relaxation sees what elements have in common."""
    xp, q = array_namespace(vector), found.variances
    tiny = xp.finfo(q.dtype).smallest_normal
    return vector - xp.sum(q * vector, axis=0) / clamp(xp.sum(q, axis=0), low=tiny)


def marginals(found: Coins, k: int) -> Array:
    """Return the probabilities that coins show 1, given that k of them do."""
    angles, size = _angles(found, k)

    def multiply(_: Any, block: tuple[Array, ...]) -> tuple[Any, Complex]:
        return (), _product(found, block[0], k)

    def add(total: Array, block: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        at, *omega = block
        factor = _beside(_times((omega[0], omega[1]), _turn_less_one(at)))
        terms = _times(factor, _inverse(found, at))
        return total + array_namespace(at).sum(terms[0], axis=0), ()

    _, products = over_blocks((angles,), size, multiply, (), found.heads)
    zero = array_namespace(angles).zeros_like(found.heads)
    total, _ = over_blocks((angles, *_weights(*products)), size, add, zero, found.heads)
    return found.heads + found.variances * total


def covariance_product(found: Coins, k: int, vector: Array) -> Array:
    """Return the covariance of coins, given that k of them show 1, times a vector."""
    xp, q = array_namespace(found.heads), found.variances
    vector = centred(found, vector)
    of_vector, (angles, size) = q * vector, _angles(found, k)

    def transform(_: Any, block: tuple[Array, ...]) -> tuple[Any, tuple[Array, ...]]:
        sums = (xp.sum(of_vector * part, axis=1) for part in _inverse(found, block[0]))
        return (), (*_product(found, block[0], k), *sums)

    def add(total: Array, block: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        at, re, im, *alpha = block
        inverse, less_one = _inverse(found, at), _turn_less_one(at)
        of_square = _times(_beside(_times((re, im), (less_one[0] + 1, less_one[1]))), inverse)
        of_rest = _beside(_times((alpha[0], alpha[1]), less_one))
        terms = _times(
            (of_square[0] * vector + of_rest[0], of_square[1] * vector + of_rest[1]), inverse
        )
        return total + xp.sum(terms[0], axis=0), ()

    _, (re, im, *sums) = over_blocks((angles,), size, transform, (), q)
    omega, turned = _weights(re, im), _times(_turn_less_one(angles), (sums[0], sums[1]))
    mean = xp.sum(_times(omega, turned)[0], axis=0)
    alpha = _times(omega, (turned[0] - mean, turned[1]))
    total, _ = over_blocks((angles, *omega, *alpha), size, add, xp.zeros_like(q), q)
    return q * total


Complex = tuple[Array, Array]  # real and imaginary part: not every compiler has complex numbers


def _times(x: Complex, y: Complex) -> Complex:
    return x[0] * y[0] - x[1] * y[1], x[0] * y[1] + x[1] * y[0]


def _beside(x: Complex) -> Complex:
    """Return numbers ``(f, count, rows)`` beside those of elements ``(f, n, count, rows)``."""
    return x[0][:, None, ...], x[1][:, None, ...]


def _turn_less_one(angles: Array) -> Complex:
    """Return z - 1."""
    xp = array_namespace(angles)
    return xp.cos(angles) - 1, xp.sin(angles)


def _angles(found: Coins, k: int) -> tuple[Array, int]:
    """Return the angles of half of the frequencies ``(f, 1, 1)``, and how many make a block."""
    like = found.heads
    xp, (n, count, rows) = array_namespace(like), like.shape
    frequencies = frequency_count(int(n), k, float(xp.finfo(like.dtype).eps))
    half = frequencies // 2 + 1
    numbers = xp.arange(half, dtype=like.dtype, device=device(like))
    angles = (numbers * (2 * math.pi / frequencies))[:, None, None]
    if is_traced_by_torch(like):  # its program has a part for each block
        return angles, half
    return angles, max(1, block_elements(xp) // max(1, int(n) * int(count) * int(rows)))


def _coordinates(found: Coins, angles: Array) -> Complex:
    """Return d, ``(f, n, count, rows)``."""
    xp, angles = array_namespace(angles), angles[:, None, ...]
    return 1 - found.heads * (1 - xp.cos(angles)), found.heads * xp.sin(angles)


def _inverse(found: Coins, angles: Array) -> Complex:
    """Return 1 / d."""
    xp = array_namespace(angles)
    re, im = _coordinates(found, angles)
    norm = 1 - 2 * found.variances * (1 - xp.cos(angles[:, None, ...]))
    return re / norm, -im / norm


def _product(found: Coins, angles: Array, k: int) -> Complex:
    """Return the product of d over the elements, times z to the power -k: ``(f, count, rows)``."""
    xp = array_namespace(angles)
    re, im = _coordinates(found, angles)
    while (n := re.shape[1]) > 1:
        half, rest = n // 2, n - n % 2
        first, second = (
            (re[:, part, ...], im[:, part, ...]) for part in (slice(0, half), slice(half, rest))
        )
        product = _times(first, second)
        if n % 2:
            product = tuple(
                xp.concat([part, x[:, -1:, ...]], axis=1)
                for part, x in zip(product, (re, im), strict=True)
            )
        re, im = product
    power = (xp.cos(k * angles), -xp.sin(k * angles))
    return _times((re[:, 0, ...], im[:, 0, ...]), power)


def _weights(re: Array, im: Array) -> Complex:
    """Return omega, that of a conjugate pair for one of them."""
    xp = array_namespace(re)
    total = 2 * xp.sum(re, axis=0) - re[0, ...]
    once = xp.concat([re[:1, ...], 2 * re[1:, ...]], axis=0)
    return once / total, 2 * im / total
