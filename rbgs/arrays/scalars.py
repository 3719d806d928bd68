"""What is a number and what an array. Nothing else in the package decides it.

Python's numbers, NumPy's scalars and its arrays without axes, and whatever else has ``__float__``
(a ``Fraction``, a ``Decimal``, a symbolic float of PyTorch's compiler) are numbers: they become
Python floats where they come in. An array without axes of another library stays an array, since it
may be abstract, require a gradient, or lie on a device that would have to be waited for. Where it
meets logits of another library or on another device, it becomes a float after all.
"""

import math
import sys
from operator import index
from typing import Any, TypeGuard

import numpy as np
from array_api_compat import is_array_api_obj

from rbgs.arrays.devices import device
from rbgs.arrays.namespaces import array_namespace, is_torch_array, loaded
from rbgs.arrays.tracing import at_compile_time, is_compiled_by_torch, is_traced
from rbgs.arrays.typing import Array


def check_ordinary(name: str, x: Any) -> None:
    """Raise for the arrays of NumPy that pass for ordinary ones, but would be answered wrongly."""
    if not isinstance(x, np.ndarray) or type(x) is np.ndarray:
        return
    masked = loaded("numpy.ma")
    if masked is not None and isinstance(x, masked.MaskedArray):
        of_logits = (
            ", and mask=~numpy.ma.getmaskarray(logits) to forbid categories"
            if name == "logits"
            else ""
        )
        raise TypeError(
            f"{name} is a masked array of NumPy, whose mask would be ignored: pass the array that "
            f"its method filled(value) returns{of_logits}"
        )
    if isinstance(x, np.matrix):
        raise TypeError(f"{name} is a numpy.matrix, whose * differs: pass numpy.asarray of it")


def is_array(x: Any) -> TypeGuard[Array]:
    """Tell whether ``x`` is an array of a known library; a number of NumPy is none."""
    if isinstance(x, (int, float, np.generic, type(None))):
        return False
    return is_torch_array(x) or is_array_api_obj(x)


def as_float(name: str, x: Any) -> Any:
    """Return a number as a Python float, and an array as it is; raise for anything else."""
    if type(x) is float:
        return x
    check_ordinary(name, x)
    if isinstance(x, np.generic) or (isinstance(x, np.ndarray) and x.ndim == 0):
        if is_compiled_by_torch():  # which has no value for it: it has made it a tensor
            return sys.modules["torch"].as_tensor(x)
        known = x.dtype != np.bool_ and np.can_cast(x.dtype, np.float64, "same_kind")
    elif is_array(x):
        return x
    else:
        known = not isinstance(x, bool) and hasattr(x, "__float__")
    if not known:
        raise TypeError(f"{name} must be a float or a real floating array, got {type(x).__name__}")
    try:
        return float(x)
    except OverflowError:  # a whole number, or a fraction, above all floats
        return math.inf if x > 0 else -math.inf


def float_beside(name: str, x: Array, like: Array) -> Any:
    """Return an array without axes as a float where its library or device is not that of ``like``.

    Any other array is returned as it is.
    """
    if x.ndim or is_traced(x):
        return x
    of_the_same = array_namespace(x) is array_namespace(like)
    if of_the_same and (is_traced(like) or device(x) == device(like)):
        return x
    if getattr(x, "requires_grad", False):
        raise ValueError(f"no derivative is defined for the {name}: pass {name}.detach()")
    return float(x)


def are_equal(x: Any, y: Any) -> bool:
    """Tell whether two hyperparameters are equal; abstract arrays are if they are the same one."""
    if x is y:
        return True
    if not (is_array(x) and is_array(y)):
        return not (is_array(x) or is_array(y)) and bool(x == y)
    xp = array_namespace(x)
    alike = array_namespace(y) is xp and x.dtype == y.dtype and tuple(x.shape) == tuple(y.shape)
    if not alike or is_traced(x) or is_traced(y) or device(x) != device(y):
        return False
    with at_compile_time(x):
        return bool(xp.all(x == y))


def as_int(name: str, x: Any) -> int:
    """Return whatever can serve as an index as a Python int; a truth value cannot."""
    try:
        if isinstance(x, (bool, np.bool_)):
            raise TypeError
        return index(x)
    except TypeError as error:  # JAX's for a traced value is one, too
        traced = "; it must be a constant: see static_argnums of jax.jit" if is_traced(x) else ""
        raise TypeError(f"{name} must be an int, got {type(x).__name__}{traced}") from error
