r"""What an estimator returns: a forward value, and the operator that is its derivative.

The operator of every pathwise estimator is a weighted set of simplex points,
:math:`A v = \sum_m w_m J_\tau(s_m) v`, with :math:`J_\tau` from :mod:`rbgs.arrays.simplex`; here
are those with few points, and sums of such sets.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial, reduce
from operator import add, mul
from typing import Any, NoReturn, Protocol, cast

from rbgs.arrays.devices import device
from rbgs.arrays.engine import engine_for_numpy
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.reuse import in_place
from rbgs.arrays.rows import Rows
from rbgs.arrays.settings import with_own_settings
from rbgs.arrays.simplex import jacobian_product
from rbgs.arrays.tracing import has_outlived_vmap
from rbgs.arrays.typing import Array, Temperature


class Operator(Protocol):
    """A symmetric linear operator for each row."""

    def product(self, vector: Array) -> Array:
        """Return the operator times a vector ``(n, rows)``."""

    def matrix(self) -> Array:
        """Return the operator as matrices ``(rows, n, n)``."""


class WeightedPoints:
    """A weighted set of simplex points at one temperature, given block by block."""

    temperature: Temperature

    def blocks(self) -> Iterator[tuple[float | Array, Array]]:
        """Yield weights (a float, or ``(block, rows)``) and points ``(n, block, rows)``."""
        raise NotImplementedError

    def product(self, vector: Array) -> Array:
        """Return the operator times a vector ``(n, rows)``."""
        xp = array_namespace(vector)
        total: Array = 0.0
        for weight, points in self.blocks():
            product = jacobian_product(points, vector[:, None, :], self.temperature)
            total = total + xp.sum(weight * product, axis=1)
        return total

    def matrix(self) -> Array:
        """Return the operator as matrices ``(rows, n, n)``."""
        gram: Array = 0.0
        for weight, points in self.blocks():
            xp = array_namespace(points)
            rows = xp.permute_dims(points, (2, 0, 1))  # (rows, n, block)
            weighted = xp.permute_dims(weight * points, (2, 0, 1))
            gram = gram + xp.matmul(weighted, xp.matrix_transpose(rows))
        # Rows sum to zero; the diagonal itself would be a difference of nearly equal numbers.
        identity = xp.eye(gram.shape[-1], dtype=gram.dtype, device=device(gram))
        others = gram * (1 - identity)
        scale = self.temperature
        if not isinstance(scale, float):
            scale = scale[:, None, None]
        return (xp.sum(others, axis=-1)[..., None] * identity - others) / scale


def matrix_of(product: Callable[[Array], Array], like: Array) -> Array:
    """Return the matrices ``(rows, n, n)`` of an operator by its product, for ``(n, rows)``."""
    xp, (n, count) = array_namespace(like), like.shape
    identity = xp.eye(n, dtype=like.dtype, device=device(like))
    columns = [product(xp.broadcast_to(identity[:, j : j + 1], (n, count))) for j in range(n)]
    return xp.permute_dims(xp.stack(columns, axis=0), (2, 1, 0))


@dataclass(frozen=True)
class FixedPoints(WeightedPoints):
    """A few points ``(n, rows)``, each with its weight."""

    temperature: Temperature
    points: tuple[Array, ...]
    weights: tuple[float, ...] = (1.0,)

    def product(self, vector: Array) -> Array:
        """Return the operator times a vector ``(n, rows)``."""
        # Of other libraries, the compilers make one loop of it themselves.
        engine = engine_for_numpy(vector)
        return super().product(vector) if engine is None else engine.product_of_points(self, vector)

    def first(self) -> Array:
        """Return the first point ``(n, rows)``."""
        return self.points[0]

    def blocks(self) -> Iterator[tuple[float, Array]]:
        """Yield each point as a block of its own."""
        for weight, point in zip(self.weights, self.points, strict=True):
            yield weight, point[:, None, :]


@dataclass(frozen=True)
class WeightedSum:
    """A sum of operators, each with its weight."""

    operators: tuple[Operator, ...]
    weights: tuple[float, ...]

    def product(self, vector: Array) -> Array:
        """Return the operator times a vector ``(n, rows)``."""
        return self._sum(lambda operator: operator.product(vector))

    def matrix(self) -> Array:
        """Return the operator as matrices ``(rows, n, n)``."""
        return self._sum(lambda operator: operator.matrix())

    def _sum(self, of: Callable[[Operator], Array]) -> Array:
        pairs = zip(self.weights, self.operators, strict=True)
        terms = (in_place(mul, of(operator), weight) for weight, operator in pairs)
        return reduce(partial(in_place, add), terms)


class AnyDraw:
    """What eager and lazy draws share: how they are shown, and that they are no arrays."""

    def __repr__(self) -> str:
        name, draw = type(self).__name__, cast(Any, self)
        text = f"estimator={draw.estimator}, shape={tuple(draw.value.shape)}"
        for what, x in (("value", draw.value), ("index", draw.index)):
            text += f",\n{what}=" + repr(x).replace("\n", "\n" + " " * (len(what) + 1))
        return f"{name}(" + text.replace("\n", "\n" + " " * (len(name) + 1)) + ")"

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} is no array: take its value, the sample, or its index, the "
            "winner"
        )

    __array__ = __bool__ = __float__ = __int__ = __len__ = __iter__ = __getitem__ = _refuse


@dataclass(frozen=True, init=False, repr=False, eq=False)
class Draw(AnyDraw):
    r"""A discrete (or relaxed) sample and the derivative that an estimator gives it.

    :meth:`rbgs.Estimator.sample` makes it; what it takes is there to be read.

    Parameters
    ----------
    value : array ``(..., n)``
        The forward value, in the library, dtype and device of the logits: exactly one-hot, or a
        point on the simplex for :class:`~rbgs.GumbelSoftmax`. NaN in a row that cannot be answered.
    index : int array ``(...,)``
        The winner; -1 in a row that cannot be answered. Of a structure, its elements: 0 and 1,
        shaped like the logits.
    estimator : str
        The name of the estimator that made it.
    operator : Operator, optional
        The derivative A; None for an estimator from values of the loss. Not public.
    rows : Rows
        The logits, as the operator takes them. Not public.

    Notes
    -----
    The operator :math:`A = \sum_m w_m J_\tau(s_m)`, with points :math:`s_m` of the simplex and
    :math:`J_\tau(s) = (\operatorname{diag}(s) - s s^\top) / \tau`, is symmetric, so :meth:`jvp` and
    :meth:`vjp` are the same product; both names are there for the code that calls them. Nothing of
    size ``samples * n`` is stored: the points are computed again in each product.

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
    >>> draw
    Draw(estimator=GumbelRao, shape=(2, 3),
         value=array([[1., 0., 0.],
                      [0., 0., 1.]]),
         index=array([0, 2]))
    """

    value: Array
    index: Array
    estimator: str
    _operator: Operator | None
    _rows: Rows

    def __init__(
        self, value: Array, index: Array, estimator: str, operator: Operator | None, rows: Rows
    ) -> None:
        object.__setattr__(self, "value", value)
        object.__setattr__(self, "index", index)
        object.__setattr__(self, "estimator", estimator)
        object.__setattr__(self, "_operator", operator)
        object.__setattr__(self, "_rows", rows)

    def jvp(self, tangent: Array) -> Array:
        r"""Return the Jacobian-vector product of the value for a tangent of the logits.

        .. math::
            & A v = \sum_m w_m J_\tau(s_m) v, \\
            & J_\tau(s) v = (s \circ v - s \langle s, v \rangle) / \tau

        with the estimator's points :math:`s_m` and weights :math:`w_m` (Paulus et al. 2021, eq. 4
        to 10): the derivative forward, along a tangent v.

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
            The dtype is not a real floating one, or the estimator has no Jacobian.

        Examples
        --------
        >>> import numpy as np, rbgs
        >>> draw = rbgs.StraightThrough().sample(np.zeros((5, 2)), rng=0)
        >>> draw.jvp(np.broadcast_to([1.0, 0.0], (5, 2)))[0]
        array([ 0.25, -0.25])
        """
        return self._product("tangent", tangent)

    def vjp(self, cotangent: Array) -> Array:
        r"""Return the gradient estimate for the logits from the loss's gradient for the value.

        .. math::
            & A g = \sum_m w_m J_\tau(s_m) g, \\
            & J_\tau(s) g = (s \circ g - s \langle s, g \rangle) / \tau

        with the estimator's points :math:`s_m` and weights :math:`w_m` (Paulus et al. 2021, eq. 4
        to 10), for the gradient :math:`g = \partial f / \partial D` of the loss.

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
            The dtype is not a real floating one, or the estimator has no Jacobian.

        Examples
        --------
        >>> import numpy as np, rbgs
        >>> draw = rbgs.GumbelRao(0.5).sample(np.zeros((5, 3)), rng=0)
        >>> target = np.asarray([0.1, 0.2, 0.7])
        >>> gradient = draw.vjp(2 * (draw.value - target))  # of the loss sum((value - target)**2)
        >>> gradient.shape, bool(np.allclose(gradient.sum(axis=-1), 0))
        ((5, 3), True)
        """
        return self._product("cotangent", cotangent)

    @with_own_settings
    def jacobian(self) -> Array:
        r"""Return the operator as matrices.

        .. math:: A = \sum_m w_m (\operatorname{diag}(s_m) - s_m s_m^\top) / \tau

        with the estimator's points :math:`s_m` and weights :math:`w_m` (Paulus et al. 2021, eq. 4
        to 10). It is symmetric, and its rows sum to zero.

        Returns
        -------
        array ``(..., n, n)``
            The batch axes of the logits, then the two axes of categories, in their dtype.

        Raises
        ------
        TypeError
            The estimator uses values of the loss, such as :class:`~rbgs.Reinforce`.

        Examples
        --------
        >>> import numpy as np, rbgs
        >>> rbgs.StraightThrough().sample(np.zeros(2), rng=0).jacobian()
        array([[ 0.25, -0.25],
               [-0.25,  0.25]])
        """
        operator = self._pathwise()
        matrix = operator.matrix()
        xp = array_namespace(matrix)
        rows = self._rows
        matrix = xp.astype(matrix, rows.dtype, copy=False)
        return rows.split(matrix, rows.n, rows.n)

    @with_own_settings
    def _product(self, name: str, vector: Array) -> Array:
        operator = self._pathwise()
        rows = self._rows
        vector = rows.adopt(name, vector, rows.n)
        return rows.restore(operator.product(vector))

    def _pathwise(self) -> Operator:
        if self._operator is None:
            raise TypeError(
                f"{self.estimator} uses values of the loss, so its draw has no Jacobian: call "
                f"{self.estimator}.gradient(oracle, logits, ...)"
            )
        if self._rows.log_probs.ndim != 2:
            raise ValueError(
                f"the value has shape {tuple(self.value.shape)}, but the draw was made for a batch "
                f"of shape {self._rows.batch}: several draws, which vmap, scan or jax.tree.map "
                "stacked, are used one by one, "
                "as in jax.vmap(lambda draw, g: draw.vjp(g))(draws, g)"
            )
        if has_outlived_vmap(self._rows.log_probs):
            raise ValueError(
                "this draw was made inside torch.vmap and is used outside of it: return its value, "
                "or what vjp gives, from the function that is mapped"
            )
        return self._operator
