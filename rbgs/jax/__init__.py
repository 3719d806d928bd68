"""JAX's door: samples of any estimator as arrays that carry the gradient; draws as pytrees."""

import rbgs.jax.pytrees  # noqa: F401  draws become pytrees
from rbgs.jax.sampling import sample

__all__ = ["sample"]
