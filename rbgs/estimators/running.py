"""What is learnt from losses seen before, as Python floats: state, like that of a generator."""

import math

from rbgs.arrays.inputs import detached, namespace
from rbgs.arrays.scalars import as_float
from rbgs.arrays.tracing import is_traced_by_jax
from rbgs.arrays.typing import Array


class RunningMean:
    """A baseline for :class:`Reinforce`: the mean of the finite losses seen before.

    Like a random generator it has state, and each gradient that uses it advances it. The state is a
    Python float, so it cannot be used inside ``jax.jit``: carry an array there and pass it as
    ``baseline``.

    Parameters
    ----------
    decay : float, optional
        Weight in [0, 1) of the past in an exponential moving average; by default every loss seen
        has the same weight.

    Attributes
    ----------
    value : float
        The mean so far, 0 at first.

    Raises
    ------
    ValueError
        ``decay`` is not in [0, 1).
    TypeError
        ``decay`` is not a number.

    Examples
    --------
    >>> import numpy as np, rbgs
    >>> baseline = rbgs.RunningMean()
    >>> baseline.update(np.asarray([1.0, 3.0]))
    >>> baseline.update(np.asarray([5.0]))
    >>> baseline.value
    3.0
    """

    def __init__(self, decay: float | None = None) -> None:
        if decay is not None:
            decay = float(as_float("decay", decay))
            if not 0 <= decay < 1:
                raise ValueError(f"decay must lie in [0, 1), got {decay}")
        self.decay = decay
        self.value = 0.0
        self._count = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}(value={self.value!r})"

    def update(self, losses: Array) -> None:
        r"""Take further losses into the mean.

        .. math:: \bar f \leftarrow \bar f + w (m - \bar f)

        with the mean m of the losses that are finite, and the weight w = 1 - ``decay``; without a
        decay, and at first, w is their share of all that were seen (Mnih and Gregor 2014,
        algorithm 1).

        Parameters
        ----------
        losses : floating array ``(...,)``
            Of any shape. What is not finite is left out; an empty one changes nothing.

        Raises
        ------
        TypeError
            The losses are not an array of a known library, or JAX traces them.

        Examples
        --------
        >>> import numpy as np, rbgs
        >>> baseline = rbgs.RunningMean(decay=0.9)
        >>> baseline.update(np.asarray([1.0, 3.0]))
        >>> baseline.update(np.asarray([12.0]))
        >>> round(baseline.value, 2)
        3.0
        """
        xp = namespace("losses", losses)
        if is_traced_by_jax(losses):
            raise TypeError(
                f"a {type(self).__name__} is a Python object with state, and the losses are traced "
                "by JAX: carry its number as an array beside the parameters, and pass the array"
            )
        losses = detached(losses)
        finite = xp.isfinite(losses)
        size = int(xp.sum(xp.astype(finite, xp.int64)))
        if size == 0:
            return
        mean = float(xp.mean(xp.where(finite, losses, 0.0))) * (math.prod(losses.shape) / size)
        if self.decay is None or self._count == 0:
            weight = size / (self._count + size)
        else:
            weight = 1 - self.decay
        self.value += weight * (mean - self.value)
        self._count += size


class RunningDeviation:
    """A scale for :class:`Reinforce`: the standard deviation of the signals seen before.

    Dividing the signal by it, where it is above 1, is the variance normalisation of NVIL. It has
    state, like :class:`RunningMean`.

    Parameters
    ----------
    decay : float, optional
        Weight in [0, 1) of the past in the exponential moving averages of mean and square; by
        default every signal seen has the same weight. NVIL has 0.8.

    Attributes
    ----------
    value : float
        The standard deviation so far, 0 at first.

    Raises
    ------
    ValueError
        ``decay`` is not in [0, 1).
    TypeError
        ``decay`` is not a number.

    References
    ----------
    Mnih, Gregor (2014). Neural variational inference and learning in belief networks. ICML.
    (Algorithm 1.)

    Examples
    --------
    >>> import numpy as np, rbgs
    >>> scale = rbgs.RunningDeviation()
    >>> scale.update(np.asarray([1.0, 5.0]))
    >>> scale.value
    2.0
    """

    def __init__(self, decay: float | None = None) -> None:
        self._mean, self._square = RunningMean(decay), RunningMean(decay)

    @property
    def value(self) -> float:
        """The standard deviation so far, 0 at first.

        Examples
        --------
        >>> import rbgs
        >>> rbgs.RunningDeviation().value
        0.0
        """
        return math.sqrt(self._square.value)

    __repr__ = RunningMean.__repr__

    def update(self, signals: Array) -> None:
        r"""Take further signals, losses less their baselines, into account.

        The value is :math:`\sqrt v` with the running means c of the signals x and v of
        :math:`(x - c)^2`, c being updated first (Mnih and Gregor 2014, algorithm 1).

        Parameters
        ----------
        signals : floating array ``(...,)``
            Of any shape. What is not finite is left out; an empty one changes nothing.

        Raises
        ------
        TypeError
            The signals are not an array of a known library, or JAX traces them.

        Examples
        --------
        >>> import numpy as np, rbgs
        >>> scale = rbgs.RunningDeviation()
        >>> scale.update(np.asarray([1.0, -1.0, 3.0, -3.0]))
        >>> round(scale.value, 3)
        2.236
        """
        self._mean.update(signals)
        self._square.update((signals - self._mean.value) ** 2)


class RunningCoefficient:
    r"""The coefficient of least variance for the control variate of :class:`Rebar` and kin.

    The estimate is :math:`a - \eta b`, whose mean does not depend on :math:`\eta`. So its variance
    is least where its mean square is, at :math:`\eta = E\langle a, b \rangle / E\langle b, b
    \rangle`: the ratio of running means over earlier calls. It has state, like
    :class:`RunningMean`.

    Parameters
    ----------
    decay : float, optional
        Weight in [0, 1) of the past in the exponential moving averages; by default every estimate
        seen has the same weight.

    Attributes
    ----------
    value : float
        The coefficient so far, 1 at first.

    Raises
    ------
    ValueError
        ``decay`` is not in [0, 1).
    TypeError
        ``decay`` is not a number.

    Examples
    --------
    >>> import numpy as np, rbgs
    >>> eta = rbgs.RunningCoefficient()
    >>> eta.update(np.asarray([1.0, 3.0]), np.asarray([2.0, 6.0]))
    >>> eta.value
    0.5
    """

    def __init__(self, decay: float | None = None) -> None:
        self._products, self._squares = RunningMean(decay), RunningMean(decay)

    @property
    def value(self) -> float:
        """The coefficient so far, 1 at first.

        Examples
        --------
        >>> import rbgs
        >>> rbgs.RunningCoefficient().value
        1.0
        """
        squares = self._squares.value
        return self._products.value / squares if squares > 0 else 1.0

    __repr__ = RunningMean.__repr__

    def update(self, products: Array, squares: Array) -> None:
        r"""Take further estimates into account.

        The value is the running mean of :math:`\langle a, b \rangle` over that of
        :math:`\langle b, b \rangle`.

        Parameters
        ----------
        products : floating array ``(...,)``
            The inner products :math:`\langle a, b \rangle`, one for each loss.
        squares : floating array ``(...,)``
            The inner products :math:`\langle b, b \rangle`, one for each loss.

        Raises
        ------
        TypeError
            They are not arrays of a known library, or JAX traces them.

        References
        ----------
        Tucker, Mnih, Maddison, Lawson, Sohl-Dickstein (2017). REBAR: low-variance, unbiased
        gradient estimates for discrete latent variable models. NeurIPS.

        Examples
        --------
        >>> import numpy as np, rbgs
        >>> eta = rbgs.RunningCoefficient()
        >>> eta.update(np.asarray([2.0]), np.asarray([4.0]))
        >>> eta.value
        0.5
        """
        self._products.update(products)
        self._squares.update(squares)
