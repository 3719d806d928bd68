"""REBAR and RELAX: REINFORCE with a control variate at a relaxed sample given the outcome."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rbgs.arrays.inputs import check_temperature
from rbgs.arrays.keywords import instead_of
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.scalars import as_float, is_array
from rbgs.arrays.settings import own_settings
from rbgs.arrays.typing import Array, Generator, Oracle, Temperature
from rbgs.draw import Operator
from rbgs.estimators.loss import Loss, beside
from rbgs.estimators.running import RunningCoefficient
from rbgs.estimators.score_function import ScoreFunctionEstimator
from rbgs.structures.structure import Outcome


@dataclass(frozen=True, eq=False, repr=False)
class Rebar(ScoreFunctionEstimator):
    r"""REBAR: the relaxed loss as control variate of REINFORCE, unbiased.

    With :math:`p = \operatorname{softmax}(\theta)` for logits :math:`\theta` ``(..., n)``, iid
    Gumbels G, :math:`z = \log p + G`, the one-hot outcome D of :math:`\arg\max z`, :math:`\tilde z`
    a copy of z drawn given D, and :math:`\sigma_\tau` the softmax at temperature :math:`\tau`, the
    estimate is

    .. math:: \big[f(D) - \eta f(\sigma_\tau(\tilde z))\big](D - p)
        + \eta \frac{\partial}{\partial \theta} f(\sigma_\tau(z))
        - \eta \frac{\partial}{\partial \theta} f(\sigma_\tau(\tilde z)).

    Unlike in :class:`~rbgs.GumbelRao` the Gumbels given the outcome are differentiated: at
    :math:`\tilde s = \sigma_\tau(\tilde z)` the last derivative is :math:`(I - p 1^\top)(\kappa
    \circ J_\tau(\tilde s) \nabla f(\tilde s))`, with :math:`\kappa_j = E_j / (E_j + p_j E_i)` for
    :math:`j \ne i` and 0 for the winner. The loss must be defined inside the simplex, where it is
    evaluated once more, with its derivative.

    Parameters
    ----------
    temperature : float or array ``(...,)``
        :math:`\tau > 0`. Any kind of number is kept as a Python float; an array broadcasts against
        the batch. It changes the variance, not the mean.
    eta : float, array ``(...,)`` or RunningCoefficient
        The coefficient :math:`\eta` of the control variate: a constant, an array that broadcasts
        against the losses, or the running coefficient of least variance of earlier calls. It
        changes the variance, not the mean. To train it, see :meth:`gradient_with_eta`; through
        ``expectation`` of a framework an array gets a derivative.

    Raises
    ------
    ValueError
        The temperature is not positive and finite, or ``eta`` not finite.
    TypeError
        The temperature or ``eta`` is not a float or a floating array; in :meth:`gradient`: the
        oracle does not give the derivative.

    Notes
    -----
    Here :math:`\tilde z` and z are the same: the expectation of each term depends on the law of its
    own variable alone, so that both may be made of one noise. It takes two evaluations of the loss
    instead of three, for up to a sixth more variance.

    References
    ----------
    Tucker, Mnih, Maddison, Lawson, Sohl-Dickstein (2017). REBAR: low-variance, unbiased gradient
    estimates for discrete latent variable models. NeurIPS. (Eq. 7.)

    Examples
    --------
    >>> import numpy as np, rbgs
    >>> target = np.asarray([0.1, 0.2, 0.7])
    >>> def oracle(value):
    ...     return ((value - target) ** 2).sum(axis=-1), 2 * (value - target)
    >>> rebar, reinforce = rbgs.compare(
    ...     [rbgs.Rebar(), rbgs.Reinforce()], oracle, np.zeros(3), draws=2000, rng=0)
    >>> bool(rebar.variance < reinforce.variance)
    True
    """

    temperature: Temperature = 1.0
    eta: Array | float | RunningCoefficient = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperature", check_temperature(self.temperature))
        if not isinstance(self.eta, RunningCoefficient):
            eta = as_float("eta", self.eta)
            if isinstance(eta, float) and not math.isfinite(eta):
                raise ValueError(f"eta must be finite, got {eta}")
            object.__setattr__(self, "eta", eta)

    @property
    def _random_given_outcome(self) -> bool:
        return True

    @property
    def _learned(self) -> bool:
        return is_array(self.eta)

    @property
    def _function(self) -> Callable[[Array], Any] | None:
        """What replaces the loss inside the simplex; None for the loss itself."""
        return None

    def _estimate(self, outcome: Outcome, operator: Operator | None, loss: Loss) -> Array:
        plain, correction = self._parts(outcome, loss)
        losses, eta = loss.answer.loss, self.eta
        if isinstance(eta, RunningCoefficient):
            running, eta = eta, eta.value
            running.update(*(_inner(outcome, x, correction, losses) for x in (plain, correction)))
        eta = beside("eta", eta, losses)
        if not isinstance(eta, float):
            xp = array_namespace(losses)
            eta = outcome.rows.spread(xp.broadcast_to(eta, losses.shape))
        return plain - eta * correction

    def _parts(self, outcome: Outcome, loss: Loss) -> tuple[Array, Array]:
        """Return a and b ``(n, rows)`` of the estimate, which is a - eta b."""
        xp, rows = array_namespace(outcome.winner), outcome.rows
        p, winner, exponentials = xp.exp(rows.log_probs), outcome.winner, outcome.exponentials
        relaxed = self._structure.drawn(outcome)
        found = loss.at(relaxed.first(), derivative=True, function=self._function)
        pathwise = relaxed.product(found.cotangent)
        of_winner = xp.sum(winner * exponentials, axis=0)
        slower = exponentials + p * of_winner
        kappa = (1 - winner) * exponentials / xp.where(slower == 0, 1.0, slower)
        given = kappa * pathwise
        conditional = given - p * xp.sum(given, axis=0)
        plain = self._score(outcome, loss.answer.loss)
        return plain, self._score(outcome, found.loss) - pathwise + conditional

    @instead_of(dim="axis", generator="rng", key="rng", seed="rng")
    def gradient_with_eta(
        self,
        oracle: Oracle,
        logits: Array,
        *,
        rng: Generator = None,
        noise: Array | None = None,
        index: Array | int | None = None,
        mask: Array | None = None,
        axis: int = -1,
    ) -> tuple[Array, Array]:
        r"""Estimate the gradient, and that of its squared norm for :math:`\eta`.

        The mean of the estimate :math:`\hat g` does not depend on :math:`\eta`, so its variance
        falls along :math:`-\frac{\partial}{\partial \eta} |\hat g|^2 = -2 \langle \hat g,
        \frac{\partial \hat g}{\partial \eta} \rangle`.

        Parameters
        ----------
        oracle : callable
            As in :meth:`gradient`. Its direct gradient for the logits, if it gives one, is added to
            the estimate, but does not count in its norm.
        logits : floating array ``(..., n)``
            Unnormalised log-probabilities; -inf forbids a category.
        rng : generator, key or int seed, optional
            As in :meth:`sample`.
        noise : floating array ``(..., n)``, optional
            Uniforms from :meth:`noise`, instead of ``rng``.
        index : int array ``(...,)`` or int, optional
            Condition on this outcome instead of drawing one.
        mask : bool array ``(..., n)``, optional
            True where a category is allowed.
        axis : int
            The category axis.

        Returns
        -------
        estimate : array ``(..., n)``
            That of :meth:`gradient`.
        eta_gradient : array ``(...,)``
            The derivative of the squared norm, over all variables that share a loss: of the loss's
            shape. Sum it over what shares an ``eta``.

        Raises
        ------
        TypeError, ValueError
            As in :meth:`gradient`; or ``eta`` is a :class:`~rbgs.RunningCoefficient`, which adapts
            itself.

        References
        ----------
        Tucker, Mnih, Maddison, Lawson, Sohl-Dickstein (2017). REBAR: low-variance, unbiased
        gradient estimates for discrete latent variable models. NeurIPS.

        Examples
        --------
        >>> import numpy as np, rbgs
        >>> def oracle(value):
        ...     return (value**2 @ np.arange(3.0)), 2 * value * np.arange(3.0)
        >>> eta, logits = 0.0, np.zeros((1000, 3))
        >>> for step in range(20):
        ...     _, slope = rbgs.Rebar(eta=eta).gradient_with_eta(oracle, logits, rng=step)
        ...     eta = eta - 0.2 * slope.mean()
        >>> bool(0.2 < eta < 1.5)
        True
        """
        if isinstance(self.eta, RunningCoefficient):
            raise TypeError("eta is a RunningCoefficient, which adapts itself: call gradient")
        recorded = _Recorded(self.eta)
        estimate = replace(self, eta=recorded).gradient(
            oracle, logits, rng=rng, noise=noise, index=index, mask=mask, axis=axis
        )
        with own_settings():
            eta = beside("eta", self.eta, recorded.products)
            return estimate, 2 * (eta * recorded.squares - recorded.products)


@dataclass(frozen=True, eq=False, repr=False)
class Relax(Rebar):
    r"""RELAX: REINFORCE with a learned control variate at a relaxed sample, unbiased.

    It is :class:`~rbgs.Rebar` with a function c of the relaxed value in place of the loss:

    .. math:: \big[f(D) - \eta c(\sigma_\tau(\tilde z))\big](D - p)
        + \eta \frac{\partial}{\partial \theta} c(\sigma_\tau(z))
        - \eta \frac{\partial}{\partial \theta} c(\sigma_\tau(\tilde z)).

    Here z is :math:`\log p` plus Gumbels, ``(..., n)`` like the logits, D the one-hot outcome of
    its largest entry, :math:`\tilde z` a copy of z drawn given D, and :math:`\sigma_\tau` the
    softmax at temperature :math:`\tau`. The loss f is evaluated at the outcome alone, and needs no
    derivative.

    Parameters
    ----------
    temperature : float or array ``(...,)``
        :math:`\tau > 0`, as in :class:`~rbgs.Rebar`.
    eta : float, array ``(...,)`` or RunningCoefficient
        The coefficient :math:`\eta`, as in :class:`~rbgs.Rebar`.
    control_variate : callable, optional
        The function c, like the loss. For :meth:`gradient` an oracle, ``control_variate(value)``
        returns ``(c, dc_dvalue)`` in the shapes of the loss and the value; for ``expectation`` of a
        framework a function of that framework, whose parameters then get the derivative of the
        squared norm of the estimate, and so learn to lower the variance. By default the loss, as in
        :class:`~rbgs.Rebar`.

    Raises
    ------
    ValueError
        The temperature is not positive and finite, or ``eta`` not finite.
    TypeError
        The control variate cannot be called, the temperature or ``eta`` is not a float or a
        floating array; in :meth:`gradient`: the control variate does not give its derivative.

    References
    ----------
    Grathwohl, Choi, Wu, Roeder, Duvenaud (2018). Backpropagation through the void: optimizing
    control variates for black-box gradient estimation. ICLR. (Eq. 12.)

    Examples
    --------
    A loss that has no derivative, and a linear control variate:

    >>> import numpy as np, rbgs
    >>> cost, guess = np.asarray([1.0, 2.0, 4.0]), np.asarray([1.0, 2.0, 3.0])
    >>> def control_variate(value):
    ...     return value @ guess, np.broadcast_to(guess, value.shape)
    >>> estimator = rbgs.Relax(control_variate=control_variate)
    >>> estimator.gradient(lambda value: value @ cost, np.zeros((5, 3)), rng=0).shape
    (5, 3)
    """

    control_variate: Callable[[Array], Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.control_variate is None or callable(self.control_variate)):
            raise TypeError(
                f"control_variate is a {type(self.control_variate).__name__}; a function of the "
                "value is wanted, or None for the loss itself"
            )

    @property
    def _learned(self) -> bool:
        return self.control_variate is not None or super()._learned

    @property
    def _function(self) -> Callable[[Array], Any] | None:
        return self.control_variate


class _Recorded(RunningCoefficient):
    """A coefficient that does not change, and keeps what it is given."""

    def __init__(self, value: Array | float) -> None:
        self._value = value

    @property
    def value(self) -> Any:
        return self._value

    def update(self, products: Array, squares: Array) -> None:
        self.products, self.squares = products, squares


def _inner(outcome: Outcome, x: Array, y: Array, losses: Array) -> Array:
    """Return inner products of ``(n, rows)`` over the variables that share a loss."""
    return outcome.rows.total(array_namespace(x).sum(x * y, axis=0), losses)
