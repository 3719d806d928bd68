"""How Numba compiles the engine, and the files in which it keeps what it compiled."""

from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba as nb
from numba.core.caching import FunctionCache
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import overload

from rbgs.arrays.engine import warn_about_engine

if nb.config.DISABLE_JIT:
    raise ImportError("NUMBA_DISABLE_JIT is set")

COMPILER_LOCK = global_compiler_lock._lock

_SOURCES = sha256(b"".join(x.read_bytes() for x in sorted(Path(__file__).parent.glob("*.py"))))


class _Cache(FunctionCache):  # type: ignore[misc]
    """Numba's cache of a function, for a library in the place of a single file.

    What Numba keeps holds until the file of the function changes; here a function contains others
    from other files. And a folder that can no longer be read or written is no error.
    """

    _is_reported = False

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        self._cache_file._source_stamp = self._cache_file._source_stamp, _SOURCES.digest()

    def load_overload(self, *arguments: Any) -> Any:
        try:
            return super().load_overload(*arguments)
        except Exception:  # what cannot be read is compiled, and written anew
            with suppress(OSError):
                self.flush()
            return None

    def save_overload(self, *arguments: Any) -> None:
        try:
            super().save_overload(*arguments)
        except Exception as error:
            self._report(error)

    def _report(self, error: Exception) -> None:
        """Warn, once for all functions."""
        if not _Cache._is_reported:
            _Cache._is_reported = True
            warn_about_engine(
                f"Numba cannot keep what it compiles in {self.cache_path} ({type(error).__name__}: "
                f"{error}), so every process compiles the engine anew: make room there, or set "
                "NUMBA_CACHE_DIR to a folder that can be written to"
            )


def _has_cache() -> bool:
    try:
        _Cache(_has_cache)
    except RuntimeError:
        return False
    return True


# Whether Numba finds a folder to keep what it compiled in. All of the engine lies in one.
HAS_CACHE = _has_cache()


# No "nnan" and "ninf": a row that cannot be answered is NaN. No "reassoc": differences of nearly
# equal numbers come first.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract", "arcp", "nsz"},
}


def jit(function: Any) -> Any:
    """Compile a function when it is called, or load it from the cache.

    A function with a closure would be compiled anew in each process if another compiled one were in
    it: the key of the cache depends on what the closure holds.
    """
    compiled = nb.njit(**_OPTIONS)(function)
    if HAS_CACHE:
        compiled._cache = _Cache(function)
    return compiled


def inlined(function: Any) -> Any:
    """Compile a function as a part of those that call it."""
    return nb.njit(forceinline=True, **_OPTIONS)(function)


def precise(function: Any) -> Any:
    """Let Numba take a function by the precision of its arguments, as ``overload`` does."""
    return overload(function, jit_options={"forceinline": True, **_OPTIONS})
