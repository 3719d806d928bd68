"""PyTorch's door: samples of any estimator as tensors that carry the gradient.

Values are exactly one-hot; the derivative is the estimator's hand-derived product, in reverse and
in forward mode.
"""

from rbgs.doors import not_installed

try:
    import rbgs.torch.distributions  # noqa: F401  a name of this module
    from rbgs.torch.expectation import expectation
    from rbgs.torch.module import Sampler
    from rbgs.torch.oracle import oracle
    from rbgs.torch.sampling import gumbel_softmax, sample
except ModuleNotFoundError as error:
    raise not_installed(error, "torch") from None

__all__ = ["Sampler", "expectation", "gumbel_softmax", "oracle", "sample"]
