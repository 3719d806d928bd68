"""Distributions for Distrax, whose samples carry the gradient of an estimator."""

from typing import Any

from rbgs.doors import not_installed

try:
    import distrax
except ModuleNotFoundError as error:
    raise not_installed(error, "distrax") from None

import jax
import numpy as np

from rbgs.arrays.log_probs import log_prob
from rbgs.arrays.typing import Generator
from rbgs.doors import at_temperature
from rbgs.estimators.base import Estimator
from rbgs.jax.one_hot import parts_of_law
from rbgs.jax.sampling import sample

__all__ = ["OneHotCategorical"]


class OneHotCategorical(distrax.OneHotCategorical):
    r"""One-hot vectors with probabilities :math:`(1 - u) \operatorname{softmax}(\theta) + u / m`.

    A ``distrax.OneHotCategorical`` whose samples are those of :func:`rbgs.jax.sample`. Here
    :math:`u` is ``unimix`` and :math:`m` the number of allowed categories.

    Parameters
    ----------
    logits : floating array ``(..., n)``
        Unnormalised log-probabilities; -inf forbids a category. The attribute ``logits`` holds them
        normalised, after mask and mixture. A row with NaN or +inf, or without an allowed category,
        is NaN, as are its samples.
    estimator : Estimator
        Any whose samples are one-hot and have a derivative. Its temperature may be an array, traced
        or not, that broadcasts against the batch.
    mask : bool array ``(..., n)``, optional
        True where a category is allowed; broadcasts against the logits.
    unimix : float
        The share :math:`u` of the uniform distribution over the allowed categories, in [0, 1].

    Raises
    ------
    TypeError
        The logits are no floating array, or the estimator uses values of the loss, has several
        draws, a relaxed value or a structure.
    ValueError
        ``unimix`` is outside [0, 1], or the mask does not fit.

    Notes
    -----
    Samples are of the dtype of the logits. The Kullback-Leibler divergence is that of Distrax.

    References
    ----------
    Hafner, Pasukonis, Ba, Lillicrap (2023). Mastering diverse domains through world models.
    arXiv 2301.04104. (The mixture, with :math:`u = 0.01`.)

    Examples
    --------
    >>> import jax, rbgs, rbgs.distrax
    >>> law = rbgs.distrax.OneHotCategorical(jax.numpy.zeros((2, 3)), rbgs.GumbelRao(0.5))
    >>> value, log_probability = law.sample_and_log_prob(seed=jax.random.key(0), sample_shape=4)
    >>> value.shape, log_probability.shape
    ((4, 2, 3), (4, 2))
    """

    def __init__(
        self,
        logits: jax.Array | np.ndarray[Any, Any],
        estimator: Estimator,
        *,
        mask: jax.Array | np.ndarray[Any, Any] | None = None,
        unimix: float = 0.0,
    ) -> None:
        log_probs, static, temperature = parts_of_law(logits, estimator, mask, unimix)
        super().__init__(logits=log_probs, dtype=log_probs.dtype)
        self._estimator, self._temperature = static, temperature

    @property
    def estimator(self) -> Estimator:
        """The estimator of the samples' gradient.

        Examples
        --------
        >>> import jax, rbgs, rbgs.distrax
        >>> law = rbgs.distrax.OneHotCategorical(jax.numpy.zeros(3), rbgs.GumbelRao(0.5))
        >>> law.estimator
        GumbelRao(temperature=0.5, samples=None, sampling='lattice', control_variate=None)
        """
        return at_temperature(self._estimator, self._temperature)

    def _sample_n(self, key: Generator, n: int) -> jax.Array:
        logits = jax.numpy.broadcast_to(self.logits, (n, *self.logits.shape))
        return sample(self.estimator, key, logits)

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
        >>> import jax, rbgs, rbgs.distrax
        >>> law = rbgs.distrax.OneHotCategorical(jax.numpy.zeros(3), rbgs.GumbelRao(0.5))
        >>> print(law.log_prob(jax.numpy.eye(3)).round(4))
        [-1.0986 -1.0986 -1.0986]
        """
        # That of Distrax has the derivative -inf for the value where a category is forbidden.
        log_probability: jax.Array = log_prob(self.logits, jax.numpy.asarray(value))
        return log_probability

    def __getitem__(self, index: Any) -> "OneHotCategorical":
        """Return the distribution of a part of the batch."""
        *batch, n = self.logits.shape
        estimator = self._estimator
        if self._temperature is not None:
            temperature = jax.numpy.broadcast_to(self._temperature, tuple(batch))
            estimator = at_temperature(estimator, temperature[index])
        rows = np.arange(np.prod(batch, dtype=int)).reshape(batch)[index]
        return type(self)(self.logits.reshape(-1, n)[rows], estimator)
