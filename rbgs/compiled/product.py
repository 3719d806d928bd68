"""The compiled engine's product of the operator with a vector: see `rbgs.conditional.samples`.

Each block of rows takes its samples one after the other: a pass over the categories for the sums,
and one for what the sample adds to the product.
"""

from typing import Any, NamedTuple

import numpy as np

from rbgs.compiled.blocks import (
    category_numbers,
    pack,
    pack_rows,
    sizes_of,
    sum_of,
    unpack,
    write_one_hot,
)
from rbgs.compiled.compiler import inlined, jit
from rbgs.compiled.control_variate import write_constants, write_rule
from rbgs.compiled.math import exp, expm1, log1p
from rbgs.compiled.points import draw, fill_phases, fraction, relative_weight
from rbgs.compiled.vectors import is_any, lanes_of, load, load_beside, select, spread, store
from rbgs.conditional.lattice import GENERATORS

# Samples whose phases are kept.
_SAMPLES = 512


class _Block(NamedTuple):
    """Arrays of one block; before the first category, ``shift`` has the last one."""

    rate: Any
    weight: Any
    vec: Any
    won: Any
    probs: Any
    total: Any
    pairs: Any
    others: Any
    expected: Any
    shift: Any


@inlined
def _prepare(block, floor, temperature, over_categories):
    """Turn log-probabilities into rates and weights, and take the winner's part off the vector.

    See `rbgs.conditional.race.race_rates` and `rbgs.conditional.samples`.
    """
    lanes = lanes_of(block.vec)
    zero = spread(block.vec.dtype.type(0), block.vec)
    power, of_winner, lowest = 1 / temperature, zero, exp(zero + floor)
    for at in range(0, block.vec.size, lanes):
        of_winner = of_winner + load(block.won, at) * load(block.vec, at)
    of_winner = sum_of(of_winner, over_categories)
    for at in range(0, block.vec.size, lanes):
        log_prob, rival = load(block.probs, at), 1 - load(block.won, at)
        p, weight = exp(log_prob), zero + 1
        is_low = log_prob < floor
        rate = rival / select(is_low, lowest, p)
        if is_any(is_low):
            rest = select(is_low, log_prob - floor, 0) * rival * power
            weight = exp(select(rest < -1000, -1000, rest))
        store(block.rate, at, rate)
        store(block.weight, at, weight)
        store(block.probs, at, p * rival)
        store(block.vec, at, load(block.vec, at) - of_winner)
        store(block.total, at, zero)
        store(block.pairs, at, zero)


@inlined
def _make_uniform(block, drawn, n, over_categories):
    """Turn the exponentials of the first point into its uniforms; return the winner's."""
    lanes = lanes_of(drawn)
    zero = spread(drawn.dtype.type(0), drawn)
    of_winner = zero
    for at in range(0, drawn.size, lanes):
        uniform = zero - expm1(zero - load(drawn, at))
        store(drawn, at, uniform)
        of_winner = of_winner + load(block.won, at) * uniform
    # Before the first category comes the last one.
    last = spread(drawn[n - 1], drawn) if over_categories else load(drawn, (n - 1) * lanes)
    store(block.shift, 0, last)
    return sum_of(of_winner, over_categories)


@inlined
def _inverses(block, r, over_categories):
    """Return 1 / E_i of two samples."""
    zero = spread(block.won.dtype.type(0), block.won)
    total0, total1 = zero, zero
    for at in range(0, block.won.size, lanes_of(block.won)):
        won = load(block.won, at)
        total0, total1 = total0 + load(r[0], at) * won, total1 + load(r[1], at) * won
    return 1 / sum_of(total0, over_categories), 1 / sum_of(total1, over_categories)


@inlined
def _finish(block, temperature, samples, count, highest, reduced, over_categories):
    """Turn the sums over samples into the mean of the product."""
    lanes = lanes_of(block.vec)
    scale = 1 / (temperature * samples)
    change = scale - scale
    if reduced:
        for at in range(0, block.vec.size, lanes):
            excess = load(block.pairs, at) - load(block.expected, at) * count
            moved = excess * load(block.vec, at)
            moved = select(temperature > highest, 0, moved)
            store(block.total, at, load(block.total, at) - moved)
            change = change + moved
        change = sum_of(change, over_categories)
    for at in range(0, block.vec.size, lanes):
        # The winner's own term was 0.
        result = load(block.total, at) + load(block.won, at) * change
        store(block.total, at, result * scale)


@inlined
def _first_pass(block, r, inverses, phases, at0, at1, over_categories, lattice, power, integer):
    """Write the relative weights of two samples; return their sums and those times the vector."""
    lanes = lanes_of(block.vec)
    zero = spread(block.vec.dtype.type(0), block.vec)
    half_step = block.vec.dtype.type(np.finfo(block.vec.dtype).eps / 2)
    total0, total1, dot0, dot1 = zero, zero, zero, zero
    before = block.shift.size - block.vec.size - (1 if over_categories else lanes)
    column, step = 0, lanes if over_categories else 1
    for at in range(0, block.vec.size, lanes):
        if lattice:
            drawn = load(block.shift, lanes + at)
            lost = load(block.shift, before + at) * half_step
            if over_categories:
                phase0, phase1 = load(phases, at0 + column), load(phases, at1 + column)
            else:
                phase0 = spread(phases[at0 + column], phases)
                phase1 = spread(phases[at1 + column], phases)
            column = (column + step) % GENERATORS
            e0 = log1p(zero - fraction(phase0 + drawn, lost, half_step))
            e1 = log1p(zero - fraction(phase1 + drawn, lost, half_step))
        else:
            e0, e1 = load(r[0], at), load(r[1], at)
        rate, weight, vec = load(block.rate, at), load(block.weight, at), load(block.vec, at)
        relative0 = relative_weight(e0 * inverses[0] * rate, weight, power, integer)
        relative1 = relative_weight(e1 * inverses[1] * rate, weight, power, integer)
        store(r[0], at, relative0)
        store(r[1], at, relative1)
        total0, total1 = total0 + relative0, total1 + relative1
        dot0, dot1 = dot0 + relative0 * vec, dot1 + relative1 * vec
    total0, total1 = sum_of(total0, over_categories), sum_of(total1, over_categories)
    return total0, total1, sum_of(dot0, over_categories), sum_of(dot1, over_categories)


@inlined
def _second_pass(block, r, inverse0, inverse1, dot0, dot1, used, reduced):
    """Add two samples to the product, the second one if ``used`` is 1 and not if it is 0."""
    inverse1 = inverse1 * used
    for at in range(0, block.vec.size, lanes_of(block.vec)):
        relative0, relative1, vec = load(r[0], at), load(r[1], at), load(block.vec, at)
        added = relative0 * inverse0 * (vec - dot0) + relative1 * inverse1 * (vec - dot1)
        store(block.total, at, load(block.total, at) + added)
        if reduced:
            others = load(block.others, at)
            whole0, whole1 = 1 / (others + relative0), 1 / (others + relative1)
            added = relative0 * whole0 * whole0 + relative1 * used * whole1 * whole1
            store(block.pairs, at, load(block.pairs, at) + added)


@jit
def product(
    out, begin, end, n, over_categories, first_sample, last_sample, log_probs, vector,
    exponentials, index, temperatures, integer, key, generators, samples, means, rule, share, least,
    floor, highest,
):  # fmt: skip
    """Write what some of the samples add to the product of `rbgs.conditional.samples`.

    ``temperatures`` has one element or one for each row, ``integer`` is that of
    `rbgs.conditional.race.whole_power`. Empty are ``key`` or ``generators``, and ``means`` and
    ``rule`` without the control variate.
    """
    dtype, lanes = vector.dtype, lanes_of(vector)
    size, step = sizes_of(vector, n, over_categories)
    rows = vector.size // n
    zero = spread(dtype.type(0), vector)
    least_uniform = dtype.type(np.finfo(dtype).eps / 4)
    lattice, reduced = generators.size > 0, rule.size > 0
    block = _Block(
        np.empty(size, dtype), np.empty(size, dtype), np.empty(size, dtype), np.empty(size, dtype),
        np.empty(size, dtype), np.empty(size, dtype), np.empty(size, dtype), np.empty(size, dtype),
        np.empty(size, dtype), np.empty(lanes + size, dtype),
    )  # fmt: skip
    drawn, words = block.shift[lanes:], np.ones(size, dtype)
    r = (np.ones(size, dtype), np.ones(size, dtype))
    phases, winners = np.empty(_SAMPLES * GENERATORS, dtype), np.empty(_SAMPLES * lanes, dtype)
    nodes = ((means.size + rule.size) // 3) * lanes
    powers, roots = np.empty(nodes, dtype), np.empty(nodes, dtype)
    temperature, of_lanes = zero, np.empty(lanes, dtype)
    places, numbers = np.empty(lanes, np.int32), category_numbers(vector, over_categories)
    key0, key1 = np.empty(lanes, np.uint32), np.empty(lanes, np.uint32)
    keys = (load_beside(key0, 0, zero), load_beside(key1, 0, zero))
    for first in range(begin, end, step):
        pack(block.vec, vector, first, n, rows, over_categories, 0)
        pack_rows(places, index, first, over_categories)
        write_one_hot(block.won, places, numbers)
        pack(block.probs, log_probs, first, n, rows, over_categories, -np.inf)
        pack(drawn, exponentials, first, n, rows, over_categories, 1)
        if first == begin or temperatures.size > 1:
            pack_rows(of_lanes, temperatures, first, over_categories)
            temperature = load(of_lanes, 0)
            write_rule(powers, roots, means, 0, means.size // 3, temperature, least)
            write_rule(powers, roots, rule, means.size // 3, rule.size // 3, temperature, least)
        power = -1 / temperature
        _prepare(block, floor, temperature, over_categories)
        if reduced:
            write_constants(block, over_categories, means, rule, powers, roots, share)
        of_winner = zero
        if lattice:
            of_winner = _make_uniform(block, drawn, n, over_categories)
        elif key.size > 0:
            pack_rows(key0, key[:rows], first, over_categories)
            pack_rows(key1, key[rows:], first, over_categories)
            keys = (load_beside(key0, 0, zero), load_beside(key1, 0, zero))
        for start in range(first_sample, last_sample, _SAMPLES):
            count = min(_SAMPLES, last_sample - start)
            if lattice:
                if first == begin or last_sample - first_sample > _SAMPLES:
                    used = min(n, GENERATORS)
                    fill_phases(phases, generators, start, count, samples, used)
                for k in range(count):
                    u = of_winner + dtype.type(start + k) / dtype.type(samples)
                    u = select(u < 1, u, u - 1)
                    u = select(u < least_uniform, least_uniform, u)
                    store(winners, k * lanes, 1 / log1p(zero - u))
            for k in range(0, count, 2):
                # The last one of an odd number is taken twice, and counts once.
                other = min(k + 1, count - 1)
                used = dtype.type(other - k)
                if lattice:
                    inverses = (load(winners, k * lanes), load(winners, other * lanes))
                else:
                    draw(r[0], words, drawn, start + k, n, keys, numbers, over_categories)
                    draw(r[1], words, drawn, start + other, n, keys, numbers, over_categories)
                    inverses = _inverses(block, r, over_categories)
                total0, total1, dot0, dot1 = _first_pass(
                    block, r, inverses, phases, k * GENERATORS, other * GENERATORS,
                    over_categories, lattice, power, integer,
                )  # fmt: skip
                total0, total1 = 1 / total0, 1 / total1
                dot0, dot1 = dot0 * total0, dot1 * total1
                _second_pass(block, r, total0, total1, dot0, dot1, used, reduced)
        count = last_sample - first_sample
        _finish(block, temperature, samples, count, highest, reduced, over_categories)
        unpack(out, block.total, first, end, n, rows, over_categories)
