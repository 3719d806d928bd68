"""Lazy samples and noise, chunk by chunk, the same for any chunking."""

from collections.abc import Callable
from functools import partial
from math import isnan
from typing import Any

import dask.array as da
import numpy as np

from rbgs.arrays.inputs import check_broadcast, check_logits, check_shape, wide_dtype
from rbgs.arrays.keywords import instead_of
from rbgs.arrays.scalars import is_array
from rbgs.arrays.typing import Array
from rbgs.dask.draw import LazyDraw
from rbgs.doors import check_kind, check_pathwise, settled, temperature_array
from rbgs.estimators.base import Estimator
from rbgs.random.key import Key


@instead_of(dim="axis", rng="key", generator="key", seed="key")
def sample(
    estimator: Estimator,
    logits: da.Array,
    *,
    key: Key | None = None,
    noise: Array | None = None,
    index: Array | int | None = None,
    mask: Array | None = None,
    axis: int = -1,
) -> LazyDraw:
    r"""Draw an outcome for each row of a chunked array, with the derivative, lazily.

    The value is the :math:`D \sim \operatorname{Cat}(\operatorname{softmax}(\theta))` of
    :meth:`rbgs.Estimator.sample`, and its derivative the operator A of its draw (Paulus et al.
    2021, eq. 4 to 10).

    The result does not depend on the chunks: the noise of an element depends on the key and the
    element's place in the whole array, see :class:`~rbgs.Key`. No chunk waits for another, so the
    work spreads over the threads, processes or machines of any Dask scheduler.

    Parameters
    ----------
    estimator : Estimator
        Any but :class:`~rbgs.Reinforce`, with a float temperature.
    logits : floating Dask array ``(..., n)``
        In chunks along any axis but that of the categories; of known sizes.
    key : Key
        Required unless ``noise`` is given or none is needed.
    noise : floating Dask or NumPy array ``(..., n)``, optional
        Uniforms from :func:`noise` instead of a key.
    index : int Dask or NumPy array ``(...,)`` or int, optional
        Condition on this outcome instead of drawing one.
    mask : bool Dask or NumPy array ``(..., n)``, optional
        True where a category is allowed; broadcasts against the logits.
    axis : int
        The category axis.

    Returns
    -------
    LazyDraw
        The value, the index and the derivative, in chunks of the library of the logits' chunks.

    Raises
    ------
    TypeError
        The logits are no Dask array, the key no :class:`~rbgs.Key`, the temperature no float, or
        the estimator is :class:`~rbgs.Reinforce`.
    ValueError
        Shapes do not match, there is neither key nor noise, the sizes of the chunks are unknown or
        the categories lie in several chunks. What only a chunk shows raises when it is computed.

    Examples
    --------
    >>> import dask.array as da, rbgs, rbgs.dask
    >>> logits = da.zeros((1000, 4), chunks=(100, 4))
    >>> draw = rbgs.dask.sample(rbgs.GumbelRao(0.5), logits, key=rbgs.Key(0))
    >>> gradient = draw.vjp(2 * (draw.value - 0.25))
    >>> gradient.sum(axis=-1).compute().shape
    (1000,)
    """
    estimator, axis = _check(estimator, logits, axis)
    if noise is None and estimator._needs_noise(index):
        noise = _noise(estimator, logits, key, axis)
    elif key is not None and noise is not None:
        raise ValueError("both key and noise are given: pass one of them")
    axes = tuple(range(logits.ndim))
    of_index = estimator._structure.index_axes(logits.ndim, axis)
    index_shape = tuple(logits.shape[a] for a in of_index)
    if is_array(index) and index.ndim == 0 and of_index != axes:
        index = da.broadcast_to(da.asarray(index), index_shape)
    operands: list[Any] = [logits, axes]
    for name, array, along, shape in (
        # The noise may have more entries along the category axis: that is an axis of its own.
        (
            "noise",
            noise,
            tuple(logits.ndim if a == axis % logits.ndim else a for a in axes),
            estimator._noise_shape(logits.shape, axis),
        ),
        ("index", index, of_index, index_shape),
        ("mask", _full_mask(mask, logits.shape), axes, logits.shape),
    ):
        if array is None or isinstance(array, (int, np.integer)):
            operands += [array, None]
            continue
        array = da.asarray(array)
        check_shape(name, array.shape, shape)
        chunks = {i: logits.chunks[a] for i, a in enumerate(along) if a < logits.ndim}
        operands += [array.rechunk(chunks), along]
    block = partial(_compute, estimator, axis)
    return LazyDraw(type(estimator).__name__, block, tuple(operands), logits, axis, of_index)


@instead_of(dim="axis", rng="key", generator="key", seed="key")
def noise(estimator: Estimator, logits: da.Array, key: Key, *, axis: int = -1) -> da.Array:
    r"""Draw the noise of :meth:`rbgs.Estimator.noise`, lazily.

    Uniforms U, which make the exponentials :math:`E_j = -\log(1 - U_j)` of a race, and so the
    Gumbels :math:`-\log E_j` (Jang et al. 2017, eq. 1). An element's noise depends on the key and
    its place in the whole array alone.

    Parameters
    ----------
    estimator : Estimator
        As in :func:`sample`.
    logits : floating Dask array ``(..., n)``
        Only shape, chunks and dtype matter.
    key : Key
        The noise is the one that it gives for an array that is not chunked.
    axis : int
        The category axis.

    Returns
    -------
    Dask array ``(..., n)``
        Uniforms on [0, 1], chunked like the logits; of another shape for the estimators that
        :meth:`rbgs.Estimator.noise` names.

    Raises
    ------
    TypeError, ValueError
        As in :func:`sample`.

    Examples
    --------
    >>> import dask.array as da, numpy as np, rbgs, rbgs.dask
    >>> estimator, key = rbgs.GumbelRao(0.5), rbgs.Key(0)
    >>> chunked = rbgs.dask.noise(estimator, da.zeros((6, 3), chunks=(2, 3)), key)
    >>> bool(np.all(chunked.compute() == estimator.noise(np.zeros((6, 3)), key)))
    True
    """
    estimator, axis = _check(estimator, logits, axis)
    return _noise(estimator, logits, key, axis)


def _check(estimator: Estimator, logits: da.Array, axis: int) -> tuple[Estimator, int]:
    fix = "dask.array.from_array(logits)"
    check_pathwise(estimator)
    check_kind(logits, da.Array, "rbgs.dask", fix, fix)
    estimator = settled(estimator, logits)
    if temperature_array(estimator) is not None:
        raise TypeError(
            "rbgs.dask takes a float temperature, not an array: pass float(temperature), or draw "
            "in dask.array.map_blocks"
        )
    if any(map(isnan, logits.shape)):
        raise ValueError(
            f"logits have chunks of unknown size, shape {logits.shape}: "
            "call logits.compute_chunk_sizes() first"
        )
    axis = check_logits(logits, axis)
    if logits.numblocks[axis] != 1:
        raise ValueError(
            f"the categories, axis {axis}, lie in {logits.numblocks[axis]} chunks: one is wanted, "
            f"from logits.rechunk({{{axis}: -1}})"
        )
    return estimator, axis


def _full_mask(mask: Any, shape: tuple[int, ...]) -> da.Array | None:
    if mask is None:
        return None
    mask = da.asarray(mask)
    check_broadcast("mask", mask.shape, shape)
    return da.broadcast_to(mask, shape)


def _noise(estimator: Estimator, logits: da.Array, key: Key | None, axis: int) -> da.Array:
    if not isinstance(key, Key):
        raise TypeError(
            f"key is a {type(key).__name__}; a rbgs.Key(seed) is wanted, whose numbers do not "
            "depend on the chunks"
        )
    whole = estimator._noise_shape(logits.shape, axis)
    chunks = list(logits.chunks)
    chunks[axis] = (whole[axis],)

    key._part((0,) * len(whole), whole)  # what does not fit raises now

    def draw(block: Array, block_info: Any = None) -> Array:
        start = tuple(first for first, _ in block_info[0]["array-location"])
        return estimator.noise(block, key._part(start, whole), axis=axis)

    return da.map_blocks(draw, logits, chunks=tuple(chunks), dtype=wide_dtype(logits))


def _compute(estimator: Estimator, axis: int, result: Callable[..., Array], *arrays: Any) -> Array:
    logits, noise, index, mask, *vector = arrays
    draw = estimator.sample(logits, noise=noise, index=index, mask=mask, axis=axis)
    return result(draw, *vector)
