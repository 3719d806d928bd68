"""Which library an array is of: array-api-compat's answers, without its caches.

PyTorch's compiler would warn of them; and what is common here is found faster.
"""

import sys
from functools import cache
from typing import Any

import array_api_compat
import numpy as np

from rbgs.arrays.typing import Namespace


def array_namespace(*arrays: Any) -> Namespace:
    """Return the namespace of arrays of one library; raise if it is unknown, or not one."""
    for x in arrays:
        if type(x) is not np.ndarray or x.dtype.kind not in "biuf":
            break
    else:
        return _of_numpy()
    if all(map(is_torch_array, arrays)):
        import array_api_compat.torch as of_torch

        return of_torch
    return array_api_compat.array_namespace(*arrays)


@cache
def _of_numpy() -> Namespace:
    from array_api_compat import numpy  # not at the top: it takes longer than all of the package

    return numpy


def loaded(name: str) -> Any:
    """Return a module that somebody has imported; None while another thread still does so."""
    module = sys.modules.get(name)
    return None if getattr(getattr(module, "__spec__", None), "_initializing", False) else module


def is_torch_array(x: Any) -> bool:
    """Tell whether ``x`` is a tensor of PyTorch."""
    torch = loaded("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def is_jax_array(x: Any) -> bool:
    """Tell whether ``x`` is an array of JAX, abstract or not."""
    jax = loaded("jax")
    return jax is not None and isinstance(x, jax.Array)
