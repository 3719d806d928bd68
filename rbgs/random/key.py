"""A key that gives the same random numbers in every library and for every sharding."""

import math
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np

from rbgs.arrays.devices import device
from rbgs.arrays.inputs import check_count
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.scalars import as_int
from rbgs.arrays.tracing import constant_when_compiled, is_traced
from rbgs.arrays.typing import Array
from rbgs.random.threefry import further_bits, single_precision, threefry2x32

_WORD = 2**32
_PADDING = (0,) * 30


@dataclass(frozen=True)
class Key:
    r"""A source of randomness that is the same in every library: Threefry-2x32 of a counter.

    Element :math:`i` of the noise, counted through the whole array in C order, is a pure function
    of the key and :math:`i`. So the same key gives the same noise on NumPy, CuPy, PyTorch, JAX,
    Dask and any other library, however the array is cut into chunks or shards. A key has no state:
    the same key gives the same numbers again. Take one from :meth:`split` or :meth:`fold_in` for
    each use.

    The noise is that of ``jax.random.key(seed)`` (with JAX's default settings), and the keys of
    :meth:`split` and :meth:`fold_in` are JAX's, too.

    Parameters
    ----------
    seed : int
        In 0 .. 2**64 - 1.
    start : tuple of int
        Where a shard begins in the whole array, axis by axis: see :meth:`at`.
    shape : tuple of int, optional
        Shape of the whole array, of which a shard is a part.

    Raises
    ------
    TypeError
        The seed, the start or the shape is not made of integers.
    ValueError
        The seed is out of range, or the start is negative or does not lie within the shape.

    References
    ----------
    Salmon, Moraes, Dror, Shaw (2011). Parallel random numbers: as easy as 1, 2, 3. SC '11.

    Examples
    --------
    >>> import numpy as np, rbgs
    >>> key = rbgs.Key(0)
    >>> estimator = rbgs.StraightThrough()
    >>> whole = estimator.noise(np.zeros((6, 3)), key)
    >>> shard = estimator.noise(np.zeros((2, 3)), key.at(4))
    >>> bool(np.all(whole[4:] == shard))
    True
    """

    seed: int
    start: tuple[int | Array, ...] = ()
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", _integer("the seed of a Key", self.seed, _WORD**2))
        object.__setattr__(self, "start", tuple(map(_place, self.start)))
        if self.shape is None:
            return
        shape = tuple(check_count("a size in the shape of a Key", x, 0) for x in self.shape)
        object.__setattr__(self, "shape", shape)
        if len(self.start) > len(shape) or any(
            isinstance(first, int) and first > size
            for first, size in zip(self.start, shape, strict=False)
        ):
            raise ValueError(f"the start {self.start} of a Key lies outside the shape {shape}")

    def fold_in(self, data: int) -> "Key":
        """Return a key for a number, such as that of a step or an epoch.

        Parameters
        ----------
        data : int
            In 0 .. 2**32 - 1.

        Returns
        -------
        Key
            A key whose numbers are independent of this one's, and of those for other data; it is
            for the same shard, if this one is for a shard.

        Raises
        ------
        TypeError
            ``data`` is not an integer, for example because it is traced by JAX.
        ValueError
            ``data`` is out of range.

        Examples
        --------
        >>> import rbgs
        >>> rbgs.Key(0).fold_in(7) == rbgs.Key(0).fold_in(7)
        True
        """
        data = _integer("the number to fold into a Key", data, _WORD)
        return replace(self, seed=_folded(self.seed, data))

    def split(self, count: int = 2) -> list["Key"]:
        """Return independent keys: ``fold_in`` of 0, 1, ... up to ``count``.

        Parameters
        ----------
        count : int
            How many.

        Returns
        -------
        list of Key
            The keys, for the same shard, if this one is for a shard.

        Raises
        ------
        TypeError, ValueError
            The count is no integer, or is negative.

        Examples
        --------
        >>> import rbgs
        >>> first, second = rbgs.Key(0).split()
        >>> first == second
        False
        """
        return [self.fold_in(i) for i in range(check_count("count", count, 0))]

    def at(self, *start: int | Array, shape: tuple[int, ...] | None = None) -> "Key":
        r"""Return the key for a shard, whose noise is its part of the whole array's noise.

        Entry :math:`(i_1, \dots, i_d)` of the shard is number
        :math:`\sum_a (f_a + i_a) \prod_{b > a} N_b` of the whole array of shape N, f being where
        the shard starts: this number is the counter that the generator enciphers.

        Parameters
        ----------
        *start : int or int array ``()``
            The place of the shard's first entry in the whole array, axis by axis; 0 for the axes
            left out. It may be traced, such as a multiple of ``jax.lax.axis_index``; then nobody
            can check that the shard lies within the whole.
        shape : tuple of int, optional
            Shape of the whole array of noise. Needed only if the array is cut along other axes than
            the first.

        Returns
        -------
        Key
            The key for the shard; its place replaces that of an earlier call.

        Raises
        ------
        TypeError, ValueError
            A start is no integer, is negative, or lies outside the shape. What only the shape of
            the shard shows raises when the noise is drawn.

        Examples
        --------
        >>> import numpy as np, rbgs
        >>> whole = rbgs.Key(0).uniform((6, 4), np.zeros(1))
        >>> shard = rbgs.Key(0).at(3, 2, shape=(6, 4)).uniform((3, 2), np.zeros(1))
        >>> bool(np.all(whole[3:, 2:] == shard))
        True
        """
        return replace(self, start=start, shape=shape)

    def uniform(self, shape: tuple[int, ...], like: Array) -> Array:
        r"""Return uniforms on [0, 1] as an array of any library.

        .. math:: U_i = 2^{-52} \lfloor 2^{-12} \operatorname{Threefry}_k(i) \rfloor

        in double precision, with the key k and the 64 bits that Threefry-2x32 makes of the counter
        i, the place of the entry in the whole array.

        Parameters
        ----------
        shape : tuple of int
            Shape of the result.
        like : float32 or float64 array ``(...)``
            Of any shape; its library, dtype and device are those of the result. Double precision
            takes 52 random bits; single precision rounds 55 of them, so that small numbers are as
            fine as floats.

        Returns
        -------
        floating array ``(*shape,)``
            Uniforms of the given shape.

        Raises
        ------
        ValueError
            More than 2**32 numbers are asked of one key, or the shard does not fit the whole.

        Examples
        --------
        >>> import numpy as np, rbgs
        >>> rbgs.Key(0).uniform((3,), np.zeros(1)).round(3)
        array([0.418, 0.216, 0.965])
        """
        whole = self._whole(shape)
        xp = array_namespace(like)
        here = device(like)
        # int32 wraps around, which is what a counter modulo 2**32 needs.
        counter = xp.zeros((1,) * len(shape), dtype=xp.int32, device=here)
        for axis, length in enumerate(shape):
            stride = math.prod(whole[axis + 1 :])
            steps = xp.arange(length, dtype=xp.int32, device=here)
            if axis < len(self.start):
                first = self.start[axis]
                steps = steps + (_int32(like, first) if isinstance(first, int) else first)
            steps = xp.astype(steps, xp.int32) * _int32(like, stride)
            counter = counter + xp.reshape(
                steps, (1,) * axis + (-1,) + (1,) * (len(shape) - axis - 1)
            )
        counter = xp.reshape(counter, (-1,))
        x, y = threefry2x32(self._words(like), (xp.zeros_like(counter), counter))
        if like.dtype != xp.float32:
            high = xp.astype((x >> 6) & 0x3FFFFFF, like.dtype)
            low = xp.astype(((x & 0x3F) << 20) | ((y >> 12) & 0xFFFFF), like.dtype)
            drawn = (high * 2.0**26 + low) * 2.0**-52
        else:
            further = further_bits(self._words(like), (xp.zeros_like(counter), counter))
            drawn = single_precision(x ^ y, further, like.dtype)
        return xp.reshape(drawn, shape)

    def _part(self, start: tuple[int, ...], shape: tuple[int, ...]) -> "Key":
        """Return the key for a part of what this one is for, an array of a shape."""
        first = (*self.start, *(0,) * (len(shape) - len(self.start)))
        moved = tuple(a + b for a, b in zip(first, start, strict=True))
        return replace(self, start=moved, shape=self._whole(shape))

    def _whole(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the whole array, of which noise of a shape is the part."""
        start, whole = self.start, self.shape
        if len(start) > len(shape) or (whole is not None and len(whole) != len(shape)):
            raise ValueError(
                f"a Key for a shard at {start} of shape {whole} has another number of axes than "
                f"the noise, whose shape is {shape}: see Key.at"
            )
        if whole is None:
            if any(not isinstance(first, int) or first for first in start[1:]):
                raise ValueError(
                    f"a Key for a shard at {start}, cut along other axes than the first, needs the "
                    "shape of the whole array of noise: key.at(*start, shape=shape)"
                )
            first = start[0] if start and isinstance(start[0], int) else 0
            whole = (first + shape[0], *shape[1:]) if shape else ()
        ends = [
            first + length if isinstance(first, int) else length
            for first, length in zip_longest(start, shape, fillvalue=0)
        ]
        if any(end > size for end, size in zip(ends, whole, strict=True)):
            raise ValueError(
                f"a shard of shape {shape} that starts at {start} does not fit into the whole, "
                f"whose shape is {whole}"
            )
        if math.prod(whole) > _WORD:
            raise ValueError(f"one Key gives 2**32 numbers, not as many as {whole} has: split it")
        return whole

    def _words(self, like: Array) -> tuple[Array, Array]:
        return _words(self.seed, like)


@constant_when_compiled
def _folded(seed: int, data: int) -> int:
    """Return the seed of a key that a number is folded into."""
    like = np.zeros(1)
    high, low = threefry2x32(_words(seed, like), (_int32(like, 0), _int32(like, data)))
    return (int(high[0]) % _WORD) * _WORD + int(low[0]) % _WORD


def _words(seed: int, like: Array) -> tuple[Array, Array]:
    # PyTorch's compiler writes a short array out as numbers, and all that is made of numbers alone
    # as one expression: after twenty rounds, of millions of terms. What is long it reads.
    words = _int32(like, *divmod(seed, _WORD), *_PADDING)
    return words[:1], words[1:2]


def _int32(like: Array, *words: int) -> Array:
    """Return words as an int32 array with the same bits."""
    xp = array_namespace(like)
    signed = [word - _WORD if word >= _WORD // 2 else word for word in words]
    return xp.asarray(signed, dtype=xp.int32, device=device(like))


def _place(start: Any) -> Any:
    """Return where a shard starts along one axis: an int, or an integer that has no value yet."""
    if not is_traced(start):
        return check_count("the start of a Key", start, 0)
    if start.ndim or not array_namespace(start).isdtype(start.dtype, "integral"):
        raise TypeError(
            f"the start of a Key must be an integer (), got {start.dtype} {tuple(start.shape)}"
        )
    return start


def _integer(name: str, value: int, limit: int) -> int:
    try:
        number = as_int(name, value)
    except TypeError as error:
        if not is_traced(value):
            raise
        raise TypeError(
            f"{name} must be an int, got {type(value).__name__}. Inside a JAX transformation use "
            "jax.random.fold_in and jax.random.key, which give the same numbers"
        ) from error
    if not 0 <= number < limit:
        raise ValueError(f"{name} must lie in 0 .. 2**{limit.bit_length() - 1} - 1, got {number}")
    return number
