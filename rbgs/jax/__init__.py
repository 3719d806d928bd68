"""JAX's door: samples of any estimator as arrays that carry the gradient; draws as pytrees."""

from rbgs.jax import pytrees as pytrees
from rbgs.jax.sampling import sample

__all__ = ["sample"]
