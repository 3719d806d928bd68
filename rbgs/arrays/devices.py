"""Where arrays lie."""

from typing import Any

import array_api_compat

from rbgs.arrays.namespaces import is_torch_array
from rbgs.arrays.typing import Array


def device(x: Array) -> Any:
    """Return the device for further arrays beside ``x``; None if it is spread over several ones.

    JAX calls the sharding of such an array its device, but that does not fit other shapes.
    """
    if is_torch_array(x):
        return x.device
    found = array_api_compat.device(x)
    return None if hasattr(found, "device_set") else found
