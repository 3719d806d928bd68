"""Loops over blocks: of samples, one after the other; of rows, on threads where that helps."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

from array_api_compat import is_numpy_namespace

from rbgs.arrays.tracing import is_traced_by_jax
from rbgs.arrays.typing import Array, Namespace

Carry = TypeVar("Carry")

_threads = int(os.environ.get("RBGS_NUM_THREADS", "0")) or os.cpu_count() or 1


def set_num_threads(count: int) -> None:
    """Set how many threads share the rows of NumPy arrays.

    Other libraries have threads of their own. JAX's programs that call the compiled engine share on
    at most this number of XLA's threads, as it was when they were traced. The result does not
    depend on the number. The environment variable ``RBGS_NUM_THREADS`` sets it at import; by
    default it is the number of processors.

    Parameters
    ----------
    count : int
        At least 1.

    Raises
    ------
    ValueError
        ``count`` is below 1.

    Examples
    --------
    >>> import rbgs
    >>> rbgs.set_num_threads(2)
    >>> rbgs.get_num_threads()
    2
    """
    global _threads
    if count < 1:
        raise ValueError(f"the number of threads must be at least 1, got {count}")
    _threads = count


def get_num_threads() -> int:
    """Return how many threads share the rows of NumPy arrays.

    Returns
    -------
    int
        See :func:`set_num_threads`.
    """
    return _threads


@lru_cache(maxsize=1)
def _pool(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="rbgs")


def over_samples(
    like: Array,
    first: int,
    last: int,
    size: int,
    body: Callable[[Any, int, Carry], Carry],
    carry: Carry,
) -> Carry:
    """Return ``carry`` after ``body(start, count, carry)`` for all blocks of samples, in order.

    Where JAX traces ``like``, the blocks of full size are one loop of the compiled program, and
    ``start`` is an abstract value. Without ``jit`` such a loop would be compiled in each call.
    """
    full = (last - first) // size
    if is_traced_by_jax(like) and full > 1:
        loop = sys.modules["jax"].lax.fori_loop
        carry = loop(0, full, lambda i, c: body(first + i * size, size, c), carry)
    else:
        for block in range(full):
            carry = body(first + block * size, size, carry)
    start = first + full * size
    return body(start, last - start, carry) if start < last else carry


def over_rows(xp: Namespace, rows: int, size: int, part: Callable[[slice], Array]) -> Array:
    """Return the results of ``part`` for all blocks of rows, joined along their last axis."""
    if size >= rows:
        return part(slice(0, rows))
    slices = [slice(start, min(start + size, rows)) for start in range(0, rows, size)]
    if is_numpy_namespace(xp) and _threads > 1:
        parts = list(_pool(_threads).map(part, slices))
    else:
        parts = [part(rows_) for rows_ in slices]
    return xp.concat(parts, axis=-1)


_WORTH_A_THREAD = 2**18


def is_worth_threads(elements: int) -> bool:
    """Tell whether so many elements take longer than it takes to wake a thread."""
    return elements >= _WORTH_A_THREAD


def part_size(size: int, block: int) -> int:
    """Return how many of ``size`` places a thread takes at a time: at most four parts of blocks."""
    return max(1, -(-size // (4 * block))) * block


def share_work(task: Callable[[int, int], None], size: int, block: int, elements: int) -> None:
    """Run ``task(begin, end)`` over ``size`` places that it writes to.

    If there are elements enough, on threads, in parts of `part_size`.
    """
    if _threads == 1 or not is_worth_threads(elements):
        task(0, size)
        return
    part = part_size(size, block)
    list(_pool(_threads).map(lambda i: task(i, min(i + part, size)), range(0, size, part)))
