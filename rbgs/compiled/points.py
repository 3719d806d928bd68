"""The points given the outcome, of a lattice or of a counter-based generator.

See `rbgs.conditional.samples`; how arrays lie, `rbgs.compiled.blocks`.
"""

import numba as nb
import numpy as np

from rbgs.compiled.blocks import sizes_of
from rbgs.compiled.compiler import inlined, precise
from rbgs.compiled.math import exp, further_bits, log1p, threefry, uniform_double, uniform_single
from rbgs.compiled.vectors import (
    as_bits_of,
    convert,
    lanes_of,
    load,
    load_beside,
    select,
    spread,
    store,
)
from rbgs.conditional.lattice import GENERATORS


@inlined
def fill_phases(phases, generators, start, count, samples, used):
    """Write frac(k z / K) for ``count`` samples k from ``start`` on, and the generators z."""
    place = np.empty(GENERATORS, np.int32)
    for i in range(GENERATORS):
        place[i] = np.int64(generators[i]) * start % samples
    for i in range(0, used, lanes_of(phases)):
        like = spread(phases.dtype.type(samples), phases)
        z, at = load_beside(generators, i, like), load_beside(place, i, like)
        for k in range(count):
            store(phases, k * GENERATORS + i, convert(at, phases.dtype) / like)
            at = at + z
            at = select(at < samples, at, at - samples)


def _independent(e, words, k, n, keys, numbers, over_categories):
    """Write all E_j of sample k of the counter-based generator.

    ``numbers`` are those of `rbgs.compiled.blocks.category_numbers`.
    """
    raise NotImplementedError


@precise(_independent)
def _(e, words, k, n, keys, numbers, over_categories):
    def single(e, words, k, n, keys, numbers, over_categories):
        # A pair of words serves two categories.
        half = (n + 1) // 2
        zero, number = spread(e.dtype.type(0), e), as_bits_of(numbers[0], np.uint32)
        sample = (number ^ number) | k
        for at in range(0, sizes_of(e, half, over_categories)[0], lanes_of(e)):
            x, y = threefry(keys[0], keys[1], sample, number)
            drawn = uniform_single(x, further_bits(keys[0], keys[1], sample, number))
            store(e, at, zero - log1p(zero - drawn))
            drawn = uniform_single(y, further_bits(keys[0], keys[1], sample, number + half))
            store(words, at, zero - log1p(zero - drawn))
            number = number + numbers[1]
        first = half if over_categories else half * lanes_of(e)
        for i in range(first, e.size):
            e[i] = words[i - first]

    def double(e, words, k, n, keys, numbers, over_categories):
        zero, number = spread(e.dtype.type(0), e), as_bits_of(numbers[0], np.uint32)
        sample = (number ^ number) | k
        for at in range(0, e.size, lanes_of(e)):
            x, y = threefry(keys[0], keys[1], sample, number)
            store(e, at, zero - log1p(zero - uniform_double(x, y)))
            number = number + numbers[1]

    return single if e.dtype == nb.float32 else double


@inlined
def _whole_power(x, power):
    """Return x to a power from 1 on."""
    while not power & 1:
        x = x * x
        power >>= 1
    result = x
    while power > 1:
        x = x * x
        power >>= 1
        if power & 1:
            result = result * x
    return result


@inlined
def relative_weight(ratio, weight, power, integer):
    """Return the weight of a category relative to the winner's."""
    if integer == 0:
        return exp(log1p(ratio) * power) * weight
    return _whole_power(1 / (ratio + 1), integer) * weight


@inlined
def fraction(x, lost, half_step):
    """Return the fractional part of x, with the digits that its sum has lost."""
    below = select(x < 1, x, x - 1) + lost
    return select(below < 1 - half_step, below, 1 - half_step)


@inlined
def draw(e, words, drawn, k, n, keys, numbers, over_categories):
    """Write all E_j of a sample: those given for the first one."""
    if k > 0:
        _independent(e, words, k, n, keys, numbers, over_categories)
    else:
        for at in range(0, e.size, lanes_of(e)):
            store(e, at, load(drawn, at))
