"""What every estimator does: draw noise, draw an outcome, estimate a gradient."""

from typing import Any

from rbgs.arrays.inputs import check_logits, wide_dtype
from rbgs.arrays.keywords import instead_of
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.oracle import Answer, evaluate
from rbgs.arrays.rows import Rows, categories_first, rows_of_logits
from rbgs.arrays.settings import callers_settings, own_settings, with_own_settings
from rbgs.arrays.typing import Array, Generator, Oracle
from rbgs.draw import Draw, Operator
from rbgs.estimators.hooks import Hooks
from rbgs.estimators.loss import Ask, Loss
from rbgs.random.key import Key
from rbgs.random.noise import exponential, generator_key, uniform
from rbgs.random.source import check_source
from rbgs.structures.structure import Outcome


class Estimator(Hooks):
    r"""A gradient estimator for one categorical variable per row of logits.

    Logits :math:`\theta` of n categories have the probabilities
    :math:`p = \operatorname{softmax}(\theta)`, and the outcome
    :math:`D \sim \operatorname{Cat}(p)` is one-hot. Estimated is, for a loss f,

    .. math:: \nabla_\theta E[f(D)] = E\Big[f(D) \nabla_\theta \log p(D)
        + \frac{\partial f(D)}{\partial \theta}\Big]

    (eq. 2), either from values of f, or by a symmetric operator A, made for each outcome, that
    takes the gradient of f for D to one for the logits.

    A subclass is a frozen dataclass of hyperparameters, with ``eq=False`` and ``repr=False``. It is
    hashable, and so a static argument under ``jax.jit``, unless one of them is an array. Two are
    equal if all that matters is, arrays element by element.

    References
    ----------
    Paulus, Maddison, Krause (2021). Rao-Blackwellizing the straight-through Gumbel-softmax
    gradient estimator. ICLR.

    Examples
    --------
    >>> import rbgs
    >>> estimator = rbgs.GumbelRao(temperature=1)
    >>> isinstance(estimator, rbgs.Estimator)
    True
    >>> estimator == rbgs.GumbelRao(1.0), estimator == rbgs.GumbelRao(0.5)
    (True, False)
    """

    @instead_of(dim="axis", generator="rng", key="rng")
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

    @instead_of(dim="axis", generator="rng", key="rng")
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

        .. math:: A = \sum_m w_m J_\tau(s_m), \quad
            J_\tau(s) = (\operatorname{diag}(s) - s s^\top) / \tau

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

    def _outcome(
        self,
        logits: Array,
        rng: Generator,
        noise: Array | None,
        index: Array | int | None,
        mask: Array | None,
        axis: int,
    ) -> Outcome:
        """Draw an outcome for each row of logits that `check_logits` has seen."""
        rows = rows_of_logits(logits, mask, axis)
        self._structure.check(rows.n)
        if self._noise_draws > 1:
            rows = rows.repeat(self._noise_draws)
        xp = array_namespace(rows.log_probs)
        temperature = rows.temperature(getattr(self, "temperature", 1.0))
        if not isinstance(temperature, float):
            rows = rows.only(temperature > 0)  # a branch on its values could not be traced
        uniforms: Array = None
        key = None
        if self._needs_noise(index):
            uniforms = self._uniforms(rows, rng, noise)
            if noise is not None:
                fine = xp.all((uniforms >= 0) & (uniforms <= 1), axis=0)
                uniforms = xp.where(fine, uniforms, 0.5)
                rows = rows.only(fine)
            key = generator_key(uniforms[rows.n :, :]) if self._generator_words else None
        if index is None:
            race = self._drawn_outcome(rows, uniforms)
        else:
            exponentials = None
            if self._random_given_outcome:
                exponentials = exponential(uniforms[: rows.n, :])
            if self._noise_draws < self._draws:
                rows = rows.repeat(self._draws)
            race = self._structure.given(rows, index, exponentials)
        return Outcome(race.rows, temperature, race.index, race.winner, race.exponentials, key)

    def _restored_value(self, outcome: Outcome, operator: Operator | None) -> Array:
        """Return the forward value in the shape and dtype of the logits."""
        rows, value = outcome.rows, self._value(outcome, operator)
        return rows.restore(value)

    @instead_of(dim="axis", generator="rng", key="rng")
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

    @with_own_settings
    def _drawing(self, *arguments: Any) -> tuple[Outcome, Operator | None, Array]:
        """Return what `_outcome` does, the derivative, and the value shaped like the logits."""
        outcome = self._outcome(*arguments)
        operator = self._operator(outcome)
        return outcome, operator, self._restored_value(outcome, operator)

    def _gradient(
        self, outcome: Outcome, operator: Operator | None, answer: Answer, ask: Ask
    ) -> Array:
        """Return the gradient estimate for the logits, from what is known of the loss.

        That is its answer at the outcomes, and a function that asks for its answer elsewhere.
        """
        rows = outcome.rows
        loss = Loss(rows, answer, ask, callers_settings())
        with own_settings():
            estimate = rows.restore(self._estimate(outcome, operator, loss))
            if answer.direct is not None:
                weights = self._weights(answer.loss)
                direct = answer.direct
                if weights is not None:
                    direct = direct * rows.restore(rows.spread(weights)[None, :])
                estimate = estimate + direct
            if self._draws > 1:
                xp = array_namespace(estimate)
                # In NumPy a mean is in the byte order of the processor.
                estimate = xp.astype(xp.mean(estimate, axis=0), rows.dtype, copy=False)
            return estimate

    def _noise_shape(self, shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
        """Return the shape of the noise for logits of a shape with ``axis`` below 0."""
        sizes = list(shape)
        sizes[axis] += self._generator_words
        return tuple(sizes) if self._noise_draws == 1 else (self._noise_draws, *sizes)

    def _uniforms(self, rows: Rows, rng: Generator, noise: Array | None) -> Array:
        if noise is None:
            shape = rows.shape(rows.n + self._generator_words)
            drawn = self._drawn(rng, shape, rows.log_probs)
            return categories_first(drawn, rows.axis, rows.sharding)
        if rng is not None:
            raise ValueError("both rng and noise are given: pass one of them")
        return rows.adopt("noise", noise, rows.n + self._generator_words)

    def _drawn(self, rng: Generator, shape: tuple[int, ...], like: Array) -> Array:
        draws = self._noise_draws
        if draws > 1 and isinstance(rng, Key) and rng.start and rng.shape is None:
            raise ValueError(
                f"the noise of {self} has a leading axis of {draws} draws, before the axes "
                "of the logits: pass key.at(0, *start, shape=shape) with the shape of all of it"
            )
        return uniform(check_source("rng", rng, like), shape, like)


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
