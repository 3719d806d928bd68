"""What every estimator does for who calls it: draw noise, an outcome, or a gradient estimate."""

from typing import Any

from rbgs.arrays.inputs import check_logits, wide_dtype
from rbgs.arrays.keywords import instead_of
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.oracle import Answer, evaluate
from rbgs.arrays.settings import with_own_settings
from rbgs.arrays.typing import Array, Generator, Oracle
from rbgs.draw import Draw
from rbgs.estimators.drawing import Drawing


class Estimator(Drawing):
    r"""A gradient estimator for one categorical variable per row of logits.

    Logits :math:`\theta` ``(..., n)`` of n categories have the probabilities
    :math:`p = \operatorname{softmax}(\theta)`, and the outcome
    :math:`D \sim \operatorname{Cat}(p)` is one-hot. For a loss f it estimates

    .. math:: \nabla_\theta E[f(D)] = E\Big[f(D) \nabla_\theta \log p(D)
        + \frac{\partial f(D)}{\partial \theta}\Big]

    (Paulus et al. 2021, eq. 2), either from values of f, or by a symmetric operator A, made for
    each outcome, that takes the gradient of f for D to one for the logits.

    Of the first kind, from values, are :class:`~rbgs.Reinforce`, :class:`~rbgs.DisARM`,
    :class:`~rbgs.Vimco`, :class:`~rbgs.IndeCateR`, :class:`~rbgs.MuProp`, :class:`~rbgs.Rebar` and
    :class:`~rbgs.Relax`. Of the second, whose samples carry a gradient, are
    :class:`~rbgs.GumbelRao`, :class:`~rbgs.StraightThroughGumbelSoftmax`,
    :class:`~rbgs.StraightThrough`, :class:`~rbgs.GumbelSoftmax`, :class:`~rbgs.ReinMax`,
    :class:`~rbgs.ReinMaxRao`, :class:`~rbgs.GappedStraightThrough` and :class:`~rbgs.Systematic`.

    In a framework, :func:`rbgs.torch.sample` or :func:`rbgs.jax.sample` takes one of the second
    kind, except Systematic; :func:`rbgs.torch.expectation` or :func:`rbgs.jax.expectation` takes
    any.

    Notes
    -----
    An estimator holds its hyperparameters and nothing else. Two are equal if all that matters is,
    arrays element by element. It is hashable, and so a static argument under ``jax.jit``, unless it
    holds an array. A new one is a frozen dataclass with ``eq=False`` and ``repr=False``.

    References
    ----------
    Paulus, Maddison, Krause (2021). Rao-Blackwellizing the straight-through Gumbel-softmax gradient
    estimator. ICLR. (Eq. 2.)

    Examples
    --------
    A sample, and the gradient of a loss for the logits from the one for the value:

    >>> import numpy as np, rbgs
    >>> estimator = rbgs.GumbelRao(temperature=1)
    >>> draw = estimator.sample(np.zeros((5, 3)), rng=0)
    >>> draw.value[0]
    array([0., 0., 1.])
    >>> draw.vjp(2 * (draw.value - 0.5)).shape
    (5, 3)

    Equal hyperparameters make equal estimators:

    >>> estimator == rbgs.GumbelRao(1.0), estimator == rbgs.GumbelRao(0.5)
    (True, False)
    """

    @instead_of(dim="axis", generator="rng", key="rng", seed="rng")
    @with_own_settings
    def noise(self, logits: Array, rng: Generator, *, axis: int = -1) -> Array:
        r"""Draw the noise that makes :meth:`sample` a pure function.

        The noise U makes the exponentials :math:`E_j = -\log(1 - U_j)` of a race, whose winner is
        the outcome, :math:`i = \arg\min_j E_j / p_j = \arg\max_j (\theta_j + G_j)` with the
        Gumbels :math:`G_j = -\log E_j` (Jang et al. 2017, eq. 1).

        Parameters
        ----------
        logits : floating array ``(..., n)``
            Logits with n categories along ``axis``; only shape, dtype and device matter.
        rng : generator, key or int seed
            A generator or key of the library of the logits; a NumPy generator, an int seed or a
            :class:`~rbgs.Key` serves every library.
        axis : int
            The category axis.

        Returns
        -------
        floating array ``(..., n)``
            Independent uniforms on [0, 1], shaped like the logits, at least float32. Some
            estimators differ: Monte Carlo :class:`~rbgs.GumbelRao` with more than one sample has
            n + 2 along ``axis``, the last two seeding its generator; :class:`~rbgs.Reinforce` with
            several samples and :class:`~rbgs.Systematic` have their draws along a leading axis,
            and the latter one uniform more along ``axis``.

        Raises
        ------
        TypeError
            The logits are not a real floating array of a known library, or ``rng`` is not a source
            of randomness for it.
        ValueError
            There are no categories, or the axis is out of range.

        Examples
        --------
        >>> import numpy as np, rbgs
        >>> estimator = rbgs.StraightThroughGumbelSoftmax(temperature=0.5)
        >>> logits = np.zeros((2, 3))
        >>> noise = estimator.noise(logits, rng=0)
        >>> first = estimator.sample(logits, noise=noise)
        >>> second = estimator.sample(logits, noise=noise)
        >>> bool(np.all(first.value == second.value))
        True
        """
        axis = check_logits(logits, axis)
        xp = array_namespace(logits)
        like = xp.astype(logits, wide_dtype(logits), copy=False)
        return self._drawn(rng, self._noise_shape(logits.shape, axis), like)

    @instead_of(dim="axis", generator="rng", key="rng", seed="rng")
    def sample(
        self,
        logits: Array,
        *,
        rng: Generator = None,
        noise: Array | None = None,
        index: Array | int | None = None,
        mask: Array | None = None,
        axis: int = -1,
    ) -> Draw:
        r"""Draw an outcome for each row of logits, with the derivative this estimator gives it.

        The value is the one-hot :math:`D \sim \operatorname{Cat}(\operatorname{softmax}(\theta))`
        (or relaxed, for :class:`~rbgs.GumbelSoftmax`), the derivative a symmetric operator

        .. math::
            & A = \sum_m w_m J_\tau(s_m), \\
            & J_\tau(s) = (\operatorname{diag}(s) - s s^\top) / \tau

        over points :math:`s_m` of the simplex and weights :math:`w_m` that are the estimator's
        (Paulus et al. 2021, eq. 4 to 10). Estimators from values of the loss have none.

        Parameters
        ----------
        logits : floating array ``(..., n)``
            Unnormalised log-probabilities, of any library that follows the Python array API
            standard. -inf forbids a category. Half precision is computed in float32.
        rng : generator, key or int seed, optional
            A ``numpy.random.Generator``, a ``torch.Generator``, a JAX key or a
            ``cupy.random.Generator`` for logits of that library; a NumPy generator, an int seed
            or a :class:`~rbgs.Key` serves every library. Required unless ``noise`` is given or none
            is needed.
        noise : floating array ``(..., n)``, optional
            Uniforms from :meth:`noise`. The same noise gives the same result in every library.
        index : int array ``(...,)`` or int, optional
            Condition on this outcome instead of drawing one; an array without axes is for all rows.
            Of a structure, its elements: 0 and 1, shaped like the logits.
        mask : bool array ``(..., n)``, optional
            True where a category is allowed; broadcasts against the logits. False equals a logit
            of -inf.
        axis : int
            The category axis.

        Returns
        -------
        Draw
            The value, the index and the derivative.

        Raises
        ------
        TypeError
            An argument is not an array of a known library, or has a dtype of the wrong kind.
        ValueError
            Shapes, libraries or devices do not match; there are no categories; there is neither
            ``rng`` nor ``noise``.

        Notes
        -----
        A row with NaN or +inf, without an allowed category, with an ``index`` that is out of range
        or has probability zero, with noise outside [0, 1], or with a traced temperature that the
        estimator would refuse, gets the value NaN, the derivative NaN and the index -1. Other rows
        are not touched.

        Examples
        --------
        >>> import numpy as np, rbgs
        >>> logits = np.asarray([[0.5, 1.0, -0.5], [0.0, 0.0, 2.0]])
        >>> draw = rbgs.GumbelRao(temperature=0.5).sample(logits, rng=3)
        >>> draw.value
        array([[1., 0., 0.],
               [0., 0., 1.]])
        >>> draw.vjp(np.asarray([[1.0, 2.0, 3.0], [1.0, 0.0, -1.0]])).shape
        (2, 3)

        A category that is not allowed never comes out:

        >>> mask = np.asarray([True, True, False])
        >>> rbgs.GumbelRao(temperature=0.5).sample(logits, rng=3, mask=mask).value[:, 2]
        array([0., 0.])
        """
        outcome, operator, value = self._drawing(
            logits, rng, noise, index, mask, check_logits(logits, axis)
        )
        rows = outcome.rows
        index = self._structure.restored_index(rows, outcome)
        return Draw(value, index, type(self).__name__, operator, rows)

    @instead_of(dim="axis", generator="rng", key="rng", seed="rng")
    def gradient(
        self,
        oracle: Oracle,
        logits: Array,
        *,
        rng: Generator = None,
        noise: Array | None = None,
        index: Array | int | None = None,
        mask: Array | None = None,
        axis: int = -1,
    ) -> Array:
        r"""Estimate the gradient of :math:`E[f(D)]` for the logits.

        .. math:: A\,\frac{\partial f}{\partial D} + \frac{\partial f}{\partial \theta}

        with the operator :math:`A` of the draw, or, from values of the loss, with what the
        estimator has in place of the first term. The second one (Paulus et al. 2021, eq. 2) is
        there if the oracle gives it.

        Parameters
        ----------
        oracle : callable
            A function that returns a loss and its gradient: ``oracle(value)`` gives the loss
            ``(...,)`` and its gradient for the value ``(..., n)``, and optionally as a third item
            its direct gradient for the logits. The loss may lack the last axes of the batch: all
            variables along them share it.
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
        array ``(..., n)``
            The estimate, in the library, dtype and device of the logits.

        Raises
        ------
        TypeError, ValueError
            As in :meth:`sample`, or what the oracle returns does not fit the value.

        Examples
        --------
        >>> import numpy as np, rbgs
        >>> target = np.asarray([0.1, 0.2, 0.7])
        >>> def oracle(value):
        ...     return ((value - target) ** 2).sum(axis=-1), 2 * (value - target)
        >>> estimator = rbgs.GumbelRao(temperature=0.5, samples=100)
        >>> estimator.gradient(oracle, np.zeros(3), rng=0).shape
        (3,)
        """
        axis, leading = check_logits(logits, axis), int(self._draws > 1)

        def ask(
            value: Array, leading: int, derivative: bool = False, function: Oracle | None = None
        ) -> Answer:
            needy = type(self).__name__ if derivative else None
            asked, name = (function, "the control variate") if function else (oracle, "the oracle")
            return evaluate(asked, value, axis, leading=leading, derivative_for=needy, name=name)

        outcome, operator, value = self._drawing(logits, rng, noise, index, mask, axis)
        answer = ask(value, leading, self._needs_derivative)
        return self._gradient(outcome, operator, answer, ask)


def check_estimator(name: str, estimator: Any) -> None:
    """Raise unless ``estimator`` is one."""
    if isinstance(estimator, type) and issubclass(estimator, Estimator):
        raise TypeError(
            f"{name} is the class {estimator.__name__}; an instance such as rbgs.GumbelRao(0.5) "
            "is wanted"
        )
    if not isinstance(estimator, Estimator):
        raise TypeError(
            f"{name} is a {type(estimator).__name__}; one such as rbgs.GumbelRao(0.5) is wanted"
        )
