"""The loops of the compiled engine: see `rbgs.compiled.numpy`.

Each takes rows from ``begin`` to ``end``, a few dozen at a time, one lane each, so that what
belongs to them stays in the first cache.
"""

import numpy as np

from rbgs.compiled.compiler import jit
from rbgs.compiled.math import (
    exp,
    expm1,
    further_bits,
    log,
    log1p,
    threefry,
    uniform_double,
    uniform_single,
)

# Samples whose points are kept between the pass that sums a point and the pass that uses it.
_SAMPLES = 4


@jit
def normalise(log_probs, valid, begin, end, lanes, logits):
    """Write what `rbgs.arrays.rows.normalise` returns."""
    top = np.empty(lanes, logits.dtype)
    total = np.empty(lanes, logits.dtype)
    for first in range(begin, end, lanes):
        last = min(first + lanes, end)
        top[:] = -np.inf
        total[:] = 0
        for j in range(logits.shape[0]):
            x = logits[j, first:last]
            for lane in range(x.shape[0]):
                top[lane] = x[lane] if x[lane] > top[lane] else top[lane]
        for j in range(logits.shape[0]):
            x = logits[j, first:last]
            for lane in range(x.shape[0]):
                total[lane] += exp(x[lane] - top[lane])
        for lane in range(last - first):
            # NaN if one of the logits is NaN or +inf, or all are -inf.
            valid[first + lane] = total[lane] == total[lane]
            total[lane] = log(total[lane])
        for j in range(logits.shape[0]):
            x, y = logits[j, first:last], log_probs[j, first:last]
            for lane in range(x.shape[0]):
                # Not x - (top + log total): next to a large top the logarithm is lost.
                y[lane] = (x[lane] - top[lane]) - total[lane]


@jit
def race(index, winner, remaining, begin, end, lanes, log_probs, uniforms, low, high):
    """Write what `rbgs.conditional.race` returns."""
    n = log_probs.shape[0]
    zero, one = log_probs.dtype.type(0), log_probs.dtype.type(1)
    best = np.empty(lanes, log_probs.dtype)
    winning = np.empty(lanes, np.int32)
    for first in range(begin, end, lanes):
        last = min(first + lanes, end)
        best[:] = -np.inf
        winning[:] = n
        for j in range(n):
            log_prob, drawn = log_probs[j, first:last], uniforms[j, first:last]
            e = remaining[j, first:last]
            for lane in range(e.shape[0]):
                u = drawn[lane]
                u = low if u < low else u
                u = high if u > high else u
                e[lane] = -log1p(-u)
                speed = exp(log_prob[lane]) / e[lane]
                better = speed > best[lane]
                best[lane] = speed if better else best[lane]
                winning[lane] = np.int32(j) if better else winning[lane]
        for lane in range(last - first):
            index[first + lane] = winning[lane]
            best[lane] = one / best[lane]
        for j in range(n):
            log_prob, e, won = (
                log_probs[j, first:last],
                remaining[j, first:last],
                winner[j, first:last],
            )
            for lane in range(e.shape[0]):
                left = e[lane] - exp(log_prob[lane]) * best[lane]
                left = zero if left < zero else left
                here = winning[lane] == j
                e[lane] = best[lane] if here else left
                won[lane] = one if here else zero


@jit
def _pack(block, x, first):
    """Copy the lanes of some rows; behind the last row it is repeated."""
    lanes, rows = block.shape[1], x.shape[1]
    width = min(lanes, rows - first)
    for j in range(x.shape[0]):
        for lane in range(width):
            block[j, lane] = x[j, first + lane]
        for lane in range(width, lanes):
            block[j, lane] = x[j, rows - 1]


@jit
def _fraction(x, lost, one, highest):
    """Return the fractional part of x, with the digits that its sum has lost."""
    below = (x - one if x >= one else x) + lost
    return highest if below > highest else below


@jit
def _from_winner(vec, won, of_winner):
    """Subtract the winner's component: see `rbgs.conditional.samples`."""
    of_winner[:] = 0
    for j in range(vec.shape[0]):
        for lane in range(vec.shape[1]):
            of_winner[lane] += won[j, lane] * vec[j, lane]
    for j in range(vec.shape[0]):
        for lane in range(vec.shape[1]):
            vec[j, lane] -= of_winner[lane]


@jit
def _winners_of_lattice(inverse, start, samples, shift):
    """Write 1 / E_i of some points of the lattice."""
    one = shift.dtype.type(1)
    least = shift.dtype.type(np.finfo(shift.dtype).eps / 4)
    for k in range(inverse.shape[0]):
        phase = shift.dtype.type(start + k) / shift.dtype.type(samples)
        for lane in range(shift.shape[0]):
            u = phase + shift[lane]
            u = u - one if u >= one else u
            inverse[k, lane] = one / -log1p(-(least if u < least else u))


@jit
def _independent(e, k, key):
    """Write all E_j of sample k of the counter-based generator."""
    n, lanes = e.shape
    sample = np.uint32(k)
    if e.itemsize == 4:
        half = (n + 1) // 2
        for j in range(half):
            # With an odd n the last second word has no use: the first one overwrites it.
            other = j + half if j + half < n else j
            for lane in range(lanes):
                k0, k1 = key[0, lane], key[1, lane]
                x, y = threefry(k0, k1, sample, np.uint32(j))
                drawn = uniform_single(y, further_bits(k0, k1, sample, np.uint32(j + half)))
                e[other, lane] = -log1p(-e.dtype.type(drawn))
                drawn = uniform_single(x, further_bits(k0, k1, sample, np.uint32(j)))
                e[j, lane] = -log1p(-e.dtype.type(drawn))
    else:
        for j in range(n):
            for lane in range(lanes):
                x, y = threefry(key[0, lane], key[1, lane], sample, np.uint32(j))
                e[j, lane] = -log1p(-e.dtype.type(uniform_double(x, y)))


@jit
def _inverse_of_winner(inverse, e, winner):
    inverse[:] = 0
    for j in range(e.shape[0]):
        for lane in range(e.shape[1]):
            inverse[lane] += e[j, lane] * winner[j, lane]
    for lane in range(e.shape[1]):
        inverse[lane] = e.dtype.type(1) / inverse[lane]


@jit
def _rates(rate, weight, winner, power, floor):
    """Turn log-probabilities into rates and weights: see `rbgs.conditional.race.race_rates`."""
    one, furthest = rate.dtype.type(1), rate.dtype.type(1000)
    for j in range(rate.shape[0]):
        for lane in range(rate.shape[1]):
            log_prob = rate[j, lane]
            clamped = floor if log_prob < floor else log_prob
            rival = one - winner[j, lane]
            rest = (log_prob - clamped) * rival * -power[lane]
            rest = -furthest if rest < -furthest else rest
            rate[j, lane] = exp(-clamped) * rival
            weight[j, lane] = exp(rest)


@jit
def _whole_power(x, power, one):
    """Return x to a power from 1 to 16."""
    square = x * x
    result = x if power % 2 else one
    result = result * square if power & 2 else result
    square *= square
    result = result * square if power & 4 else result
    square *= square
    result = result * square if power & 8 else result
    return result * square * square if power & 16 else result


@jit
def _rule(powers, weights, rule, temperature, least):
    """Write r^τ and the weights of a quadrature: see `rbgs.conditional.control_variate`."""
    for q in range(rule.shape[1]):
        for lane in range(temperature.shape[0]):
            power = exp(temperature[lane] * rule[1, q])
            powers[q, lane] = least if power < least else power
            weights[q, lane] = temperature[lane] * power * rule[2, q]


@jit
def _constants(others, expected, log_probs, winner, means, rule, powers, weights, share):
    """Write 1 + m_j and E[a_j] of `rbgs.conditional.control_variate` for one block.

    The first rows of ``powers`` and ``weights`` belong to the rule ``means``.
    """
    n, lanes = log_probs.shape
    one = log_probs.dtype.type(1)
    count = means.shape[1]
    p = np.empty(lanes, log_probs.dtype)
    total = np.zeros(lanes, log_probs.dtype)
    others[:] = 0
    expected[:] = 0
    for j in range(n):
        for lane in range(lanes):
            p[lane] = exp(log_probs[j, lane]) * (one - winner[j, lane])
        for q in range(count):
            for lane in range(lanes):
                inverse = one / (powers[q, lane] * (one - p[lane]) + p[lane])
                others[j, lane] += (weights[q, lane] * inverse) * (p[lane] * inverse)
        for lane in range(lanes):
            total[lane] += others[j, lane]
    for j in range(n):
        for lane in range(lanes):
            p[lane] = exp(log_probs[j, lane]) * (one - winner[j, lane])
            others[j, lane] = one + share * (total[lane] - others[j, lane])
        for q in range(rule.shape[1]):
            node = rule[0, q]
            for lane in range(lanes):
                power = powers[count + q, lane]
                below = power * (one - p[lane]) + p[lane]
                inverse = one / (below * (others[j, lane] + node))
                expected[j, lane] += (weights[count + q, lane] * inverse) * (p[lane] * inverse)


@jit
def product(
    out, begin, end, lanes, first_sample, last_sample, log_probs, vector, winner, exponentials,
    temperatures, integer, key, generators, samples, means, rule, share, least, floor, highest,
):  # fmt: skip
    """Write what some of the samples add to the product of `rbgs.conditional.samples`.

    ``temperatures`` has one element or one for each row, ``integer`` is that of
    `rbgs.conditional.race.whole_power`. Empty are ``key`` or ``generators``, and ``means`` and
    ``rule`` without the control variate.
    """
    n, dtype = vector.shape[0], vector.dtype
    zero, one = dtype.type(0), dtype.type(1)
    half_step = dtype.type(np.finfo(dtype).eps / 2)
    lattice, reduced = generators.shape[0] > 0, rule.shape[1] > 0
    rate, weight = np.empty((n, lanes), dtype), np.empty((n, lanes), dtype)
    vec, won = np.empty((n, lanes), dtype), np.empty((n, lanes), dtype)
    shift, total_product = np.empty((n, lanes), dtype), np.empty((n, lanes), dtype)
    others, expected = np.empty((n, lanes), dtype), np.empty((n, lanes), dtype)
    pairs = np.empty((n, lanes), dtype)
    r = np.empty((_SAMPLES, n, lanes), dtype)
    inverse, total = np.empty((_SAMPLES, lanes), dtype), np.empty((_SAMPLES, lanes), dtype)
    dot = np.empty((_SAMPLES, lanes), dtype)
    nodes = means.shape[1] + rule.shape[1]
    powers, weights = np.empty((nodes, lanes), dtype), np.empty((nodes, lanes), dtype)
    temperature, power = np.empty(lanes, dtype), np.empty(lanes, dtype)
    of_winner, change = np.empty(lanes, dtype), np.empty(lanes, dtype)
    keys = np.empty((2, lanes), np.uint32)
    for first in range(begin, end, lanes):
        _pack(vec, vector, first)
        _pack(won, winner, first)
        _from_winner(vec, won, of_winner)
        _pack(rate, log_probs, first)
        _pack(shift, exponentials, first)
        if first == begin or temperatures.shape[0] > 1:
            for lane in range(lanes):
                row = min(first + lane, temperatures.shape[0] - 1)
                temperature[lane] = temperatures[row]
                power[lane] = -one / temperature[lane]
            count = means.shape[1]
            _rule(powers[:count], weights[:count], means, temperature, least)
            _rule(powers[count:], weights[count:], rule, temperature, least)
        if reduced:
            _constants(others, expected, rate, won, means, rule, powers, weights, share)
        _rates(rate, weight, won, power, floor)
        if lattice:
            of_winner[:] = 0
            for j in range(n):
                for lane in range(lanes):
                    shift[j, lane] = -expm1(-shift[j, lane])
                    of_winner[lane] += won[j, lane] * shift[j, lane]
        else:
            _pack(keys, key, first)
        total_product[:] = 0
        pairs[:] = 0
        for start in range(first_sample, last_sample, _SAMPLES):
            count = min(_SAMPLES, last_sample - start)
            if lattice:
                _winners_of_lattice(inverse[:count], start, samples, of_winner)
            else:
                for k in range(count):
                    if start + k > 0:
                        _independent(r[k], start + k, keys)
                    else:
                        r[k] = shift
                    _inverse_of_winner(inverse[k], r[k], won)
            total[:] = 0
            dot[:] = 0
            for j in range(n):
                for k in range(count):
                    if lattice:
                        z = generators[j % generators.shape[0]]
                        phase = dtype.type(z * (start + k) % samples) / dtype.type(samples)
                        for lane in range(lanes):
                            lost = shift[j - 1, lane] * half_step
                            u = _fraction(phase + shift[j, lane], lost, one, one - half_step)
                            r[k, j, lane] = -log1p(-u)
                    # Two loops: with the choice inside, the one is slower.
                    if integer == 0:
                        for lane in range(lanes):
                            ratio = r[k, j, lane] * inverse[k, lane] * rate[j, lane]
                            relative = exp(log1p(ratio) * power[lane]) * weight[j, lane]
                            r[k, j, lane] = relative
                            total[k, lane] += relative
                            dot[k, lane] += relative * vec[j, lane]
                    else:
                        for lane in range(lanes):
                            ratio = r[k, j, lane] * inverse[k, lane] * rate[j, lane]
                            relative = _whole_power(one / (one + ratio), integer, one)
                            relative *= weight[j, lane]
                            r[k, j, lane] = relative
                            total[k, lane] += relative
                            dot[k, lane] += relative * vec[j, lane]
            for k in range(count):
                for lane in range(lanes):
                    total[k, lane] = one / total[k, lane]
                    dot[k, lane] *= total[k, lane]
            for j in range(n):
                for k in range(count):
                    for lane in range(lanes):
                        s = r[k, j, lane] * total[k, lane]
                        total_product[j, lane] += s * (vec[j, lane] - dot[k, lane])
                    if reduced:
                        for lane in range(lanes):
                            whole = one / (others[j, lane] + r[k, j, lane])
                            pairs[j, lane] += r[k, j, lane] * whole * whole
        if reduced:
            drawn = dtype.type(last_sample - first_sample)
            change[:] = 0
            for j in range(n):
                for lane in range(lanes):
                    excess = pairs[j, lane] - drawn * expected[j, lane]
                    moved = excess * vec[j, lane]
                    moved = moved if temperature[lane] <= highest else zero
                    total_product[j, lane] -= moved
                    change[lane] += moved
            # The winner's own term was 0.
            for j in range(n):
                for lane in range(lanes):
                    total_product[j, lane] += won[j, lane] * change[lane]
        for j in range(n):
            for lane in range(min(lanes, end - first)):
                scale = dtype.type(samples) * temperature[lane]
                out[j, first + lane] = total_product[j, lane] / scale
