"""The array libraries that every test runs over."""

import importlib
from enum import Enum

import numpy as np
import pytest
from array_api_compat import array_namespace


class Backend(Enum):
    NUMPY = "numpy"
    STRICT = "array_api_strict"
    TORCH = "torch"
    JAX = "jax"
    CUPY = "cupy"

    def load(self):
        """Return the namespace, or skip with the reason why it is not there."""
        try:
            module = importlib.import_module(self.value)
        except ImportError:
            pytest.skip(f"{self.value} is not installed")
        if self is Backend.JAX:
            module.config.update("jax_enable_x64", True)
            module = module.numpy
        if self is Backend.STRICT:
            module.set_array_api_strict_flags(
                boolean_indexing=False, data_dependent_shapes=False, enabled_extensions=("linalg",)
            )
        if self is Backend.CUPY:
            try:
                module.cuda.runtime.getDeviceCount()
            except module.cuda.runtime.CUDARuntimeError as error:
                pytest.skip(f"no CUDA device: {error}")
        return array_namespace(module.zeros(1))

    def native_generator(self, seed):
        """Return a generator or key of the library itself."""
        if self is Backend.TORCH:
            return importlib.import_module("torch").Generator().manual_seed(seed)
        if self is Backend.JAX:
            return importlib.import_module("jax").random.key(seed)
        if self is Backend.CUPY:
            return importlib.import_module("cupy").random.default_rng(seed)
        return np.random.default_rng(seed)


def to_numpy(x):
    """Copy an array of any library to NumPy; half precision becomes float32."""
    if hasattr(x, "get"):  # CuPy
        return x.get()
    if str(x.dtype).endswith("bfloat16"):
        x = x.float() if hasattr(x, "float") else x.astype("float32")
    return np.asarray(x)
