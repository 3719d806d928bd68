"""What a comparison of estimators found: as numbers, as a table and as a picture."""

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.settings import with_own_settings
from rbgs.arrays.typing import Array
from rbgs.estimators.base import Estimator
from rbgs.evaluation.picture import draw_moments
from rbgs.evaluation.text import label, optional, with_error

_ROUNDING = 1e-24  # of the mean squared error: what is left of an enumerated bias of zero


@dataclass(frozen=True, eq=False)
class Moments:
    """Bias, variance and mean squared error of one estimator, for each loss.

    All have the shape of the loss (that of the batch, unless variables share a loss) and are sums
    over the categories, and over the variables that share the loss, in the units of the squared
    gradient; each ``*_se`` is the standard error of what it is named after. :func:`compare` makes
    them.

    Parameters
    ----------
    estimator : Estimator
        Whose moments these are.
    draws : int
        Over how many draws; 0 where all outcomes were enumerated instead.
    bias2 : array ``(...,)``
        Squared bias. It is estimated without bias, so it can come out below zero.
    bias2_se : array ``(...,)``
        Standard error of ``bias2``.
    variance : array ``(...,)``
        Trace of the covariance matrix.
    variance_se : array ``(...,)``
        Standard error of ``variance``.
    mse : array ``(...,)``
        Mean squared error, ``bias2 + variance``.
    mse_se : array ``(...,)``
        Standard error of ``mse``.
    evaluations : int
        At how many points one estimate evaluates the loss, as counted.

    Examples
    --------
    >>> import numpy as np, rbgs
    >>> cost = np.asarray([1.0, 2.0, 4.0])
    >>> moments, = rbgs.compare(
    ...     [rbgs.Reinforce()], lambda value: value @ cost, np.zeros((5, 3)), draws=100, rng=0)
    >>> moments.variance.shape, moments.evaluations
    ((5,), 1)
    >>> moments.draws, bool(np.allclose(moments.bias2, 0))  # all outcomes were enumerated
    (0, True)
    """

    estimator: Estimator
    draws: int
    bias2: Array
    bias2_se: Array
    variance: Array
    variance_se: Array
    mse: Array
    mse_se: Array
    evaluations: int


class Overall(NamedTuple):
    """The means over the losses of the moments of one estimator; the columns of the table."""

    estimator: str
    draws: int
    evaluations: int
    bias2: float
    bias2_se: float
    variance: float
    variance_se: float
    mse: float
    mse_se: float

    @property
    def variance_per_evaluation(self) -> float:
        """Variance times evaluations."""
        return self.variance * self.evaluations

    @property
    def mse_per_evaluation(self) -> float:
        """Mean squared error of the mean of as many estimates as an evaluation each pays for."""
        return self.bias2 + self.variance_per_evaluation


class Comparison(Sequence[Moments]):
    """The moments of several estimators: a sequence of :class:`Moments` that prints as a table.

    The table has a row for each estimator, of means over the losses, with standard errors; without
    one stands what was enumerated. Its last two columns are for estimators that differ in how
    often they evaluate the loss: variance × evaluations, and bias² + variance × evaluations, which
    is the mean squared error that one evaluation buys, for a budget of many that is spent on the
    mean of independent estimates. :func:`compare` makes it.

    Parameters
    ----------
    moments : iterable of Moments
        What the rows show.

    Examples
    --------
    >>> import numpy as np, rbgs
    >>> cost = np.asarray([1.0, 2.0, 4.0])
    >>> def oracle(value):
    ...     mean = value @ cost
    ...     return mean**3, 3 * mean[..., None] ** 2 * cost
    >>> comparison = rbgs.compare(
    ...     [rbgs.StraightThrough(), rbgs.GumbelRao(0.5), rbgs.Reinforce()], oracle, np.zeros(3),
    ...     draws=500, rng=0)
    >>> comparison
    estimator          evals        bias²     variance          MSE  var × evals bias² + var × evals
    StraightThrough()      1        14.52          196        210.5          196               210.5
    GumbelRao(0.5)         1  0.77 ± 0.17  308.7 ± 9.1  309.4 ± 9.0        308.7               309.4
    Reinforce()            1            0        659.7        659.7        659.7               659.7
    One loss. ± standard error; without it, enumerated.
    >>> len(comparison), comparison[1].evaluations
    (3, 1)
    """

    def __init__(self, moments: Iterable[Moments]) -> None:
        self._moments = tuple(moments)

    def __len__(self) -> int:
        return len(self._moments)

    @overload
    def __getitem__(self, index: int) -> Moments: ...
    @overload
    def __getitem__(self, index: slice) -> "Comparison": ...
    def __getitem__(self, index: int | slice) -> "Moments | Comparison":
        if isinstance(index, slice):
            return Comparison(self._moments[index])
        return self._moments[index]

    def __repr__(self) -> str:
        table = [_HEADINGS, *self._cells()]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            for row in ((row[0].ljust(widths[0]), *row[1:]) for row in table)
        ]
        return "\n".join([*lines, self._caption()])

    def _repr_html_(self) -> str:
        def row(cells: Sequence[str], tag: str) -> str:
            return f"<tr>{''.join(f'<{tag}>{html.escape(x)}</{tag}>' for x in cells)}</tr>"

        body = "".join(row(cells, "td") for cells in self._cells())
        caption = html.escape(self._caption())
        return (
            f"<table><caption>{caption}</caption><thead>{row(_HEADINGS, 'th')}</thead>"
            f"<tbody>{body}</tbody></table>"
        )

    def to_dataframe(self) -> Any:
        """Return a row for each estimator, of means over the losses, as a data frame of pandas.

        Returns
        -------
        pandas.DataFrame
            Columns ``estimator`` (its name), ``draws``, ``evaluations``, ``bias2``,
            ``bias2_se``, ``variance``, ``variance_se``, ``mse``, ``mse_se``,
            ``variance_per_evaluation`` and ``mse_per_evaluation``.

        Raises
        ------
        ModuleNotFoundError
            pandas is not installed.

        Examples
        --------
        >>> import numpy as np, pandas, rbgs
        >>> cost = np.asarray([1.0, 2.0, 4.0])
        >>> comparison = rbgs.compare(
        ...     [rbgs.Reinforce(), rbgs.IndeCateR()], lambda value: value @ cost, np.zeros(3),
        ...     draws=100, rng=0)
        >>> comparison.to_dataframe()[["estimator", "evaluations"]].values.tolist()
        [['Reinforce()', 1], ['IndeCateR()', 4]]
        """
        pandas = optional("pandas", "to_dataframe")
        rows = (
            row._asdict()
            | {
                "variance_per_evaluation": row.variance_per_evaluation,
                "mse_per_evaluation": row.mse_per_evaluation,
            }
            for row in self._rows()
        )
        return pandas.DataFrame(list(rows))

    def plot(self, ax: Any = None, *, labels: Sequence[str] | None = None) -> Any:
        """Draw squared bias against variance, with an error bar of one standard error each way.

        What is not above zero by two standard errors lies on the edge of the picture, marked "0".

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default in a new figure.
        labels : sequence of str, optional
            What is written beside the points; by default how the estimators are made.

        Returns
        -------
        matplotlib.axes.Axes
            What was drawn on.

        Raises
        ------
        ModuleNotFoundError
            matplotlib is not installed.
        ValueError
            There are not as many labels as estimators.

        Examples
        --------
        >>> import matplotlib, numpy as np, rbgs
        >>> matplotlib.use("agg")
        >>> cost = np.asarray([1.0, 2.0, 4.0])
        >>> comparison = rbgs.compare(
        ...     [rbgs.Reinforce(), rbgs.DisARM()], lambda value: value @ cost, np.zeros(3),
        ...     draws=100, rng=0)
        >>> comparison.plot(labels=["one draw", "a pair"]).get_xscale()
        'symlog'
        """
        rows = self._rows()
        if labels is None:
            labels = [row.estimator for row in rows]
        if len(labels) != len(rows):
            raise ValueError(f"there are {len(labels)} labels for {len(rows)} estimators")
        if ax is None:
            ax = optional("matplotlib.pyplot", "plot").subplots(layout="constrained")[1]
        draw_moments(
            ax,
            [(row.bias2, row.bias2_se) for row in rows],
            [(row.variance, row.variance_se) for row in rows],
            list(labels),
        )
        return ax

    def _rows(self) -> list[Overall]:
        return [overall(moments) for moments in self]

    def _cells(self) -> list[list[str]]:
        return [
            [
                row.estimator,
                str(row.evaluations),
                with_error(row.bias2, row.bias2_se),
                with_error(row.variance, row.variance_se),
                with_error(row.mse, row.mse_se),
                f"{row.variance_per_evaluation:.4g}",
                f"{row.mse_per_evaluation:.4g}",
            ]
            for row in self._rows()
        ]

    def _caption(self) -> str:
        losses = math.prod(self[0].mse.shape) if self else 0
        of = "One loss" if losses == 1 else f"Means over {losses} losses"
        return f"{of}. ± standard error; without it, enumerated."


_HEADINGS = (
    "estimator",
    "evals",
    "bias²",
    "variance",
    "MSE",
    "var × evals",
    "bias² + var × evals",
)


@with_own_settings
def overall(moments: Moments) -> Overall:
    """Return the means over the losses, whose estimates are independent of one another."""
    xp = array_namespace(moments.mse)
    losses = math.prod(moments.mse.shape)

    def mean(x: Array) -> float:
        return float(xp.sum(x)) / losses if losses else math.nan

    def error(x: Array) -> float:
        return math.sqrt(float(xp.sum(x**2))) / losses if losses else math.nan

    bias2, mse = mean(moments.bias2), mean(moments.mse)
    return Overall(
        label(moments.estimator),
        moments.draws,
        moments.evaluations,
        0.0 if abs(bias2) <= _ROUNDING * mse else bias2,
        error(moments.bias2_se),
        mean(moments.variance),
        error(moments.variance_se),
        mse,
        error(moments.mse_se),
    )
