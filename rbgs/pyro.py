"""Distributions for Pyro, whose samples carry the gradient of an estimator."""

from typing import Any

from rbgs.doors import not_installed

try:
    from pyro.distributions.score_parts import ScoreParts
    from pyro.distributions.torch_distribution import TorchDistributionMixin
except ModuleNotFoundError as error:
    raise not_installed(error, "pyro") from None

from torch import Tensor

from rbgs.arrays.typing import Generator
from rbgs.torch.distributions import OneHotCategorical as OneHotCategoricalOfTorch

__all__ = ["OneHotCategorical"]


class OneHotCategorical(OneHotCategoricalOfTorch, TorchDistributionMixin):
    """:class:`rbgs.torch.distributions.OneHotCategorical` with what Pyro asks of a distribution.

    Parameters, attributes and errors are those of that class; ``pyro.sample`` and plates take it,
    and it has ``to_event``, ``mask`` and ``expand_by``.

    Notes
    -----
    In a model whose guide draws with an estimator, the prior should be of this class, too:
    ``log_prob`` of ``pyro.distributions.OneHotCategorical`` has no derivative for the value, so the
    prior would not count in the gradient of ``Trace_ELBO``. The estimator of the prior matters only
    where the model itself is sampled.

    Examples
    --------
    >>> import pyro, rbgs, rbgs.pyro, torch
    >>> law = rbgs.pyro.OneHotCategorical(torch.zeros(3), rbgs.GumbelRao(0.5))
    >>> with pyro.plate("data", 5):
    ...     code = pyro.sample("code", law)
    >>> code.shape
    torch.Size([5, 3])
    """

    def rsample(self, sample_shape: Any = (), *, generator: Generator = None) -> Tensor:
        """Draw what that of :class:`rbgs.torch.distributions.OneHotCategorical` does."""
        value: Any = super().rsample(sample_shape, generator=generator)
        value._is_drawn = True
        return value

    def score_parts(self, x: Tensor) -> ScoreParts:
        """Return what Pyro's estimators of the evidence lower bound are made of.

        Pyro weighs an enumerated value by the score function, and would have none here: it takes
        what can be reparametrised for drawn.
        """
        parts = super().score_parts(x)
        if x.requires_grad or hasattr(x, "_is_drawn"):
            return parts
        return ScoreParts(parts.log_prob, score_function=parts.log_prob, entropy_term=0)
