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

    The class :class:`rbgs.torch.distributions.OneHotCategorical` with what Pyro asks of a
    distribution: ``pyro.sample`` and plates take it, and it has ``to_event``, ``mask`` and
    ``expand_by``.

    Parameters
    ----------
    logits : floating tensor ``(..., n)``
        Unnormalised log-probabilities; -inf forbids a category.
    estimator : Estimator
        Any whose samples are one-hot and have a derivative.
    mask : bool tensor ``(..., n)``, optional
        True where a category is allowed; broadcasts against the logits.
    unimix : float
        The share u of the uniform distribution over the m allowed categories, in [0, 1].
    validate_args : bool, optional
        Whether logits and values are checked; by default as PyTorch is set.

    Raises
    ------
    TypeError, ValueError
        As that class does.

    Notes
    -----
    In a model whose guide draws with an estimator, the prior should be of this class, too:
    ``log_prob`` of ``pyro.distributions.OneHotCategorical`` has no derivative for the value, so the
    prior would not count in the gradient of ``Trace_ELBO``. The estimator of the prior matters only
    where the model itself is sampled.

    References
    ----------
    Hafner, Pasukonis, Ba, Lillicrap (2023). Mastering diverse domains through world models. arXiv
    2301.04104. (The mixture, with :math:`u = 0.01`.)

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
        r"""Draw one-hot vectors that carry the gradient of the estimator for the logits.

        The value is :math:`D \sim \operatorname{Cat}(p)` with the distribution's probabilities p,
        the derivative the one of :func:`rbgs.torch.sample` (Paulus et al. 2021, eq. 4 to 10).

        Parameters
        ----------
        sample_shape : tuple of int
            The shape of independent draws before the batch.
        generator : torch.Generator, optional
            As in :func:`rbgs.torch.sample`: by default PyTorch's own.

        Returns
        -------
        Tensor ``(*sample_shape, *batch_shape, n)``
            Values that are exactly one-hot.

        Raises
        ------
        TypeError, ValueError
            As in :func:`rbgs.torch.sample`.

        Examples
        --------
        >>> import rbgs, rbgs.pyro, torch
        >>> law = rbgs.pyro.OneHotCategorical(torch.zeros(3), rbgs.GumbelRao(0.5))
        >>> law.rsample((4,)).sum(dim=-1)
        tensor([1., 1., 1., 1.])
        """
        value: Any = super().rsample(sample_shape, generator=generator)
        value._is_drawn = True
        return value

    def score_parts(self, x: Tensor) -> ScoreParts:
        r"""Return what Pyro's estimators of the evidence lower bound are made of.

        Pyro weighs an enumerated value by the score function :math:`\log p(x)`, and would have none
        here: it takes what can be reparametrised for drawn.

        Parameters
        ----------
        x : floating tensor ``(..., n)``
            One-hot vectors, drawn or enumerated.

        Returns
        -------
        ScoreParts
            The log-probability, the score function and the term of the entropy.

        Raises
        ------
        ValueError
            With ``validate_args``: a value is not one-hot, or its shape does not fit.

        Examples
        --------
        >>> import rbgs, rbgs.pyro, torch
        >>> law = rbgs.pyro.OneHotCategorical(torch.zeros(3), rbgs.GumbelRao(0.5))
        >>> law.score_parts(law.rsample()).score_function  # reparametrised: none
        0
        """
        parts = super().score_parts(x)
        if x.requires_grad or hasattr(x, "_is_drawn"):
            return parts
        return ScoreParts(parts.log_prob, score_function=parts.log_prob, entropy_term=0)
