"""The conditional points of k-subsets in the compiled engine: see `rbgs.structures.points`.

A block has the n elements first, as elements that were not taken, and then k slots for those that
were. The time of the last taking is 1; the relative weight of an element that arrives at time T is
``T ** (-1 / temperature)``, and ``T ** (1 / temperature)`` if it was taken: at most 1.
"""

from typing import Any, NamedTuple

import numpy as np

from rbgs.compiled.compiler import inlined
from rbgs.compiled.math import exp, expm1, log, log1p
from rbgs.compiled.points import draw, fraction
from rbgs.compiled.subset_blocks import slot, take, write_log_left
from rbgs.compiled.vectors import is_any, lanes_of, load, select, spread, store
from rbgs.conditional.lattice import GENERATORS


class Race(NamedTuple):
    """Arrays of one block.

    ``rate`` and ``weight`` are those of `rbgs.conditional.race.race_rates`, in the last of the k
    races. For each taking, ``growth`` is the quotient of the sum of rates in its race and that in
    the race before, ``lead`` the logarithm of that in the last race and in its own. Before the
    first element, ``shift`` has the last one.
    """

    rate: Any
    weight: Any
    growth: Any
    lead: Any
    shift: Any
    shift_of_taken: Any
    shift_before: Any
    words: Any
    spare: Any
    of_taken: Any


@inlined
def prepare(race, logs, places, k, floor, power, over_categories):
    """Turn log-probabilities into what the samples of a block have in common."""
    lanes = lanes_of(logs)
    before, left = lanes - 1 if over_categories else 0, race.lead[lanes:]
    take(race.growth, 0, logs, places, 0)
    for i in range(places.size):
        logs[places[i]] = -np.inf
    write_log_left(left, race.growth, logs, k, over_categories)
    last = slot(left, k - 1, over_categories)
    zero = spread(logs.dtype.type(0), logs)
    lowest = exp(zero + floor)
    for at in range(0, logs.size, lanes):
        log_prob = load(logs, at) - last
        weight = select(log_prob == log_prob, zero + 1, np.nan)
        is_low = log_prob < floor
        store(race.rate, at, 1 / select(is_low, lowest, exp(log_prob)))
        if is_any(is_low):
            rest = select(is_low, log_prob - floor, 0) * power
            weight = weight * exp(select(rest < -1000, -1000, rest))
        store(race.weight, at, weight)
    store(race.lead, 0, zero)
    for at in range(0, race.growth.size, lanes):
        store(race.growth, at, exp(load(left, at) - load(race.lead, before + at)))
    for at in range(0, race.growth.size, lanes):
        store(left, at, last - load(left, at))


@inlined
def make_uniform(race, drawn, places, n, over_categories):
    """Write the uniforms that the exponentials of the first point were made of."""
    lanes = lanes_of(race.shift)
    zero, shift = spread(race.shift.dtype.type(0), race.shift), race.shift[lanes:]
    for at in range(0, shift.size, lanes):
        store(shift, at, zero - expm1(zero - load(drawn, at)))
    store(race.shift, 0, slot(shift, n - 1, over_categories))
    take(race.shift_of_taken, 0, shift, places, 0)
    take(race.shift_before, 0, race.shift[lanes - 1 if over_categories else 0 :], places, 0)


@inlined
def start_phases(steps, at, sample, samples):
    """Write where on the lattice a sample is."""
    for i in range(steps.size):
        at[i] = np.int64(steps[i]) * sample % samples


@inlined
def next_phases(steps, at, samples):
    """Go to the next sample."""
    for i in range(steps.size):
        moved = at[i] + steps[i]
        at[i] = moved - samples if moved >= samples else moved


@inlined
def write_points(
    relative, of_others, race, drawn, places, sample, n, k, lattice, phases, keys, numbers,
    temperature, over_categories,
):  # fmt: skip
    """Write the relative weights of a sample.

    ``phases`` are those of the lattice for the others and then for what was taken.
    """
    lanes, size = lanes_of(relative), race.rate.size
    zero = spread(relative.dtype.type(0), relative)
    half_step = relative.dtype.type(np.finfo(relative.dtype).eps / 2)
    before = lanes - 1 if over_categories else 0
    on_lattice, power = lattice and sample > 0, -1 / temperature
    if on_lattice:
        of_taking, count = phases[GENERATORS:], phases.size - GENERATORS
        if over_categories:
            for s in range(k):
                race.of_taken[s] = of_taking[s % count]
        for at in range(0, race.of_taken.size, lanes):
            phase = (
                load(race.of_taken, at)
                if over_categories
                else spread(of_taking[at // lanes % count], phases)
            )
            lost = load(race.shift_before, at) * half_step
            u = fraction(phase + load(race.shift_of_taken, at), lost, half_step)
            store(race.of_taken, at, zero - log1p(zero - u))
    else:
        draw(race.words, race.spare, drawn, sample, n, keys, numbers, over_categories)
        take(race.of_taken, 0, race.words, places, 1)
    write_times(race.of_taken, race.growth, half_step / 2, over_categories)
    last = slot(race.of_taken, k - 1, over_categories)
    log_last, inverse = log(last), 1 / last
    for at in range(0, race.of_taken.size, lanes):
        later = log(load(race.of_taken, at)) - log_last + load(race.lead, lanes + at)
        store(relative, of_others + at, exp(select(later < 0, later, 0) / temperature))
    for i in range(of_others + places.size, relative.size):
        relative[i] = 0
    column, step = 0, lanes if over_categories else 1
    for at in range(0, size, lanes):
        if on_lattice:
            phase = load(phases, column) if over_categories else spread(phases[column], phases)
            column = (column + step) % GENERATORS
            lost = load(race.shift, before + at) * half_step
            u = fraction(phase + load(race.shift, lanes + at), lost, half_step)
            e = zero - log1p(zero - u)
        else:
            e = load(race.words, at)
        ratio = e * inverse * load(race.rate, at)
        store(relative, at, exp(log1p(ratio) * power) * load(race.weight, at))


@inlined
def write_times(of_taken, growth, least, over_categories):
    """Turn exponentials, none of them 0, into times of takings in units of their own races."""
    lanes = lanes_of(of_taken)
    for at in range(0, of_taken.size, lanes):
        e = load(of_taken, at)
        store(of_taken, at, select(e < least, least, e))
    if over_categories:
        for s in range(1, of_taken.size):
            of_taken[s] += of_taken[s - 1] * growth[s]
    else:
        for at in range(lanes, of_taken.size, lanes):
            time = load(of_taken, at) + load(of_taken, at - lanes) * load(growth, at)
            store(of_taken, at, time)
