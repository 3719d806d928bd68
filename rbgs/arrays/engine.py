"""Loops over blocks: of samples, one after the other; of rows, on threads where that helps."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

from array_api_compat import is_jax_array, is_numpy_namespace

from rbgs.arrays.typing import Array, Namespace

Carry = TypeVar("Carry")

_threads = int(os.environ.get("RBGS_NUM_THREADS", "0")) or os.cpu_count() or 1
_compiled = os.environ.get("RBGS_COMPILED", "1") != "0"


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


def set_compiled(flag: bool) -> None:
    """Set whether NumPy arrays go through the compiled engine, if it is installed.

    The engine needs Numba, the extra ``fast``. It computes the same, up to rounding. Its first call
    compiles for some seconds; later processes load what was compiled from Numba's cache. The
    environment variable ``RBGS_COMPILED=0`` turns it off at import.

    Parameters
    ----------
    flag : bool
        False to use NumPy alone.

    Examples
    --------
    >>> import rbgs
    >>> rbgs.set_compiled(False)
    >>> rbgs.is_compiled()
    False
    >>> rbgs.set_compiled(True)
    """
    global _compiled
    _compiled = bool(flag)


def is_compiled() -> bool:
    """Tell whether NumPy arrays go through the compiled engine.

    Returns
    -------
    bool
        Whether it is installed and not turned off by :func:`set_compiled`.
    """
    return _compiled and _has_numba()


def compiled_engine(module: str = "rbgs.compiled.numpy") -> Any:
    """Import and return the compiled engine: for NumPy, or `rbgs.compiled.jax`."""
    return importlib.import_module(module)


@lru_cache(maxsize=1)
def _has_numba() -> bool:
    return importlib.util.find_spec("numba") is not None


@lru_cache(maxsize=1)
def _pool(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="rbgs")


def is_traced_by_jax(x: Array) -> bool:
    """Tell whether ``x`` is an abstract value inside a JAX transformation."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(x, jax.core.Tracer)


def compiles_for_cpu(x: Array) -> bool:
    """Tell whether JAX traces ``x`` for a program on processors (it has no device yet)."""
    return is_traced_by_jax(x) and sys.modules["jax"].default_backend() == "cpu"


def is_jax_on_cpu(x: Array) -> bool:
    """Tell whether ``x`` is an array of JAX on one processor, or traced for programs on them."""
    if is_traced_by_jax(x):
        return compiles_for_cpu(x)
    return (
        is_jax_array(x)
        and {device.platform for device in x.devices()} == {"cpu"}
        and (len(x.devices()) == 1)
    )


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
