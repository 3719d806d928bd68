"""Distributions for ``torch.distributions``, whose samples carry the gradient of an estimator."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, constraints, register_kl
from torch.distributions import OneHotCategorical as OneHotCategoricalOfTorch

from rbgs.arrays.inputs import check_logits
from rbgs.arrays.keywords import instead_of
from rbgs.arrays.log_probs import divergence, entropy, log_prob, log_probabilities
from rbgs.arrays.tracing import is_traced_by_torch
from rbgs.arrays.typing import Generator
from rbgs.doors import check_answerable, check_one_hot
from rbgs.estimators.base import Estimator
from rbgs.torch.sampling import INSTEAD, check_tensor, sample

__all__ = ["OneHotCategorical"]


class OneHotCategorical(OneHotCategoricalOfTorch):
    r"""One-hot vectors with probabilities :math:`(1 - u) \operatorname{softmax}(\theta) + u / m`.

    A ``torch.distributions.OneHotCategorical`` that can be reparametrised: :meth:`rsample` is
    :func:`rbgs.torch.sample` of an estimator. Here :math:`u` is ``unimix`` and :math:`m` the number
    of allowed categories.

    Parameters
    ----------
    logits : floating tensor ``(..., n)``
        Unnormalised log-probabilities; -inf forbids a category. The attribute ``logits`` holds them
        normalised, after mask and mixture.
    estimator : Estimator
        Any whose samples are one-hot and have a derivative. Its temperature may be a tensor that
        broadcasts against the batch.
    mask : bool tensor ``(..., n)``, optional
        True where a category is allowed; broadcasts against the logits.
    unimix : float
        The share :math:`u` of the uniform distribution over the allowed categories, in [0, 1].
    validate_args : bool, optional
        Whether logits and values are checked; by default as PyTorch is set. In a program of
        ``torch.compile`` they are not.

    Raises
    ------
    TypeError
        The logits are no floating tensor, or the estimator uses values of the loss, has several
        draws, a relaxed value or a structure.
    ValueError
        ``unimix`` is outside [0, 1]; the mask does not fit; or, with ``validate_args``, a row has
        NaN or +inf, or no allowed category.

    Notes
    -----
    :meth:`log_prob` is linear in the value, so that a sample carries its derivative on. PyTorch's
    own takes the index of the largest element, which has none: in an evidence lower bound the prior
    should be of this class, too, or the Kullback-Leibler divergence be taken in closed form. The
    latter is registered with ``torch.distributions.kl_divergence``, also against PyTorch's class.

    References
    ----------
    Hafner, Pasukonis, Ba, Lillicrap (2023). Mastering diverse domains through world models.
    arXiv 2301.04104. (The mixture, with :math:`u = 0.01`.)

    Examples
    --------
    >>> import rbgs, rbgs.torch, torch
    >>> logits = torch.zeros(2, 3, requires_grad=True)
    >>> law = rbgs.torch.distributions.OneHotCategorical(logits, rbgs.GumbelRao(0.5), unimix=0.01)
    >>> value = law.rsample((4,))
    >>> value.shape
    torch.Size([4, 2, 3])
    >>> (value @ torch.tensor([1.0, 2.0, 3.0])).mean().backward()
    >>> bool(logits.grad.abs().sum() > 0)
    True
    >>> prior = torch.distributions.OneHotCategorical(logits=torch.zeros(3))
    >>> torch.distributions.kl_divergence(law, prior).detach()
    tensor([0., 0.])
    """

    arg_constraints = {"logits": constraints.real_vector}  # noqa: RUF012  as the base class has it
    has_rsample = True
    _validate_args: bool

    def __init__(
        self,
        logits: Tensor,
        estimator: Estimator,
        *,
        mask: Tensor | None = None,
        unimix: float = 0.0,
        validate_args: bool | None = None,
    ) -> None:
        check_one_hot(estimator, INSTEAD, "torch.distributions.RelaxedOneHotCategorical")
        check_tensor(logits)
        check_logits(logits, -1)
        self.estimator = estimator
        log_probs = log_probabilities(logits, mask, unimix)
        if validate_args is None:
            validate_args = self._validate_args
        if is_traced_by_torch(log_probs):  # a program has no branch on values
            validate_args = False
        if validate_args:
            check_answerable(log_probs)
        # As the base class does, without its checks, which refuse an empty batch.
        self._categorical = Categorical(logits=log_probs, validate_args=False)
        # It normalises once more, and in half precision the sum may overflow.
        self._categorical.logits = self._categorical._param = log_probs
        *batch, n = log_probs.shape
        Distribution.__init__(self, torch.Size(batch), torch.Size((n,)), validate_args=False)
        self._validate_args = validate_args

    def expand(self, batch_shape: Any, _instance: Any = None) -> "OneHotCategorical":
        """Return the distribution with a batch of another shape.

        Parameters
        ----------
        batch_shape : tuple of int
            The shape, against which that of the batch broadcasts.
        _instance : OneHotCategorical, optional
            PyTorch's own: what a subclass has made.

        Returns
        -------
        OneHotCategorical
            The same probabilities, with the same estimator.

        Raises
        ------
        RuntimeError
            The batch does not broadcast to this shape.

        Examples
        --------
        >>> import rbgs, rbgs.torch, torch
        >>> law = rbgs.torch.distributions.OneHotCategorical(torch.zeros(3), rbgs.GumbelRao(0.5))
        >>> law.expand((4,)).rsample().shape
        torch.Size([4, 3])
        """
        new: OneHotCategorical = self._get_checked_instance(OneHotCategorical, _instance)
        new.estimator = self.estimator
        super().expand(batch_shape, _instance=new)
        return new

    @instead_of(rng="generator", key="generator")
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
        >>> import rbgs, rbgs.torch, torch
        >>> law = rbgs.torch.distributions.OneHotCategorical(torch.zeros(3), rbgs.GumbelRao(0.5))
        >>> law.rsample((4,)).sum(dim=-1)
        tensor([1., 1., 1., 1.])
        """
        logits = self.logits.expand(self._extended_shape(torch.Size(sample_shape)))
        return sample(self.estimator, logits, generator=generator)

    @instead_of(rng="generator", key="generator")
    def sample(self, sample_shape: Any = (), *, generator: Generator = None) -> Tensor:
        r"""Draw what :meth:`rsample` does, without a gradient.

        Parameters
        ----------
        sample_shape : tuple of int
            The shape of independent draws before the batch.
        generator : torch.Generator, optional
            As in :func:`rbgs.torch.sample`: by default PyTorch's own.

        Returns
        -------
        Tensor ``(*sample_shape, *batch_shape, n)``
            One-hot :math:`D \sim \operatorname{Cat}(p)`.

        Raises
        ------
        TypeError, ValueError
            As in :func:`rbgs.torch.sample`.

        Examples
        --------
        >>> import rbgs, rbgs.torch, torch
        >>> law = rbgs.torch.distributions.OneHotCategorical(torch.zeros(3), rbgs.GumbelRao(0.5))
        >>> law.sample((4,)).requires_grad
        False
        """
        with torch.no_grad():
            return self.rsample(sample_shape, generator=generator)

    def log_prob(self, value: Tensor) -> Tensor:
        r"""Return the log-probability of one-hot values: -inf for a forbidden one.

        .. math:: \log p(v) = \sum_j v_j \log p_j

        with :math:`0 \log 0 = 0`. It is linear in the value.

        Parameters
        ----------
        value : floating tensor ``(..., n)``
            One-hot vectors; the batch broadcasts against their other axes.

        Returns
        -------
        Tensor ``(...,)``
            The log-probabilities.

        Raises
        ------
        ValueError
            With ``validate_args``: a value is not one-hot, or its shape does not fit.

        Examples
        --------
        >>> import rbgs, rbgs.torch, torch
        >>> law = rbgs.torch.distributions.OneHotCategorical(torch.zeros(3), rbgs.GumbelRao(0.5))
        >>> law.log_prob(torch.eye(3))
        tensor([-1.0986, -1.0986, -1.0986])
        """
        if self._validate_args:
            self._validate_sample(value)
        log_probability: Tensor = log_prob(self.logits, value)
        return log_probability

    def entropy(self) -> Tensor:
        r"""Return the entropy in nats.

        .. math:: H = -\sum_j p_j \log p_j

        Returns
        -------
        Tensor ``(...,)``
            One for each distribution of the batch.

        Examples
        --------
        >>> import rbgs, rbgs.torch, torch
        >>> law = rbgs.torch.distributions.OneHotCategorical(torch.zeros(3), rbgs.GumbelRao(0.5))
        >>> law.entropy()
        tensor(1.0986)
        """
        nats: Tensor = entropy(self.logits)
        return nats

    @property
    def deterministic_sample(self) -> Tensor:
        """The mode, under the name by which TorchRL asks for it.

        Examples
        --------
        >>> import rbgs, rbgs.torch, torch
        >>> logits = torch.tensor([0.0, 1.0, 2.0])
        >>> law = rbgs.torch.distributions.OneHotCategorical(logits, rbgs.GumbelRao(0.5))
        >>> law.deterministic_sample
        tensor([0., 0., 1.])
        """
        return self.mode


@register_kl(OneHotCategorical, OneHotCategorical)
@register_kl(OneHotCategorical, OneHotCategoricalOfTorch)
@register_kl(OneHotCategoricalOfTorch, OneHotCategorical)
def _divergence(p: OneHotCategoricalOfTorch, q: OneHotCategoricalOfTorch) -> Tensor:
    # That of PyTorch has the derivative NaN where both forbid a category.
    nats: Tensor = divergence(p.logits, q.logits)
    return nats
