"""Distributions for NumPyro, whose samples carry the gradient of an estimator."""

from typing import Any

from rbgs.doors import not_installed

try:
    from numpyro.distributions import Distribution, constraints
    from numpyro.distributions.kl import kl_divergence
    from numpyro.distributions.util import validate_sample
except ModuleNotFoundError as error:
    raise not_installed(error, "numpyro") from None

import jax
import numpy as np

from rbgs.arrays.log_probs import divergence, entropy, log_prob
from rbgs.arrays.tracing import is_traced
from rbgs.arrays.typing import Generator
from rbgs.doors import at_temperature, check_answerable
from rbgs.estimators.base import Estimator
from rbgs.jax.one_hot import parts_of_law
from rbgs.jax.sampling import sample

__all__ = ["OneHotCategorical"]


class _OneHot(constraints.ParameterFreeConstraint):
    """One-hot vectors, not called discrete: of that NumPyro warns as if it had no derivative."""

    event_dim = 1

    def __call__(self, x: jax.Array) -> jax.Array:
        return ((x == 0) | (x == 1)).all(axis=-1) & (x.sum(axis=-1) == 1)

    def feasible_like(self, prototype: jax.Array) -> jax.Array:
        return jax.numpy.zeros_like(prototype).at[..., 0].set(1)


class OneHotCategorical(Distribution):
    r"""One-hot vectors with probabilities :math:`(1 - u) \operatorname{softmax}(\theta) + u / m`.

    NumPyro takes it as reparametrised: its samples are those of :func:`rbgs.jax.sample`. Here
    :math:`u` is ``unimix`` and :math:`m` the number of allowed categories.

    Parameters
    ----------
    logits : floating array ``(..., n)``
        Unnormalised log-probabilities; -inf forbids a category. The attribute ``logits`` holds them
        normalised, after mask and mixture.
    estimator : Estimator
        Any whose samples are one-hot and have a derivative. Its temperature may be an array, traced
        or not, that broadcasts against the batch.
    mask : bool array ``(..., n)``, optional
        True where a category is allowed; broadcasts against the logits.
    unimix : float
        The share :math:`u` of the uniform distribution over the allowed categories, in [0, 1].
    validate_args : bool, optional
        Whether logits and values are checked where they are not traced; by default as NumPyro is
        set.

    Raises
    ------
    TypeError
        The logits are no floating array, or the estimator uses values of the loss, has several
        draws, a relaxed value or a structure.
    ValueError
        ``unimix`` is outside [0, 1]; the mask does not fit; or, with ``validate_args``, a row has
        NaN or +inf, or no allowed category.

    Notes
    -----
    The log-probability is linear in the value, so that a sample carries its derivative on. The
    Kullback-Leibler divergence between two of them is registered. As a pytree it has the logits and
    a temperature that is an array for leaves.

    References
    ----------
    Hafner, Pasukonis, Ba, Lillicrap (2023). Mastering diverse domains through world models.
    arXiv 2301.04104. (The mixture, with :math:`u = 0.01`.)

    Examples
    --------
    >>> import jax, rbgs, rbgs.numpyro
    >>> law = rbgs.numpyro.OneHotCategorical(jax.numpy.zeros((2, 3)), rbgs.GumbelRao(0.5))
    >>> law.sample(jax.random.key(0), (4,)).shape
    (4, 2, 3)
    >>> print(law.entropy().round(4))
    [1.0986 1.0986]
    """

    # Those of NumPyro have no place for -inf; what is checked is in validate_args.
    arg_constraints = {"logits": constraints.dependent}  # noqa: RUF012  as the base class has it
    support = _OneHot()
    reparametrized_params = ["logits"]  # noqa: RUF012
    pytree_data_fields = ("logits", "_temperature")
    pytree_aux_fields = ("_estimator",)

    def __init__(
        self,
        logits: jax.Array | np.ndarray[Any, Any],
        estimator: Estimator,
        *,
        mask: jax.Array | np.ndarray[Any, Any] | None = None,
        unimix: float = 0.0,
        validate_args: bool | None = None,
    ) -> None:
        self.logits, self._estimator, self._temperature = parts_of_law(
            logits, estimator, mask, unimix
        )
        shape = self.logits.shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    @property
    def estimator(self) -> Estimator:
        """The estimator of the samples' gradient.

        Examples
        --------
        >>> import jax, rbgs, rbgs.numpyro
        >>> law = rbgs.numpyro.OneHotCategorical(jax.numpy.zeros(3), rbgs.GumbelRao(0.5))
        >>> law.estimator
        GumbelRao(temperature=0.5, samples=None, sampling='lattice', control_variate=None)
        """
        return at_temperature(self._estimator, self._temperature)

    def validate_args(self, strict: bool = True) -> None:
        """Raise if a row of the logits cannot be answered.

        Parameters
        ----------
        strict : bool
            Whether traced logits, which have no values to be checked, raise as well.

        Raises
        ------
        ValueError
            A row has NaN or +inf, or no allowed category.
        RuntimeError
            The logits are traced, and ``strict``.

        Examples
        --------
        >>> import jax, rbgs, rbgs.numpyro
        >>> law = rbgs.numpyro.OneHotCategorical(jax.numpy.zeros(3), rbgs.GumbelRao(0.5))
        >>> law.validate_args()
        """
        if not is_traced(self.logits):
            check_answerable(self.logits)
        elif strict:
            raise RuntimeError("the logits are traced, so they have no values to be checked")

    def sample(self, key: Generator, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        r"""Draw one-hot vectors that carry the gradient of the estimator for the logits.

        The value is :math:`D \sim \operatorname{Cat}(p)` with the distribution's probabilities p,
        the derivative the one of :func:`rbgs.jax.sample` (Paulus et al. 2021, eq. 4 to 10).

        Parameters
        ----------
        key : JAX key
            Where the randomness comes from.
        sample_shape : tuple of int
            The shape of independent draws before the batch.

        Returns
        -------
        array ``(*sample_shape, *batch_shape, n)``
            Values that are exactly one-hot.

        Raises
        ------
        TypeError, ValueError
            As in :func:`rbgs.jax.sample`.

        Examples
        --------
        >>> import jax, rbgs, rbgs.numpyro
        >>> law = rbgs.numpyro.OneHotCategorical(jax.numpy.zeros(3), rbgs.GumbelRao(0.5))
        >>> print(law.sample(jax.random.key(0), (4,)).sum(axis=-1))
        [1. 1. 1. 1.]
        """
        shape = (*sample_shape, *self.logits.shape)
        return sample(self.estimator, key, jax.numpy.broadcast_to(self.logits, shape))

    @validate_sample
    def log_prob(self, value: jax.Array) -> jax.Array:
        r"""Return the log-probability of one-hot values: -inf for a forbidden one.

        .. math:: \log p(v) = \sum_j v_j \log p_j

        with :math:`0 \log 0 = 0`. It is linear in the value.

        Parameters
        ----------
        value : floating array ``(..., n)``
            One-hot vectors; the batch broadcasts against their other axes.

        Returns
        -------
        array ``(...,)``
            The log-probabilities.

        Raises
        ------
        TypeError, ValueError
            The value is no array, or its shape does not fit.

        Examples
        --------
        >>> import jax, rbgs, rbgs.numpyro
        >>> law = rbgs.numpyro.OneHotCategorical(jax.numpy.zeros(3), rbgs.GumbelRao(0.5))
        >>> print(law.log_prob(jax.numpy.eye(3)).round(4))
        [-1.0986 -1.0986 -1.0986]
        """
        log_probability: jax.Array = log_prob(self.logits, jax.numpy.asarray(value))
        return log_probability

    def entropy(self) -> jax.Array:
        r"""Return the entropy in nats.

        .. math:: H = -\sum_j p_j \log p_j

        Returns
        -------
        array ``(...,)``
            One for each distribution of the batch.

        Examples
        --------
        >>> import jax, rbgs, rbgs.numpyro
        >>> law = rbgs.numpyro.OneHotCategorical(jax.numpy.zeros(3), rbgs.GumbelRao(0.5))
        >>> print(law.entropy().round(4))
        1.0986
        """
        nats: jax.Array = entropy(self.logits)
        return nats

    @property
    def probs(self) -> jax.Array:
        """The probabilities ``(..., n)``, after mask and mixture.

        Examples
        --------
        >>> import jax, rbgs, rbgs.numpyro
        >>> law = rbgs.numpyro.OneHotCategorical(jax.numpy.zeros(3), rbgs.GumbelRao(0.5))
        >>> print(law.probs.round(4))
        [0.3333 0.3333 0.3333]
        """
        return jax.numpy.exp(self.logits)

    @property
    def mean(self) -> jax.Array:
        """The mean ``(..., n)``: the probabilities.

        Examples
        --------
        >>> import jax, rbgs, rbgs.numpyro
        >>> law = rbgs.numpyro.OneHotCategorical(jax.numpy.zeros(3), rbgs.GumbelRao(0.5))
        >>> print(law.mean.round(4))
        [0.3333 0.3333 0.3333]
        """
        return self.probs

    @property
    def variance(self) -> jax.Array:
        """The variance ``(..., n)`` of each element, p (1 - p).

        Examples
        --------
        >>> import jax, rbgs, rbgs.numpyro
        >>> law = rbgs.numpyro.OneHotCategorical(jax.numpy.zeros(3), rbgs.GumbelRao(0.5))
        >>> [round(x, 4) for x in law.variance.tolist()]
        [0.2222, 0.2222, 0.2222]
        """
        return self.probs * (1 - self.probs)

    @property
    def mode(self) -> jax.Array:
        """The most probable value ``(..., n)``, the first of several.

        Examples
        --------
        >>> import jax, rbgs, rbgs.numpyro
        >>> law = rbgs.numpyro.OneHotCategorical(jax.numpy.zeros(3), rbgs.GumbelRao(0.5))
        >>> print(law.mode)
        [1. 0. 0.]
        """
        best = jax.numpy.argmax(self.logits, axis=-1)
        return jax.nn.one_hot(best, self.logits.shape[-1], dtype=self.logits.dtype)


@kl_divergence.register(OneHotCategorical, OneHotCategorical)
def _divergence(p: OneHotCategorical, q: OneHotCategorical) -> jax.Array:
    nats: jax.Array = divergence(p.logits, q.logits)
    return nats
