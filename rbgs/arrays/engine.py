"""The switch of the compiled engine."""

import importlib
import importlib.util
import os
from functools import lru_cache
from typing import Any

_compiled = os.environ.get("RBGS_COMPILED", "1") != "0"


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
