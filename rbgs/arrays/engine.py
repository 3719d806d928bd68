"""The switch of the compiled engine, and whether there is one that works."""

import importlib
import os
import warnings
from threading import RLock
from typing import Any

import numpy as np

from rbgs.arrays.tracing import is_jax_on_cpu
from rbgs.arrays.typing import Array

_FOR_NUMPY, _FOR_JAX = "rbgs.compiled.numpy", "rbgs.compiled.jax"
_SILENCE = "The environment variable RBGS_COMPILED=0 turns the engine off, and this warning"


def _flag_of_environment() -> bool:
    given = os.environ.get("RBGS_COMPILED", "").strip().lower()
    if given in ("0", "false", "no", "off"):
        return False
    if given in ("", "1", "true", "yes", "on"):
        return True
    raise ValueError(
        f"the environment variable RBGS_COMPILED is {given!r}; 1, or 0 to turn the compiled engine "
        "off, is wanted"
    )


_compiled = _flag_of_environment()
# What was imported: a module, or None if that failed.
_engines: dict[str, Any] = {}
# The lock of the import, and that of Numba's compiler: held by another thread when the process is
# forked, they stay locked in the child.
_locks: list[Any] = [RLock()]
_was_interrupted = False


def set_compiled(flag: bool) -> None:
    """Set whether NumPy arrays go through the compiled engine, if it is installed.

    The engine needs Numba, the extra ``fast``. It computes the same, up to rounding. JAX's programs
    for processors call it, too. The first call ever compiles for some seconds, for each dtype, and
    so does the first derivative in JAX; later processes load what was compiled, from the folder
    that the environment variable ``NUMBA_CACHE_DIR`` names or one that Numba finds. Where none can
    be written to, a warning says so once, and every process compiles.

    Where Numba is installed but does not work, a warning says so once, and NumPy computes alone;
    where JAX's foreign functions have another interface, so does XLA. The environment variable
    ``RBGS_COMPILED=0`` turns the engine off at import.

    Parameters
    ----------
    flag : bool
        False to use NumPy alone.

    Raises
    ------
    TypeError
        ``flag`` is no truth value.

    Examples
    --------
    >>> import rbgs
    >>> rbgs.set_compiled(False)
    >>> rbgs.is_compiled()
    False
    >>> rbgs.set_compiled(True)
    """
    global _compiled
    if flag not in (False, True):
        raise TypeError(f"set_compiled takes True or False, got {flag!r}")
    _compiled = bool(flag)


def is_compiled() -> bool:
    """Tell whether NumPy arrays go through the compiled engine.

    Returns
    -------
    bool
        Whether it is installed, works, and is not turned off by :func:`set_compiled`. To find out,
        the first call imports it.

    Examples
    --------
    >>> import rbgs
    >>> rbgs.is_compiled() in (True, False)  # whether the extra "fast" is there
    True
    """
    return _engine(_FOR_NUMPY) is not None


def engine_for(x: Array) -> Any:
    """Return the compiled engine if it takes ``x``, an array of NumPy or JAX, otherwise None."""
    if isinstance(x, np.ndarray):
        return engine_for_numpy(x)
    return _engine(_FOR_JAX) if is_jax_on_cpu(x) else None


def engine_for_numpy(x: Array) -> Any:
    """Return the compiled engine if ``x`` is an array of NumPy that it takes, otherwise None."""
    if isinstance(x, np.ndarray) and x.dtype.type in (np.float32, np.float64):
        return _engine(_FOR_NUMPY)
    return None


def _engine(module: str) -> Any:
    if not _compiled:
        return None
    if module not in _engines:
        with _locks[0]:
            if module not in _engines:
                _load(module)
    return _engines[module]


def _load(module: str) -> None:
    """Import an engine; warn if there is one but it does not work as it should."""
    loaded = problem = None
    try:
        if _was_interrupted and module == _FOR_NUMPY:
            raise RuntimeError("the process was forked while another thread compiled the engine")
        # That for JAX needs what the one for NumPy needs, which has been reported.
        if module == _FOR_NUMPY or _engine(_FOR_NUMPY) is not None:
            importlib.import_module("numba")  # first: without it the engine may lie half imported
            loaded = importlib.import_module(module)
    except Exception as error:
        if not (isinstance(error, ModuleNotFoundError) and error.name == "numba"):
            problem = (
                "the compiled engine does not work, so "
                f"{'NumPy' if module == _FOR_NUMPY else 'XLA'} computes alone: "
                f"{type(error).__name__}: {error}"
            )
    if module == _FOR_NUMPY and loaded is not None:
        _locks.append(loaded.COMPILER_LOCK)
        if not loaded.HAS_CACHE:
            problem = (
                "Numba finds no folder that it can write to, so every process compiles the engine "
                "anew: set NUMBA_CACHE_DIR to one"
            )
    _engines[module] = loaded
    if problem is not None:
        warn_about_engine(problem)


def warn_about_engine(problem: str) -> None:
    """Warn of what does not work, and say how to turn the engine off."""
    warnings.warn(f"{problem}. {_SILENCE}", RuntimeWarning, stacklevel=3)


def _after_fork_in_child() -> None:
    """Give the engine up if another thread was importing or compiling it: it is left half made."""
    global _was_interrupted
    for lock in _locks:
        if lock.acquire(blocking=False):
            lock.release()
        else:
            _was_interrupted = True
    if _was_interrupted:
        _engines.clear()
        _locks[:] = [RLock()]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
