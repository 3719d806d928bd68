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
    r"""One-hot vectors with probabilities :math:`(1 - u) \operatorname{softmax}(\theta) + u / m`.

    It is :class:`rbgs.torch.distributions.OneHotCategorical` with what Pyro asks of a distribution:
    ``pyro.sample`` and plates take it, and it has ``to_event``, ``mask`` and ``expand_by``.

    Parameters
    ----------
    logits : floating tensor ``(..., n)``
        Unnormalised log-probabilities; -inf forbids a category.
    estimator : Estimator
        Any whose samples are one-hot and have a derivative.
    mask : bool tensor, optional
        True where a category is allowed; broadcasts against the logits.
    unimix : float
        The share :math:`u` of the uniform distribution over the :math:`m` allowed categories.
    validate_args : bool, optional
        Whether logits and values are checked; by default as PyTorch is set.

    Raises
    ------
    TypeError, ValueError
        As in that class.

    Notes
    -----
    In a model whose guide draws with an estimator, the prior should be of this class, too:
    ``log_prob`` of ``pyro.distributions.OneHotCategorical`` has no derivative for the value, so the
    prior would not count in the gradient of ``Trace_ELBO``. The estimator of the prior matters only
    where the model itself is sampled.

    References
    ----------
    Hafner, Pasukonis, Ba, Lillicrap (2023). Mastering diverse domains through world models.
    arXiv 2301.04104. (The mixture, with :math:`u = 0.01`.)

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
        """Draw one-hot vectors that carry the gradient of the estimator for the logits.

        Parameters
        ----------
        sample_shape : tuple of int
            The shape of independent draws before the batch.
        generator : torch.Generator, optional
            As in :func:`rbgs.torch.sample`: by default PyTorch's own, which Pyro seeds.

        Returns
        -------
        Tensor
            Values of shape ``(*sample_shape, *batch_shape, n)``, exactly one-hot.
        """
        value: Any = super().rsample(sample_shape, generator=generator)
        value._is_drawn = True
        return value

    def score_parts(self, x: Tensor) -> ScoreParts:
        """Return what Pyro's estimators of the evidence lower bound are made of.

        Pyro weighs an enumerated value by the score function, and would have none here: it takes
        what can be reparametrised for drawn.

        Parameters
        ----------
        x : tensor ``(..., n)``
            One-hot vectors, drawn or enumerated.

        Returns
        -------
        ScoreParts
            Log-probability, score function and entropy term.
        """
        parts = super().score_parts(x)
        if x.requires_grad or hasattr(x, "_is_drawn"):
            return parts
        return ScoreParts(parts.log_prob, score_function=parts.log_prob, entropy_term=0)
