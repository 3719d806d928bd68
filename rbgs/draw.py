r"""What an estimator returns: a forward value, and a weighted set of simplex points.

The derivative of every pathwise estimator is
:math:`A v = \sum_m w_m J_\tau(s_m) v`, with :math:`J_\tau` from :mod:`rbgs.simplex`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from array_api_compat import array_namespace
from array_api_extra import create_diagonal

from rbgs._typing import Array, Temperature
from rbgs.inputs import Rows
from rbgs.simplex import column, jacobian_product


class Points(Protocol):
    """A weighted set of simplex points, given block by block."""

    @property
    def temperature(self) -> Temperature:
        """A float, or an array ``(..., 1)``."""

    def blocks(self) -> Iterator[tuple[float | Array, Array]]:
        """Yield weights (a float, or ``(..., block)``) and points ``(..., block, n)``."""


@dataclass(frozen=True)
class FixedPoints:
    """A few points ``(..., n)``, each with its weight."""

    temperature: Temperature
    points: tuple[Array, ...]
    weights: tuple[float, ...] = (1.0,)

    def blocks(self) -> Iterator[tuple[float, Array]]:
        """Yield each point as a block of its own."""
        for weight, point in zip(self.weights, self.points, strict=True):
            yield weight, point[..., None, :]


@dataclass(frozen=True)
class Draw:
    r"""A discrete (or relaxed) sample and the derivative that an estimator gives it.

    Attributes
    ----------
    value : array ``(..., n)``
        The forward value, in the library, dtype and device of the logits: exactly one-hot, or a
        point on the simplex for :class:`~rbgs.GumbelSoftmax`. NaN in a row that cannot be answered.
    index : integer array ``(...,)``
        The winner; -1 in a row that cannot be answered.

    Notes
    -----
    The operator :math:`A = \sum_m w_m J_\tau(s_m)` is symmetric, so :meth:`jvp` and :meth:`vjp` are
    the same product; both names are there for the code that calls them. Nothing of size
    ``samples * n`` is stored: the points are computed again in each product.

    Examples
    --------
    >>> import numpy as np, rbgs
    >>> logits = np.asarray([[0.5, 1.0, -0.5], [0.0, 0.0, 2.0]])
    >>> draw = rbgs.GumbelRao(temperature=0.5, samples=16).sample(logits, rng=3)
    >>> draw.index
    array([0, 2])
    >>> draw.value
    array([[1., 0., 0.],
           [0., 0., 1.]])
    >>> cotangent = np.asarray([[1.0, 2.0, 3.0], [1.0, 0.0, -1.0]])
    >>> bool(np.allclose(draw.vjp(cotangent).sum(axis=-1), 0))
    True
    """

    value: Array
    index: Array
    _points: Points | None
    _rows: Rows

    def jvp(self, tangent: Array) -> Array:
        """Return the Jacobian-vector product of the value for a tangent of the logits.

        Parameters
        ----------
        tangent : floating array ``(..., n)``
            Of the library, device and shape of the logits.

        Returns
        -------
        array ``(..., n)``
            The product, in the dtype of the logits.

        Raises
        ------
        ValueError
            The shape, library or device differs from that of the logits.
        TypeError
            The dtype is not a real floating one, or the estimator is :class:`~rbgs.Reinforce`.
        """
        return self._product("tangent", tangent)

    def vjp(self, cotangent: Array) -> Array:
        """Return the gradient estimate for the logits from the loss's gradient for the value.

        Parameters
        ----------
        cotangent : floating array ``(..., n)``
            The loss's gradient at ``value``, of the library, device and shape of the logits.

        Returns
        -------
        array ``(..., n)``
            The product, in the dtype of the logits.

        Raises
        ------
        ValueError
            The shape, library or device differs from that of the logits.
        TypeError
            The dtype is not a real floating one, or the estimator is :class:`~rbgs.Reinforce`.
        """
        return self._product("cotangent", cotangent)

    def jacobian(self) -> Array:
        """Return the operator as matrices.

        Returns
        -------
        array ``(..., n, n)``
            The batch axes of the logits, then the two axes of categories, in their dtype.

        Raises
        ------
        TypeError
            The estimator is :class:`~rbgs.Reinforce`.
        """
        points = self._pathwise()
        xp = array_namespace(self.value)
        gram: Array = 0.0
        mean: Array = 0.0
        for weight, point in points.blocks():
            weighted = point * column(weight)
            gram = gram + xp.matmul(xp.matrix_transpose(weighted), point)
            mean = mean + xp.sum(weighted, axis=-2)
        matrix = (create_diagonal(mean) - gram) / column(points.temperature)
        return xp.astype(matrix, self._rows.dtype, copy=False)

    def _product(self, name: str, vector: Array) -> Array:
        points = self._pathwise()
        rows = self._rows
        xp = array_namespace(self.value)
        vector = rows.adopt(name, vector, (*rows.batch, rows.n))[..., None, :]
        temperature = column(points.temperature)
        total = 0.0
        for weight, point in points.blocks():
            product = jacobian_product(point, vector, temperature)
            product = product * column(weight)
            total = total + xp.sum(product, axis=-2)
        return rows.restore(total)

    def _pathwise(self) -> Points:
        if self._points is None:
            raise TypeError(
                "Reinforce uses the values of the loss, not its derivative, so its draw has no "
                "Jacobian: call Reinforce.gradient(oracle, logits, ...)"
            )
        return self._points
