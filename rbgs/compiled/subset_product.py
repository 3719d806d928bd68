"""The compiled product of the operator for k-subsets with a vector: see `rbgs.structures.points`.

Each block of rows takes its samples one after the other: the points, coins of which k show 1 on
average, and the Jacobian of the relaxation at them.
"""

import numpy as np

from rbgs.compiled.blocks import category_numbers, pack, pack_rows, sizes_of, unpack
from rbgs.compiled.compiler import jit
from rbgs.compiled.subset_blocks import take, write_places
from rbgs.compiled.subset_coins import Coins, add_binary_entropy, toss
from rbgs.compiled.subset_gibbs import Sums, add_gibbs, count_frequencies
from rbgs.compiled.subset_points import (
    Race,
    make_uniform,
    next_phases,
    prepare,
    start_phases,
    write_points,
)
from rbgs.compiled.vectors import lanes_of, load, load_beside, spread, store


@jit
def product_of_subset(
    out, begin, end, n, over_categories, first_sample, last_sample, log_probs, vector,
    exponentials, order, temperatures, key, generators, samples, floor, gibbs,
):  # fmt: skip
    """Write what some of the samples add to the product.

    ``order`` is row by row, ``temperatures`` has one element or one for each row. Empty are
    ``key`` or ``generators``.
    """
    dtype, lanes = vector.dtype, lanes_of(vector)
    size, step = sizes_of(vector, n, over_categories)
    rows = vector.size // n
    k = order.size // rows
    slots, _ = sizes_of(vector, k, over_categories)
    even = 2 * lanes
    of_others = -(-size // even) * even
    both = of_others + -(-slots // even) * even
    zero, lattice = spread(dtype.type(0), vector), generators.size > 0
    coins = Coins(
        np.zeros(both, dtype), np.empty(both, dtype), np.empty(both, dtype), np.empty(both, dtype),
        np.empty(both, dtype), np.empty(both, dtype), np.zeros(both, dtype), np.empty(both, dtype),
    )  # fmt: skip
    race = Race(
        np.empty(size, dtype), np.empty(size, dtype), np.empty(slots, dtype),
        np.empty(lanes + slots, dtype), np.empty(lanes + size, dtype),
        np.empty(slots, dtype), np.empty(slots, dtype), np.empty(size, dtype),
        np.empty(size, dtype), np.empty(slots, dtype),
    )  # fmt: skip
    logs, drawn = np.empty(size, dtype), np.empty(size, dtype)
    furthest = max(k, n - k)
    most = count_frequencies(0.26 * n, 0.26 * n, 0.0, furthest, np.finfo(dtype).eps)[0] // 2
    sums = Sums(
        np.empty(most, dtype), np.empty(most, dtype), np.empty(most * lanes, dtype),
        np.empty(most * lanes, dtype), np.empty(most * lanes, dtype),
        np.empty(most * lanes, dtype), np.empty(most * lanes, dtype), np.empty(2 * lanes, dtype),
    )  # fmt: skip
    places = np.empty(k * (1 if over_categories else lanes), np.int32)
    at_phase, phases = np.empty(generators.size, np.int32), np.empty(generators.size, dtype)
    temperature, of_lanes = zero, np.empty(lanes, dtype)
    numbers = category_numbers(vector, over_categories)
    key0, key1 = np.empty(lanes, np.uint32), np.empty(lanes, np.uint32)
    keys = (load_beside(key0, 0, zero), load_beside(key1, 0, zero))
    known = 0
    for first in range(begin, end, step):
        write_places(places, order, first, n, k, rows, over_categories)
        pack(coins.vec[:size], vector, first, n, rows, over_categories, 0)
        take(coins.vec, of_others, coins.vec, places, 0)
        pack(logs, log_probs, first, n, rows, over_categories, -np.inf)
        pack(drawn, exponentials, first, n, rows, over_categories, 1)
        if first == begin or temperatures.size > 1:
            pack_rows(of_lanes, temperatures, first, over_categories)
            temperature = load(of_lanes, 0)
        prepare(race, logs, places, k, floor, 1 / temperature, over_categories)
        if lattice:
            make_uniform(race, drawn, places, n, over_categories)
        elif key.size > 0:
            pack_rows(key0, key[:rows], first, over_categories)
            pack_rows(key1, key[rows:], first, over_categories)
            keys = (load_beside(key0, 0, zero), load_beside(key1, 0, zero))
        for at in range(0, both, lanes):
            store(coins.total, at, zero)
        start_phases(generators, at_phase, first_sample, samples)
        tilt = zero
        for sample in range(first_sample, last_sample):
            for i in range(generators.size):
                phases[i] = dtype.type(at_phase[i]) / dtype.type(samples)
            write_points(
                coins.relative, of_others, race, drawn, places, sample, n, k, lattice, phases, keys,
                numbers, temperature, over_categories,
            )  # fmt: skip
            tilt, q0, q1, mean = toss(coins, of_others, tilt, not gibbs, over_categories)
            if gibbs:
                known = add_gibbs(
                    coins, sums, of_others, q0, q1, mean, furthest, known, over_categories
                )
            else:
                add_binary_entropy(coins, mean)
            next_phases(generators, at_phase, samples)
        scale = 1 / (temperature * samples)
        for i in range(places.size):
            coins.total[places[i]] = coins.total[of_others + i]
        for at in range(0, size, lanes):
            store(coins.total, at, load(coins.total, at) * scale)
        unpack(out, coins.total[:size], first, end, n, rows, over_categories)
