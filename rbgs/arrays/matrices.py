"""Products of stacks of matrices."""

import numpy as np

from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.typing import Array

# Multiplications of a product that OpenBLAS does not share out between threads.
_ALONE = 2**18


def matmul(x: Array, y: Array) -> Array:
    """Return the products ``x @ y`` of matrices along the last two axes.

    NumPy multiplies those of a stack one by one, each shared out between threads of BLAS that wait
    for each other: on a busy machine that takes a hundred times as long. So it is done in parts.
    """
    if not isinstance(x, np.ndarray):
        return array_namespace(x, y).matmul(x, y)
    m, k, n = x.shape[-2], x.shape[-1], y.shape[-1]
    if m * k * n <= _ALONE:
        product: Array = np.matmul(x, y)
        return product
    half = max(m, k, n) // 2
    if half == m // 2:
        return np.concatenate([matmul(x[..., :half, :], y), matmul(x[..., half:, :], y)], axis=-2)
    if half == k // 2:
        return matmul(x[..., :half], y[..., :half, :]) + matmul(x[..., half:], y[..., half:, :])
    return np.concatenate([matmul(x, y[..., :half]), matmul(x, y[..., half:])], axis=-1)
