"""What keeps the processes of the tests small."""

import ctypes
import gc
import os
import sys
from contextlib import suppress
from pathlib import Path

_STATISTICS = Path("/proc/self/statm")
_GROWTH = 400 * 2**20


def resident():
    """Return how many bytes of memory this process takes; 0 where the system does not say."""
    if not _STATISTICS.exists():
        return 0
    return int(_STATISTICS.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Programs:
    """The compiled programs that JAX keeps: those of all tests are gigabytes.

    Tests share some, so they are forgotten only when the process has grown by much.
    """

    def __init__(self):
        self._at_least = resident()

    def forget_if_many(self):
        if resident() < self._at_least + _GROWTH:
            return
        if "jax" in sys.modules:
            sys.modules["jax"].clear_caches()
        gc.collect()
        with suppress(OSError, AttributeError):  # a C library that is not GNU's
            ctypes.CDLL("libc.so.6").malloc_trim(0)  # or what is free stays with the process
        self._at_least = resident()
