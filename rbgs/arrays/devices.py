"""Where arrays lie: on a device, or spread over several ones."""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import array_api_compat
import numpy as np

from rbgs.arrays.namespaces import is_jax_array, is_torch_array
from rbgs.arrays.typing import Array, Namespace, Sharding


def device(x: Array) -> Any:
    """Return the device for further arrays beside ``x``; None if that is left to the library.

    It is for an array that JAX spreads over several devices, since it calls the sharding its
    device, but that does not fit other shapes; and for one that JAX may still move, because what is
    made on a named device may not be moved.
    """
    if isinstance(x, np.ndarray):
        return "cpu"
    if is_torch_array(x):
        return x.device
    found = array_api_compat.device(x)
    if found is None or hasattr(found, "device_set"):
        return None
    return found if getattr(x, "committed", True) else None


def explicit_sharding(x: Array) -> Sharding | None:
    """Return how JAX spreads ``x``, if it lies on a mesh whose axes are part of its type."""
    if not is_jax_array(x):
        return None
    jax: Any = sys.modules["jax"]
    sharding = getattr(jax.typeof(x), "sharding", None)
    if sharding is None or jax.sharding.AxisType.Explicit not in sharding.mesh.axis_types:
        return None
    return sharding


def respread(sharding: Sharding | None, axes: Callable[..., Sequence[Any]]) -> Sharding | None:
    """Return a sharding for other dimensions: ``axes`` maps the axes of the mesh along each one."""
    if sharding is None:
        return None
    jax: Any = sys.modules["jax"]
    spec = jax.sharding.PartitionSpec(*axes(*sharding.spec))
    return jax.sharding.NamedSharding(sharding.mesh, spec)


def merged(axes: Iterable[Any]) -> tuple[str, ...] | None:
    """Return the axes of a mesh along a dimension that is made of several ones."""
    names: list[str] = []
    for axis in axes:
        names += () if axis is None else (axis,) if isinstance(axis, str) else axis
    return tuple(names) or None


def reshape(
    xp: Namespace, x: Array, shape: tuple[int, ...], sharding: Sharding | None = None
) -> Array:
    """Reshape; on an explicit mesh JAX has to be told the sharding of the result."""
    if sharding is None:
        return xp.reshape(x, shape)
    return xp.reshape(x, shape, out_sharding=sharding)
