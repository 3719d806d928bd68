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
from rbgs.compiled.math import exp, log
from rbgs.compiled.vectors import is_any, lanes_of, load, select, spread, sqrt, store

# Newton steps at most, and what tilt may be left where the coins need only show about k.
_STEPS, _ENOUGH = 30, 0.1
# Against the rounding error: what may be left of the sum behind the last frequency.
_MISSED = 32


class Coins(NamedTuple):
    """Arrays of one block: first the n elements that were not taken, then the k that were.

    Each kind has an even number of vectors, the last of them with odds of 0. ``relative`` are the
    odds before the tilt; ``p``, ``q``, ``t``, ``w`` and ``wt`` of those after it. In the end, ``p``
    has sums and products of two.
    """

    relative: Any
    p: Any
    q: Any
    t: Any
    w: Any
    wt: Any
    vec: Any
    total: Any


class Sums(NamedTuple):
    """Of each frequency 1 - cos and sin; vectors of complex numbers; and a place to work in.

    First those are the product of all d, and the sums of w D and of w t D; then they become
    omega and alpha, their imaginary parts times the sine and the real part of alpha times
    1 - cos.
    """

    cosine: Any
    sine: Any
    re: Any
    im: Any
    of_w: Any
    of_wt: Any
    near: Any
    scratch: Any


@inlined
def _toss(coins, begin, end, factor, over_categories):
    """Write p and q of odds times a factor; return their sums, and that of q times the vector."""
    zero = factor - factor
    p_total, q_total, dot = zero, zero, zero
    for at in range(begin, end, lanes_of(coins.p)):
        odds = load(coins.relative, at) * factor
        inverse = 1 / (1 + odds)
        p = odds * inverse
        q = p * inverse
        store(coins.p, at, p)
        store(coins.q, at, q)
        p_total, q_total = p_total + p, q_total + q
        dot = dot + q * load(coins.vec, at)
    return (
        sum_of(p_total, over_categories),
        sum_of(q_total, over_categories),
        sum_of(dot, over_categories),
    )


@inlined
def toss(coins, size, tilt, precise, over_categories):
    """Write p and q of coins of which k show 1 on average.

    Nearly k, unless ``precise``. As many of those taken are to be wrong as of the others: the ratio
    falls with the tilt by 1 to 2 in logarithm, so Newton's method needs no safeguard. It starts
    from where it ended in the sample before, beside what is exact if all odds are small. Returned
    are the tilt, the sums of q of both kinds, and the mean of the vector with the weights q.
    """
    lanes = lanes_of(coins.p)
    zero = spread(coins.p.dtype.type(0), coins.p)
    tiny = np.finfo(coins.p.dtype).tiny
    enough = coins.p.dtype.type(np.sqrt(np.finfo(coins.p.dtype).eps) if precise else _ENOUGH)
    others, taken = zero, zero
    for at in range(0, size, lanes):
        others = others + load(coins.relative, at)
    for at in range(size, coins.p.size, lanes):
        taken = taken + load(coins.relative, at)
    others, taken = sum_of(others, over_categories), sum_of(taken, over_categories)
    start = sqrt(taken / others)
    # Without others there is no choice.
    is_open = others > tiny
    inverse, start = select(is_open, 1 / start, zero), select(is_open, start, zero)
    settled = False
    q0, q1, dot = zero, zero, zero
    for _ in range(_STEPS):
        p0, q0, dot0 = _toss(coins, 0, size, start * exp(tilt), over_categories)
        p1, q1, dot1 = _toss(coins, size, coins.p.size, inverse * exp(zero - tilt), over_categories)
        dot = dot0 + dot1
        p0, p1 = select(p0 > tiny, p0, tiny), select(p1 > tiny, p1, tiny)
        step = log(p1 / p0) / (q0 / p0 + q1 / p1)
        square = step * step
        # NaN in a row that cannot be answered.
        step = select(square > 0, step, 0)
        if settled:
            break
        settled = not is_any(square > enough * enough)
        tilt = tilt + step
        if settled and not precise:
            break
    q_total = q0 + q1
    mean = dot / select(q_total > tiny, q_total, tiny)
    return tilt, q0, q1, mean


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
        re, im = load(sums.re, f * lanes), load(sums.im, f * lanes)
        a_re, a_im = (
            load(sums.of_wt, f * lanes) * -sums.cosine[f],
            load(sums.of_w, f * lanes) * sums.sine[f],
        )
        total, mean = total + re, mean + (re * a_re - im * a_im)
        store(sums.of_wt, f * lanes, a_re)
        store(sums.of_w, f * lanes, a_im)
    first = 1 / (1 + total + total)
    mean = (mean + mean) * first
    for f in range(used):
        re, im = (
            load(sums.re, f * lanes) * (first + first),
            load(sums.im, f * lanes) * (first + first),
        )
        a_re, a_im = load(sums.of_wt, f * lanes) - mean, load(sums.of_w, f * lanes)
        c, s = sums.cosine[f], sums.sine[f]
        store(sums.re, f * lanes, re)
        store(sums.near, f * lanes, re * (2 - c))
        store(sums.im, f * lanes, im * s)
        store(sums.of_wt, f * lanes, (re * a_re - im * a_im) * c)
        store(sums.of_w, f * lanes, (re * a_im + im * a_re) * s)
    return first


@inlined
def _add(coins, sums, used, first):
    """Add to the product what the frequencies contribute."""
    lanes = lanes_of(coins.p)
    for at in range(0, coins.p.size, 2 * lanes):
        beside = at + lanes
        q, q1 = load(coins.q, at), load(coins.q, beside)
        t, t1 = load(coins.t, at), load(coins.t, beside)
        of_w, of_q = first, first - first
        of_w1, of_q1 = first, first - first
        for f in range(0, used * lanes, lanes):
            c = sums.cosine[f // lanes]
            norm, norm1 = 1 - q * (2 * c), 1 - q1 * (2 * c)
            both = 1 / (norm * norm1)
            d, d1 = both * norm1, both * norm
            re, im, near = load(sums.re, f), load(sums.im, f), load(sums.near, f)
            of_w = of_w + d * (d * (near - im * t) - re)
            of_w1 = of_w1 + d1 * (d1 * (near - im * t1) - re)
            a, b = load(sums.of_wt, f), load(sums.of_w, f)
            of_q = of_q + d * (a * t + b)
            of_q1 = of_q1 + d1 * (a * t1 + b)
        added = load(coins.w, at) * of_w - q * of_q + load(coins.total, at)
        added1 = load(coins.w, beside) * of_w1 - q1 * of_q1 + load(coins.total, beside)
        store(coins.total, at, added)
        store(coins.total, beside, added1)


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


@inlined
def add_binary_entropy(coins, mean):
    """Add the Jacobian of the coins themselves times the vector."""
    for at in range(0, coins.p.size, lanes_of(coins.p)):
        added = load(coins.q, at) * (load(coins.vec, at) - mean)
        store(coins.total, at, load(coins.total, at) + added)
