"""The lazy form of a draw: chunk by chunk."""

from collections.abc import Callable
from functools import partial
from typing import Any

import dask.array as da

from rbgs.arrays.inputs import check_shape
from rbgs.arrays.typing import Array
from rbgs.draw import AnyDraw, Draw


class LazyDraw(AnyDraw):
    """The lazy form of :class:`~rbgs.Draw`: its value, index and products are Dask arrays.

    A chunk depends on its logits and its noise alone. It is drawn again for each of the results;
    compute or persist several of them together to share the logits. :func:`sample` makes it.

    Parameters
    ----------
    estimator : str
        The name of the estimator that made it.
    block : callable
        What computes a result of a chunk. Not public, like all that follows.
    operands : tuple
        Logits, noise, index and mask, each followed by its axes.
    logits : floating Dask array ``(..., n)``
        The logits, for shape, dtype and chunks.
    axis : int
        The category axis.
    of_index : tuple of int
        The axes of the index.

    Examples
    --------
    >>> import dask.array as da, rbgs, rbgs.dask
    >>> logits = da.zeros((1000, 4), chunks=(100, 4))
    >>> draw = rbgs.dask.sample(rbgs.GumbelRao(0.5), logits, key=rbgs.Key(0))
    >>> draw.estimator, draw.value.shape, draw.index.shape
    ('GumbelRao', (1000, 4), (1000,))
    """

    def __init__(
        self,
        estimator: str,
        block: Callable[..., Array],
        operands: tuple[Any, ...],
        logits: da.Array,
        axis: int,
        of_index: tuple[int, ...],
    ) -> None:
        self.estimator = estimator
        self._block = block
        self._operands = operands
        self._logits = logits
        self._axis = axis
        self._of_index = of_index

    @property
    def value(self) -> da.Array:
        """The forward value ``(..., n)``, chunked like the logits.

        Examples
        --------
        >>> import dask.array as da, rbgs, rbgs.dask
        >>> logits = da.zeros((1000, 4), chunks=(100, 4))
        >>> draw = rbgs.dask.sample(rbgs.GumbelRao(0.5), logits, key=rbgs.Key(0))
        >>> float(draw.value.sum().compute())
        1000.0
        """
        return self._map(_value, tuple(range(self._logits.ndim)))

    @property
    def index(self) -> da.Array:
        """The winner ``(...,)``, or a structure; -1 in a row that cannot be answered.

        Examples
        --------
        >>> import dask.array as da, rbgs, rbgs.dask
        >>> logits = da.from_array([[0.0, 50.0, 0.0], [0.0, 0.0, 50.0]], chunks=(1, 3))
        >>> rbgs.dask.sample(rbgs.GumbelRao(0.5), logits, key=rbgs.Key(0)).index.compute()
        array([1, 2])
        """
        return self._map(_index, self._of_index, dtype="int64")

    def jvp(self, tangent: da.Array) -> da.Array:
        r"""Return the Jacobian-vector product for a tangent, lazily.

        .. math:: A v = \sum_m w_m J_\tau(s_m) v

        with the points and weights of :meth:`rbgs.Draw.jvp` (Paulus et al. 2021, eq. 4 to 10).

        Parameters
        ----------
        tangent : floating Dask or NumPy array ``(..., n)``
            Of the shape of the logits, in any chunks.

        Returns
        -------
        Dask array ``(..., n)``
            The product, chunked like the logits and of their dtype.

        Raises
        ------
        ValueError
            The shape differs from that of the logits. What only a chunk shows, such as a dtype,
            raises when it is computed.

        Examples
        --------
        >>> import dask.array as da, rbgs, rbgs.dask
        >>> logits = da.zeros((1000, 4), chunks=(100, 4))
        >>> draw = rbgs.dask.sample(rbgs.GumbelRao(0.5), logits, key=rbgs.Key(0))
        >>> draw.jvp(da.ones((1000, 4))).compute().shape
        (1000, 4)
        """
        return self._product("tangent", tangent)

    def vjp(self, cotangent: da.Array) -> da.Array:
        r"""Return the gradient estimate for a cotangent, lazily.

        .. math:: A g = \sum_m w_m J_\tau(s_m) g

        with the points and weights of :meth:`rbgs.Draw.vjp` (Paulus et al. 2021, eq. 4 to 10).

        Parameters
        ----------
        cotangent : floating Dask or NumPy array ``(..., n)``
            Of the shape of the logits, in any chunks.

        Returns
        -------
        Dask array ``(..., n)``
            The product, chunked like the logits and of their dtype.

        Raises
        ------
        ValueError
            The shape differs from that of the logits. What only a chunk shows, such as a dtype,
            raises when it is computed.

        Examples
        --------
        >>> import dask.array as da, rbgs, rbgs.dask
        >>> logits = da.zeros((1000, 4), chunks=(100, 4))
        >>> draw = rbgs.dask.sample(rbgs.GumbelRao(0.5), logits, key=rbgs.Key(0))
        >>> draw.vjp(da.ones((1000, 4))).compute().shape
        (1000, 4)
        """
        return self._product("cotangent", cotangent)

    def jacobian(self) -> da.Array:
        r"""Return the operator as matrices, lazily.

        .. math:: A = \sum_m w_m J_\tau(s_m)

        with the points and weights of :meth:`rbgs.Draw.jacobian` (Paulus et al. 2021, eq. 4 to 10).

        Returns
        -------
        Dask array ``(..., n, n)``
            The batch axes of the logits, in their chunks, then the two axes of categories.

        Examples
        --------
        >>> import dask.array as da, rbgs, rbgs.dask
        >>> logits = da.zeros((1000, 4), chunks=(100, 4))
        >>> rbgs.dask.sample(rbgs.StraightThrough(), logits, key=rbgs.Key(0)).jacobian().shape
        (1000, 4, 4)
        """
        ndim, n = self._logits.ndim, self._logits.shape[self._axis]
        batch = (a for a in range(ndim) if a != self._axis % ndim)
        axes = (*batch, ndim + 1, ndim + 2)
        return self._map(Draw.jacobian, axes, new_axes={ndim + 1: n, ndim + 2: n})

    def _product(self, name: str, vector: da.Array) -> da.Array:
        axes = tuple(range(self._logits.ndim))
        vector = da.asarray(vector)
        check_shape(name, vector.shape, self._logits.shape)
        return self._map(Draw.vjp, axes, vector.rechunk(self._logits.chunks), axes)

    def _map(
        self, result: Callable[..., Array], axes: tuple[int, ...], *vector: Any, **options: Any
    ) -> da.Array:
        """Return a result of the draws of all chunks, with the given axes."""
        dtype = options.pop("dtype", self._logits.dtype)
        meta = da.utils.meta_from_array(self._logits, ndim=len(axes), dtype=dtype)
        block = partial(self._block, result)
        operands = (*self._operands, *vector)
        return da.blockwise(block, axes, *operands, meta=meta, concatenate=True, **options)


def _value(draw: Draw) -> Array:
    return draw.value


def _index(draw: Draw) -> Array:
    return draw.index
