"""How estimators and measured numbers are shown."""

import importlib
import math
from dataclasses import MISSING, fields
from typing import Any, cast

from rbgs.estimators.base import Estimator

_LONGEST = 60


def label(estimator: Estimator) -> str:
    """Return how an estimator is made, in short: without what is as by default."""
    known, shown = estimator._hyperparameters(), []
    for field in fields(cast(Any, estimator)):
        if field.name in known:
            x = known[field.name]
            if field.default is MISSING:
                shown.append(_short(x))
            elif x is not field.default and not (
                isinstance(x, (bool, int, float, str)) and x == field.default
            ):
                shown.append(f"{field.name}={_short(x)}")
    return f"{type(estimator).__name__}({', '.join(shown)})"


def _short(x: object) -> str:
    if isinstance(x, Estimator):
        return label(x)
    if isinstance(x, float):
        return f"{x:.4g}"
    found = " ".join(repr(x).split())
    if found.startswith("<"):  # an object with nothing better to say
        return getattr(x, "__name__", f"{type(x).__name__}()")
    return found if len(found) <= _LONGEST else f"{found[: _LONGEST - 1]}…"


def with_error(value: float, error: float) -> str:
    """Format a number with its standard error, to two digits of that; without if it is 0."""
    if error == 0:
        return f"{value:.4g}"
    if not (math.isfinite(error) and math.isfinite(value)):
        return f"{value:.4g} ± {error:.2g}"
    digits = 1 - math.floor(math.log10(error))
    if abs(value) < 1e6 and digits <= 6:
        return f"{value:.{max(0, digits)}f} ± {error:.{max(0, digits)}f}"
    return f"{value:.3g} ± {error:.1g}"


def optional(module: str, what: str) -> Any:
    """Import what only this needs; say how to install it if it is not there."""
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package:
            raise
        message = f"{what}() needs {package}: pip install {package}"
        raise ModuleNotFoundError(message, name=package) from None
