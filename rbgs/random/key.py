"""A key that gives the same random numbers in every library and for every sharding."""

import math
from dataclasses import dataclass, replace
from operator import index as as_integer

import numpy as np
from array_api_compat import array_namespace

from rbgs.arrays.devices import device
from rbgs.arrays.typing import Array
from rbgs.random.threefry import threefry2x32

_WORD = 2**32


@dataclass(frozen=True)
class Key:
    r"""A source of randomness that is the same in every library: Threefry-2x32 of a counter.

    Element :math:`i` of the noise, counted through the whole array in C order, is a pure function
    of the key and :math:`i`. So the same key gives the same noise on NumPy, CuPy, PyTorch, JAX,
    Dask and any other library, however the array is cut into chunks or shards. A key has no state:
    the same key gives the same numbers again. Take one from :meth:`split` or :meth:`fold_in` for
    each use.

    The numbers are those that ``jax.random.key(seed)`` gives (with JAX's default settings), and so
    are the keys of :meth:`split` and :meth:`fold_in`.

    Parameters
    ----------
    seed : int
        In 0 .. 2**64 - 1.
    start, shape
        Where a shard lies: see :meth:`at`.

    Raises
    ------
    TypeError
        The seed is not an integer.
    ValueError
        The seed is out of range.

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

    def fold_in(self, data: int) -> "Key":
        """Return a key for a number, such as that of a step or an epoch.

        Parameters
        ----------
        data : int
            In 0 .. 2**32 - 1.

        Returns
        -------
        Key
            A key whose numbers are independent of this one's, and of those for other data.

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
        high, low = threefry2x32(self._words(np.zeros(1)), _int32(np.zeros(1), 0, data))
        return Key((int(high[0]) % _WORD) * _WORD + int(low[0]) % _WORD)

    def split(self, count: int = 2) -> list["Key"]:
        """Return independent keys: ``fold_in`` of 0, 1, ... up to ``count``.

        Parameters
        ----------
        count : int
            How many.

        Returns
        -------
        list of Key
            The keys.

        Examples
        --------
        >>> import rbgs
        >>> first, second = rbgs.Key(0).split()
        >>> first == second
        False
        """
        return [self.fold_in(i) for i in range(count)]

    def at(self, *start: int | Array, shape: tuple[int, ...] | None = None) -> "Key":
        """Return the key for a shard, whose noise is its part of the whole array's noise.

        Parameters
        ----------
        *start : int or integer array ``()``
            The place of the shard's first entry in the whole array, axis by axis; 0 for the axes
            left out. It may be traced, such as a multiple of ``jax.lax.axis_index``.
        shape : tuple of int, optional
            Shape of the whole array of noise. Needed only if the array is cut along other axes than
            the first.

        Returns
        -------
        Key
            The key for the shard.

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
        """Return uniforms on [0, 1) as an array of any library.

        Parameters
        ----------
        shape : tuple of int
            Shape of the result.
        like : float32 or float64 array
            Its library, dtype and device are those of the result. Single precision takes 23 random
            bits, double precision 52.

        Returns
        -------
        array
            Uniforms.

        Raises
        ------
        ValueError
            More than 2**32 numbers are asked of one key.

        Examples
        --------
        >>> import numpy as np, rbgs
        >>> rbgs.Key(0).uniform((3,), np.zeros(1)).round(3)
        array([0.418, 0.216, 0.965])
        """
        whole = shape if self.shape is None else self.shape
        if math.prod(whole) > _WORD:
            raise ValueError(f"one Key gives 2**32 numbers, not as many as {whole} has: split it")
        xp = array_namespace(like)
        here = device(like)
        # int32 wraps around, which is what a counter modulo 2**32 needs.
        counter = xp.zeros((1,) * len(shape), dtype=xp.int32, device=here)
        for axis, length in enumerate(shape):
            stride = math.prod(whole[axis + 1 :])
            steps = xp.arange(length, dtype=xp.int32, device=here)
            if axis < len(self.start):
                steps = steps + self.start[axis]
            steps = xp.astype(steps, xp.int32) * _int32(like, stride)[0]
            counter = counter + xp.reshape(
                steps, (1,) * axis + (-1,) + (1,) * (len(shape) - axis - 1)
            )
        counter = xp.reshape(counter, (-1,))
        x, y = threefry2x32(self._words(like), (xp.zeros_like(counter), counter))
        if like.dtype == xp.float64:
            high = xp.astype((x >> 6) & 0x3FFFFFF, like.dtype)
            low = xp.astype(((x & 0x3F) << 20) | ((y >> 12) & 0xFFFFF), like.dtype)
            drawn = (high * 2.0**26 + low) * 2.0**-52
        else:
            drawn = xp.astype(((x ^ y) >> 9) & 0x7FFFFF, like.dtype) * 2.0**-23
        return xp.reshape(drawn, shape)

    def _words(self, like: Array) -> tuple[Array, ...]:
        return _int32(like, self.seed // _WORD, self.seed % _WORD)


def _int32(like: Array, *words: int) -> tuple[Array, ...]:
    """Return words as int32 arrays ``(1,)`` with the same bits."""
    xp = array_namespace(like)
    signed = [word - _WORD if word >= _WORD // 2 else word for word in words]
    return tuple(xp.asarray([word], dtype=xp.int32, device=device(like)) for word in signed)


def _integer(name: str, value: int, limit: int) -> int:
    try:
        value = as_integer(value)
    except Exception as error:  # JAX raises an error of its own for a traced value
        raise TypeError(
            f"{name} must be an int, got {type(value).__name__}. Inside a JAX transformation use "
            "jax.random.fold_in and jax.random.key, which give the same numbers"
        ) from error
    if not 0 <= value < limit:
        raise ValueError(f"{name} must lie in 0 .. 2**{limit.bit_length() - 1} - 1, got {value}")
    return value
