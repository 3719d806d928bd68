r"""The Jacobian of relaxed k-subsets in the compiled engine: see `rbgs.structures.gibbs`.

With :math:`z = e^{i \theta_f}`, :math:`c = 1 - \cos \theta`, :math:`s = \sin \theta`,
:math:`D = 1 / |d|^2 = 1 / (1 - 2 q c)`, :math:`t = 1 - 2 p` and, with v centred, :math:`w = q v`,

.. math::

    A_f = -c \sum_e w t D + i s \sum_e w D, \quad
    (J v)_e = w \omega_0 + \sum_{f > 0} D \big( w ((2 - c) D - 1) \Re \omega - w D t s \Im \omega
        - q (c t \Re \alpha + s \Im \alpha) \big), \quad \alpha = \omega (A - m),

without a term of A that the mean m has, too. An element that was taken counts by its p for not
being there, so that no digits are lost: t changes its sign, and d becomes its conjugate.
"""

from typing import Any, NamedTuple

import numpy as np

from rbgs.compiled.blocks import sum_of
from rbgs.compiled.compiler import inlined, jit
from rbgs.compiled.vectors import lanes_of, load, spread, store

# Against the rounding error: what may be left of the sum behind the last frequency.
_MISSED = 32


class Sums(NamedTuple):
    """Of each frequency 1 - cos and sin; vectors of complex numbers; and a place to work in.

    First those are the product of all d, and the sums of w D and of w t D. Then they become omega
    and alpha: the imaginary parts times the sine, the real part of alpha times 1 - cos, and that of
    omega as it is and, ``near``, times 1 + cos.
    """

    cosine: Any
    sine: Any
    re: Any
    im: Any
    of_w: Any
    of_wt: Any
    near: Any
    scratch: Any


@jit
def count_frequencies(of_others, of_taken, smallest, furthest, eps):
    """Return F, odd, and how many of the frequencies 1 to (F - 1) / 2 matter.

    The coins' errors are no more often F too many or too few than the difference of two variables
    of Poisson's law, whose variances are at most those of the others and those of the taken, and
    never more than ``furthest``. The factors of the sum's terms are at most
    ``exp(-smallest * (1 - cos))``, with the least variance of all of them.
    """
    distance, more, less = 1, 1.0, 1.0
    product, mean = 4 * of_others * of_taken, of_others - of_taken
    while more + less > _MISSED * eps and distance <= furthest:
        distance += 1
        above, below = distance + mean, distance - mean
        more *= 2 * of_others / (above + np.sqrt(above * above + product))
        less *= 2 * of_taken / (below + np.sqrt(below * below + product))
    count = (distance + 1) // 2
    angle = 2 * np.pi / (2 * count + 1)
    used = 1
    while used < count and smallest * (1 - np.cos((used + 1) * angle)) < -np.log(eps):
        used += 1
    return 2 * count + 1, used


@inlined
def _largest(of_lanes, x, sign):
    """Return the largest number of all lanes, or with the sign -1 the least; NaN does not count."""
    store(of_lanes, 0, x * sign)
    result = -np.inf
    for lane in range(of_lanes.size):
        result = of_lanes[lane] if of_lanes[lane] > result else result
    return result * sign


@inlined
def _prepare_frequencies(sums, of_others, of_taken, furthest, known):
    """Write the cosines and sines for all lanes; return their number and F, which was ``known``."""
    scratch = sums.scratch[: lanes_of(sums.re)]
    most_of_others, most_of_taken = _largest(scratch, of_others, 1), _largest(scratch, of_taken, 1)
    smallest = _largest(scratch, of_others + of_taken, -1)
    eps = np.finfo(sums.re.dtype).eps
    found, used = count_frequencies(most_of_others, most_of_taken, smallest, furthest, eps)
    if found != known:
        for f in range(found // 2):
            angle = 2 * np.pi * (f + 1) / found
            sums.cosine[f], sums.sine[f] = 2 * np.sin(angle / 2) ** 2, np.sin(angle)
    return used, found


@inlined
def _transform(coins, sums, size, f, over_categories):
    """Write the product of all d, and the sums of w D and w t D, of a frequency."""
    lanes = lanes_of(coins.p)
    c = sums.cosine[f]
    twice = 2 * c
    zero = spread(coins.p.dtype.type(0), coins.p)
    re, im, of_w, of_wt = zero + 1, zero, zero, zero
    for part in range(2):
        begin, end = (size, coins.p.size) if part else (0, size)
        s = -sums.sine[f] if part else sums.sine[f]
        for at in range(begin, end, 2 * lanes):
            beside = at + lanes
            # Two at a time share one division.
            norm0, norm1 = 1 - load(coins.q, at) * twice, 1 - load(coins.q, beside) * twice
            both = 1 / (norm0 * norm1)
            of_w = of_w + (load(coins.w, at) * norm1 + load(coins.w, beside) * norm0) * both
            of_wt = of_wt + (load(coins.wt, at) * norm1 + load(coins.wt, beside) * norm0) * both
            product = load(coins.p, beside) * twice
            linear = load(coins.p, at) - product
            d_re, d_im = 1 - linear * c - product, linear * s
            re, im = re * d_re - im * d_im, re * d_im + im * d_re
    if over_categories:
        re, im = _product_of_lanes(sums.scratch, re, im)
    store(sums.re, f * lanes, re)
    store(sums.im, f * lanes, im)
    store(sums.of_w, f * lanes, sum_of(of_w, over_categories))
    store(sums.of_wt, f * lanes, sum_of(of_wt, over_categories))


@inlined
def _product_of_lanes(scratch, re, im):
    """Return the product of the complex numbers in all lanes."""
    lanes = lanes_of(scratch)
    distance = lanes // 2
    while distance:
        store(scratch, 0, re)
        store(scratch, lanes, re)
        other_re = load(scratch, distance)
        store(scratch, 0, im)
        store(scratch, lanes, im)
        other_im = load(scratch, distance)
        re, im = re * other_re - im * other_im, re * other_im + im * other_re
        distance //= 2
    return re, im


@inlined
def _weigh(sums, used):
    """Turn the sums of all frequencies into what multiplies the elements; return omega of 0."""
    lanes = lanes_of(sums.re)
    zero = spread(sums.re.dtype.type(0), sums.re)
    total, mean = zero, zero
    for f in range(used):
        at, c, s = f * lanes, sums.cosine[f], sums.sine[f]
        re, im = load(sums.re, at), load(sums.im, at)
        a_re, a_im = load(sums.of_wt, at) * -c, load(sums.of_w, at) * s
        total, mean = total + re, mean + (re * a_re - im * a_im)
        store(sums.of_wt, at, a_re)
        store(sums.of_w, at, a_im)
    # Each of these frequencies stands for its conjugate, too.
    first = 1 / (1 + total + total)
    twice = first + first
    mean = mean * twice
    for f in range(used):
        at, c, s = f * lanes, sums.cosine[f], sums.sine[f]
        re, im = load(sums.re, at) * twice, load(sums.im, at) * twice
        a_re, a_im = load(sums.of_wt, at) - mean, load(sums.of_w, at)
        store(sums.re, at, re)
        store(sums.near, at, re * (2 - c))
        store(sums.im, at, im * s)
        store(sums.of_wt, at, (re * a_re - im * a_im) * c)
        store(sums.of_w, at, (re * a_im + im * a_re) * s)
    return first


@inlined
def _add(coins, sums, used, first):
    """Add to the product what the frequencies contribute."""
    lanes = lanes_of(coins.p)
    for at in range(0, coins.p.size, 2 * lanes):
        beside = at + lanes
        q0, q1 = load(coins.q, at), load(coins.q, beside)
        t0, t1 = load(coins.t, at), load(coins.t, beside)
        of_w0, of_w1, of_q0, of_q1 = first, first, first - first, first - first
        for f in range(used):
            twice, place = 2 * sums.cosine[f], f * lanes
            norm0, norm1 = 1 - q0 * twice, 1 - q1 * twice
            both = 1 / (norm0 * norm1)
            d0, d1 = both * norm1, both * norm0
            re, im, near = load(sums.re, place), load(sums.im, place), load(sums.near, place)
            of_w0 = of_w0 + d0 * (d0 * (near - im * t0) - re)
            of_w1 = of_w1 + d1 * (d1 * (near - im * t1) - re)
            x, y = load(sums.of_wt, place), load(sums.of_w, place)
            of_q0, of_q1 = of_q0 + d0 * (x * t0 + y), of_q1 + d1 * (x * t1 + y)
        added = load(coins.w, at) * of_w0 - q0 * of_q0
        store(coins.total, at, load(coins.total, at) + added)
        added = load(coins.w, beside) * of_w1 - q1 * of_q1
        store(coins.total, beside, load(coins.total, beside) + added)


@inlined
def _combine(coins, size, mean):
    """Write what the frequencies have in common."""
    lanes = lanes_of(coins.p)
    for at in range(0, coins.p.size, 2 * lanes):
        sign, beside = 1 if at < size else -1, at + lanes
        p0, p1 = load(coins.p, at), load(coins.p, beside)
        t0, t1 = (1 - p0 * 2) * sign, (1 - p1 * 2) * sign
        w0 = load(coins.q, at) * (load(coins.vec, at) - mean)
        w1 = load(coins.q, beside) * (load(coins.vec, beside) - mean)
        store(coins.t, at, t0)
        store(coins.t, beside, t1)
        store(coins.w, at, w0)
        store(coins.w, beside, w1)
        store(coins.wt, at, w0 * t0)
        store(coins.wt, beside, w1 * t1)
        store(coins.p, at, p0 + p1)
        store(coins.p, beside, p0 * p1)


@inlined
def add_gibbs(coins, sums, size, of_others, of_taken, mean, furthest, known, over_categories):
    """Add the Jacobian of the marginals of Gibbs's law times the vector; return F."""
    _combine(coins, size, mean)
    used, found = _prepare_frequencies(sums, of_others, of_taken, furthest, known)
    for f in range(used):
        _transform(coins, sums, size, f, over_categories)
    _add(coins, sums, used, _weigh(sums, used))
    return found
