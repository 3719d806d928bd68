"""Blocks of logits as vectors: of some rows, one lane each, or of one row, over its categories.

A kernel takes arrays that are flat, with the categories of a row, or the rows of a category, next
to each other. It copies what it works on into a block of whole vectors, which the first caches
hold, and its result back.
"""

import numpy as np

from rbgs.compiled.compiler import inlined
from rbgs.compiled.vectors import (
    lanes_of,
    load,
    load_beside,
    select,
    spread,
    store,
    sum_of_lanes,
)


@inlined
def sizes_of(array, n, over_categories):
    """Return the size of a block, and how many rows it has."""
    lanes = lanes_of(array)
    if over_categories:
        return -(-n // lanes) * lanes, 1
    return n * lanes, lanes


@inlined
def pack(block, array, first, n, rows, over_categories, beyond):
    """Copy the rows from one on; behind the last row it again, ``beyond`` the last category."""
    lanes = lanes_of(array)
    if over_categories:
        for j in range(n):
            block[j] = array[first * n + j]
        for j in range(n, block.size):
            block[j] = beyond
    elif rows - first >= lanes:
        for j in range(n):
            store(block, j * lanes, load(array, j * rows + first))
    else:
        for j in range(n):
            for lane in range(lanes):
                block[j * lanes + lane] = array[j * rows + min(first + lane, rows - 1)]


@inlined
def pack_rows(lanes, array, first, over_categories):
    """Copy the numbers of the rows from one on, a lane each; behind the last one it again."""
    for lane in range(lanes.size):
        lanes[lane] = array[min(first + (0 if over_categories else lane), array.size - 1)]


@inlined
def unpack(array, block, first, end, n, rows, over_categories):
    """Copy a block back, but for what lies behind the last category or row."""
    lanes = lanes_of(array)
    if over_categories:
        for j in range(n):
            array[first * n + j] = block[j]
    elif end - first >= lanes:
        for j in range(n):
            store(array, j * rows + first, load(block, j * lanes))
    else:
        for j in range(n):
            for lane in range(end - first):
                array[j * rows + first + lane] = block[j * lanes + lane]


@inlined
def category_numbers(array, over_categories):
    """Return the numbers of the categories of a block's first vector, and their step."""
    like = spread(array.dtype.type(0), array)
    numbers = load_beside(np.arange(lanes_of(array)).astype(np.int32), 0, like)
    return (numbers, lanes_of(array)) if over_categories else (numbers ^ numbers, 1)


@inlined
def write_one_hot(block, index, numbers):
    """Write 1 where the category is that of the index, which each lane has, and 0 elsewhere."""
    zero = spread(block.dtype.type(0), block)
    place, number = load_beside(index, 0, zero), numbers[0]
    for at in range(0, block.size, lanes_of(block)):
        store(block, at, select(number == place, 1, zero))
        number = number + numbers[1]


@inlined
def sum_of(total, over_categories):
    """Return the sum over categories, given that over the vectors of a block."""
    return sum_of_lanes(total) if over_categories else total
