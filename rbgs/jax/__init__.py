"""JAX's door: samples of any estimator as arrays that carry the gradient; draws as pytrees."""

from rbgs.doors import not_installed

try:
    import rbgs.jax.pytrees  # noqa: F401  draws become pytrees
    from rbgs.jax.expectation import expectation
    from rbgs.jax.oracle import oracle
    from rbgs.jax.sampling import sample
except ModuleNotFoundError as error:
    raise not_installed(error, "jax") from None

__all__ = ["expectation", "oracle", "sample"]
