"""The temperature of least mean squared error."""

import itertools
import math
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from typing import Any, cast

from rbgs.arrays.inputs import detached
from rbgs.arrays.keywords import instead_of
from rbgs.arrays.scalars import as_float
from rbgs.arrays.typing import Array, Generator, Oracle
from rbgs.estimators.base import Estimator, check_estimator
from rbgs.estimators.running import RunningCoefficient, RunningDeviation, RunningMean
from rbgs.estimators.systematic import Systematic
from rbgs.evaluation.comparison import Comparison, Moments, overall
from rbgs.evaluation.measurement import Measurement
from rbgs.evaluation.picture import draw_curves
from rbgs.evaluation.text import optional, with_error

_GRID = tuple(2.0**k for k in range(-4, 4))  # 1/16 to 8
_RUNNING = (RunningCoefficient, RunningDeviation, RunningMean)


@dataclass(frozen=True, eq=False)
class Tuning:
    """What :func:`tune` found.

    Parameters
    ----------
    estimator : Estimator
        The one given, at the best temperature.
    temperature : float
        The best temperature.
    comparison : Comparison
        The curve: the moments at every temperature tried, in ascending order.

    Examples
    --------
    >>> import numpy as np, rbgs
    >>> cost = np.asarray([1.0, 2.0, 4.0])
    >>> def oracle(value):
    ...     mean = value @ cost
    ...     return mean**3, 3 * mean[..., None] ** 2 * cost
    >>> tuning = rbgs.tune(
    ...     rbgs.StraightThrough(), oracle, np.zeros(3), draws=100, rng=0, temperatures=[0.5, 2, 8])
    >>> tuning.estimator, tuning.temperature, len(tuning.comparison)
    (StraightThrough(temperature=2.0), 2.0, 3)
    """

    estimator: Estimator
    temperature: float
    comparison: Comparison

    @property
    def is_at_edge(self) -> bool:
        """Whether the best temperature is the least or the greatest tried: others may be better.

        Examples
        --------
        >>> import numpy as np, rbgs
        >>> cost = np.asarray([1.0, 2.0, 4.0])
        >>> def oracle(value):
        ...     mean = value @ cost
        ...     return mean**3, 3 * mean[..., None] ** 2 * cost
        >>> rbgs.tune(
        ...     rbgs.StraightThrough(), oracle, np.zeros(3), draws=100, rng=0, temperatures=[4, 8]
        ... ).is_at_edge
        True
        """
        return self.temperature in (_temperature(self.comparison[i]) for i in (0, -1))

    def __repr__(self) -> str:
        best = next(m for m in self.comparison if _temperature(m) == self.temperature)
        row = overall(best)
        edge = "\nIt is at the edge of those tried: others may be better." * self.is_at_edge
        least = f"temperature {self.temperature:.4g}, MSE {with_error(row.mse, row.mse_se)}"
        return f"{self.comparison!r}\nLeast: {least}.{edge}"

    def plot(self, ax: Any = None) -> Any:
        """Draw squared bias, variance and mean squared error against the temperature.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default in a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            What was drawn on.

        Raises
        ------
        ModuleNotFoundError
            matplotlib is not installed.

        Examples
        --------
        >>> import matplotlib, numpy as np, rbgs
        >>> matplotlib.use("agg")
        >>> def oracle(value):
        ...     return (value**3).sum(axis=-1), 3 * value**2
        >>> tuning = rbgs.tune(rbgs.GumbelSoftmax(1.0), oracle, np.zeros(3), draws=20, rng=0)
        >>> tuning.plot().get_xlabel()
        'temperature'
        """
        if ax is None:
            ax = optional("matplotlib.pyplot", "plot").subplots(layout="constrained")[1]
        rows = [overall(moments) for moments in self.comparison]
        draw_curves(
            ax,
            [_temperature(moments) for moments in self.comparison],
            {
                "bias²": [(row.bias2, row.bias2_se) for row in rows],
                "variance": [(row.variance, row.variance_se) for row in rows],
                "MSE": [(row.mse, row.mse_se) for row in rows],
            },
            self.temperature,
        )
        return ax


@instead_of(dim="axis", generator="rng", key="rng", seed="rng")
def tune(
    estimator: Estimator,
    oracle: Oracle,
    logits: Array,
    *,
    draws: int,
    rng: Generator,
    temperatures: Iterable[float] | None = None,
    mask: Array | None = None,
    axis: int = -1,
    reference: Estimator | None = None,
    reference_draws: int | None = None,
    max_outcomes: int = 2**16,
) -> Tuning:
    r"""Find the temperature of least mean squared error, on average over the losses.

    .. math:: \tau^* = \arg\min_\tau \frac{1}{B} \sum_{b=1}^B
        \big(\operatorname{bias}^2_b(\tau) + \operatorname{variance}_b(\tau)\big)

    for B losses, as :func:`compare` measures both. Mostly the bias rises with the temperature and
    the variance falls, with a best one in between (Paulus et al. 2021, figure 2b).

    It depends on the loss and the logits, and is that for a single estimate: a mean over many has
    less variance, and wants a lower one. The grid is 1/16, 1/8, ..., 8; then come, twice, the
    temperatures half-way (of the logarithm) between the best one and its neighbours.

    Parameters
    ----------
    estimator : Estimator
        One with a temperature, which does not matter; or :class:`~rbgs.Systematic` of one. What it
        has learnt, such as a :class:`~rbgs.RunningCoefficient`, is copied for each temperature.
    oracle : callable
        A function that returns a loss and its gradient, as in :func:`compare`.
    logits : floating array ``(..., n)``
        Unnormalised log-probabilities.
    draws : int
        Gradient estimates for each loss and temperature, at least 4.
    rng : generator, key or int seed
        With an int seed or a key all temperatures get the same randomness, so that their errors
        are much alike and the curve is smooth; a generator gives each of them its own.
    temperatures : iterable of float, optional
        What to try instead, each once; 0 is among them only if given.
    mask : bool array ``(..., n)``, optional
        True where a category is allowed; broadcasts against the logits.
    axis : int
        The category axis.
    reference : Estimator, optional
        Instead of the exact gradient an unbiased estimator of it, as in :func:`compare`.
    reference_draws : int, optional
        Of how many estimates the reference is the mean; by default as many as ``draws``.
    max_outcomes : int
        How many joint outcomes are enumerated at most.

    Returns
    -------
    Tuning
        The estimator at the best temperature, and the curve.

    Raises
    ------
    TypeError
        The estimator has no temperature; or as in :func:`compare`.
    ValueError
        There are no temperatures; one of them is not possible; the error is not finite, as where
        logits are NaN; or as in :func:`compare`.

    References
    ----------
    Paulus, Maddison, Krause (2021). Rao-Blackwellizing the straight-through Gumbel-softmax gradient
    estimator. ICLR. (Figure 2b.)

    Examples
    --------
    >>> import numpy as np, rbgs
    >>> cost = np.asarray([1.0, 2.0, 4.0])
    >>> def oracle(value):
    ...     mean = value @ cost
    ...     return mean**3, 3 * mean[..., None] ** 2 * cost
    >>> tuning = rbgs.tune(rbgs.StraightThrough(), oracle, np.zeros(3), draws=100, rng=0)
    >>> round(tuning.temperature, 2)
    1.68
    >>> rbgs.tune(rbgs.GumbelRao(0), oracle, np.zeros(3), temperatures=[0, 2, 4], draws=1000, rng=0)
    estimator     evals        bias²      variance          MSE  var × evals  bias² + var × evals
    GumbelRao(0)      1        6.352         469.7          476        469.7                  476
    GumbelRao(2)      1   87.1 ± 3.9    54.6 ± 1.2  141.7 ± 2.8         54.6                141.7
    GumbelRao(4)      1  158.8 ± 2.7  14.17 ± 0.32  173.0 ± 2.4        14.17                  173
    One loss. ± standard error; without it, enumerated.
    Least: temperature 2, MSE 141.7 ± 2.8.
    """
    check_estimator("estimator", estimator)
    _at(estimator, 1.0)
    given = None if temperatures is None else _checked(temperatures)
    measurement = Measurement(
        [estimator],
        oracle,
        logits,
        draws,
        rng,
        mask,
        axis,
        reference,
        reference_draws,
        max_outcomes,
    )
    found: dict[float, Moments] = {}

    def best_of(tried: Iterable[float]) -> float:
        for temperature in tried:
            found[temperature] = measurement.moments(_at(estimator, temperature))
        errors = {temperature: overall(moments).mse for temperature, moments in found.items()}
        wrong = [temperature for temperature, error in errors.items() if not math.isfinite(error)]
        if wrong:
            raise ValueError(
                f"the mean squared error at temperature {wrong[0]:g} is {errors[wrong[0]]}: are "
                "there losses, and are the logits and what the oracle returns finite?"
            )
        return min(errors, key=errors.__getitem__)

    best = best_of(_GRID if given is None else given)
    if given is None:
        for _ in range(2):
            best = best_of(_between(sorted(found), best))
    curve = Comparison(found[temperature] for temperature in sorted(found))
    return Tuning(_at(estimator, best), best, curve)


def _at(estimator: Any, temperature: float) -> Estimator:
    """Return an estimator, or one whose estimates are averaged, at another temperature.

    What it has learnt is copied, so that each temperature goes on by itself.
    """
    known = {field.name: getattr(estimator, field.name) for field in fields(estimator)}
    if "temperature" in known:
        learnt = {name: deepcopy(x) for name, x in known.items() if isinstance(x, _RUNNING)}
        changed: Estimator = replace(estimator, temperature=temperature, **learnt)
        return changed
    if isinstance(estimator, Systematic):
        return replace(estimator, estimator=_at(estimator.estimator, temperature))
    raise TypeError(f"{estimator} has no temperature to tune; rbgs.compare compares estimators")


def _checked(temperatures: Iterable[float]) -> list[float]:
    if not isinstance(temperatures, Iterable) or isinstance(cast(Any, temperatures), str):
        raise TypeError(
            f"temperatures is {temperatures!r}; a list such as [0.1, 0.3, 1.0] is wanted"
        )
    numbers = []
    for x in temperatures:
        number = as_float("one of the temperatures", x)
        if not isinstance(number, float):
            if number.ndim:
                raise TypeError("one of the temperatures is an array with axes; numbers are wanted")
            number = float(detached(number))
        numbers.append(number)
    if not numbers:
        raise ValueError("temperatures is empty; a list such as [0.1, 0.3, 1.0] is wanted")
    return sorted(set(numbers))


def _between(tried: list[float], best: float) -> list[float]:
    """Return the temperatures half-way to the neighbours of the best one."""
    return [math.sqrt(a * b) for a, b in itertools.pairwise(tried) if best in (a, b)]


def _temperature(moments: Moments) -> float:
    return float(cast(Any, moments.estimator).temperature)
