"""The door of HIPS autograd: NumPy arrays that carry the gradient of any estimator."""

from rbgs.doors import not_installed

try:
    from rbgs.autograd.expectation import expectation
    from rbgs.autograd.oracle import oracle
    from rbgs.autograd.sampling import sample
except ModuleNotFoundError as error:
    raise not_installed(error, "autograd") from None

__all__ = ["expectation", "oracle", "sample"]
