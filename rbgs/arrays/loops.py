"""Loops over blocks: of samples, one after the other; of rows, on threads where that helps."""

import os
import sys
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import lru_cache
from typing import Any, TypeVar

from array_api_compat import is_jax_namespace, is_numpy_namespace

from rbgs.arrays.inputs import check_count
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.tracing import compiles_for_cpu, is_traced_by_jax, is_traced_by_torch
from rbgs.arrays.typing import Array, Namespace

Carry = TypeVar("Carry")
Item = TypeVar("Item")
Result = TypeVar("Result")


def _threads_of_environment() -> int | None:
    given = os.environ.get("RBGS_NUM_THREADS", "").strip()
    if not given:
        return None
    if not given.isdecimal() or int(given) < 1:
        raise ValueError(
            f"the environment variable RBGS_NUM_THREADS is {given!r}; a whole number of at least 1 "
            "is wanted. Unset it for as many threads as the process has processors"
        )
    return int(given)


_threads = _threads_of_environment()


def set_num_threads(count: int) -> None:
    """Set how many threads share the rows of NumPy arrays.

    Other libraries have threads of their own. JAX's programs that call the compiled engine share on
    at most this number of XLA's threads, as it was when they were traced. The result does not
    depend on the number. The environment variable ``RBGS_NUM_THREADS`` sets it at import; by
    default it is the number of processors that the process may use, its affinity, at each call.

    Parameters
    ----------
    count : int
        At least 1.

    Raises
    ------
    TypeError
        ``count`` is not an int.
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
    _threads = check_count("the number of threads", count)


def get_num_threads() -> int:
    """Return how many threads share the rows of NumPy arrays.

    Returns
    -------
    int
        At least 1: what :func:`set_num_threads` or the environment variable ``RBGS_NUM_THREADS``
        has set, otherwise the number of processors that the process may use now.

    Examples
    --------
    >>> import rbgs
    >>> rbgs.get_num_threads() >= 1
    True
    """
    return _processors() if _threads is None else _threads


def _processors() -> int:
    """Return how many processors the process may use now."""
    if sys.version_info >= (3, 13):
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@lru_cache(maxsize=1)
def _pool(helpers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(helpers, thread_name_prefix="rbgs")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # its threads stay behind in the parent


def _share(task: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Return ``task`` of all items, which this thread shares with those of the pool.

    Each thread takes the next item until none is left. This one does so too, and waits only for
    those that have begun: it never depends on a pool that is busy, has no threads (after a fork) or
    cannot get any (when the interpreter exits, or the system has no more).
    """
    threads = get_num_threads()
    if threads == 1:
        return [task(item) for item in items]
    waiting = deque(enumerate(items))
    results: dict[int, Result] = {}

    def take() -> None:
        try:
            while True:
                try:
                    number, item = waiting.popleft()
                except IndexError:
                    return
                results[number] = task(item)
        finally:  # after an error nobody begins another one
            waiting.clear()

    begun: list[Future[None]] = []
    with suppress(RuntimeError):  # there are no threads to be had
        pool = _pool(threads - 1)
        for _ in range(min(threads, len(items)) - 1):
            begun.append(pool.submit(copy_context().run, take))
    try:
        take()
    finally:
        begun = [helper for helper in begun if not helper.cancel()]
    for helper in begun:
        helper.result()
    return [results[number] for number in range(len(items))]


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


def over_blocks(
    xs: tuple[Array, ...],
    size: int,
    body: Callable[[Carry, tuple[Array, ...]], tuple[Carry, tuple[Array, ...]]],
    carry: Carry,
    like: Array,
) -> tuple[Carry, tuple[Array, ...]]:
    """Return ``carry, outputs`` after ``carry, output = body(carry, block)`` for all blocks.

    Those of arrays along their first axis, as are those of the outputs, which are joined again.
    Where JAX traces ``like`` and there are several blocks, they are one loop of the program, over
    the places of the axis.
    """
    count = xs[0].shape[0]
    if size >= count:
        return body(carry, xs)
    if is_traced_by_jax(like):
        scan = sys.modules["jax"].lax.scan

        def one(carry: Carry, x: tuple[Array, ...]) -> tuple[Carry, tuple[Array, ...]]:
            carry, output = body(carry, tuple([each[None, ...] for each in x]))
            return carry, tuple([each[0, ...] for each in output])

        found: tuple[Carry, tuple[Array, ...]] = scan(one, carry, xs)
        return found
    outputs = []
    for start in range(0, count, size):
        stop = min(start + size, count)
        carry, output = body(carry, tuple([x[start:stop, ...] for x in xs]))
        outputs.append(output)
    xp = array_namespace(like)
    return carry, tuple([xp.concat(parts, axis=0) for parts in zip(*outputs, strict=True)])


def block_elements(xp: Namespace) -> int:
    """Return the elements of a block: what fits a core's cache, or what keeps a device busy."""
    if is_numpy_namespace(xp):
        return 2**17
    return 2**22 if is_jax_namespace(xp) else 2**20


def samples_per_block(like: Array, samples: int, size: int) -> int:
    """Return how many samples make a block, for rows with ``size`` elements a sample."""
    xp = array_namespace(like)
    if is_traced_by_torch(like):
        return max(16, -(-samples // 8))  # its program has a part for each block
    rows = int(like.shape[-1])
    elements = block_elements(xp)
    if compiles_for_cpu(like):
        # One sample at a time, where that makes long vectors: no sum over samples is left.
        elements = 1 if rows >= 64 else 2**18
    return max(1, elements // max(1, size * rows))


def rows_per_block(like: Array, samples: int, size: int) -> int:
    """Return how many rows make a block, with ``size`` elements a sample."""
    xp = array_namespace(like)
    # Loops over a few rows only are slow, but so many elements need memory.
    least = max(8, min(32, 2**20 // size))
    return max(least, block_elements(xp) // (size * min(16, samples)))


def over_rows(xp: Namespace, rows: int, size: int, part: Callable[[slice], Array]) -> Array:
    """Return the results of ``part`` for all blocks of rows, joined along their last axis."""
    if size >= rows:
        return part(slice(0, rows))
    slices = [slice(start, min(start + size, rows)) for start in range(0, rows, size)]
    parts = _share(part, slices) if is_numpy_namespace(xp) else [part(block) for block in slices]
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
    if not is_worth_threads(elements):
        task(0, size)
        return
    part = part_size(size, block)
    _share(lambda start: task(start, min(start + part, size)), range(0, size, part))
