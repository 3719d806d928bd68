"""Binary images: MNIST from IDX files or OpenML, or the digits that scikit-learn carries."""

import gzip
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

# The third byte of an IDX file: the type of its numbers, which are big-endian.
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_VALIDATION = 10_000
SOURCES = ("digits", "openml", "idx", "noise")


class Images(NamedTuple):
    """Binary images of three splits, each ``(image, pixel)`` in float32."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file, gzipped or not.

    Parameters
    ----------
    path : Path
        The file; one that ends in ``.gz`` is unpacked.

    Returns
    -------
    array
        Of the shape and type that the file's header states.

    Raises
    ------
    ValueError
        It is no IDX file, or its length does not fit its header.
    """
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES:
        raise ValueError(f"{path} is not an IDX file")
    dtype, ndim = np.dtype(_IDX_TYPES[data[2]]), data[3]
    start = 4 + 4 * ndim
    if len(data) < start:
        raise ValueError(f"{path} ends within its header")
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", ndim, offset=4))
    expected = start + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    if len(data) != expected:
        raise ValueError(f"{path} has {len(data)} bytes, its header says {expected}")
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


@lru_cache(maxsize=1)
def load(source: str, folder: Path | None, seed: int) -> Images:
    """Load images and make each pixel 0 or 1, once, with its intensity as probability.

    Parameters
    ----------
    source : {"digits", "openml", "idx", "noise"}
        scikit-learn's 1797 embedded digits of 8×8 pixels; MNIST downloaded by scikit-learn's
        loader; MNIST from IDX files; 1000 images of its size without content, to measure times.
    folder : Path, optional
        Where the IDX files lie, under their standard names.
    seed : int
        Of the binarisation.

    Returns
    -------
    Images
        The last 10,000 training images of MNIST are the validation split.

    Raises
    ------
    ValueError, FileNotFoundError
        The source is unknown, or the IDX files are not there.
    """
    if source == "digits":
        train, valid, test = _digits()
    elif source in ("openml", "idx"):
        train, test = _openml() if source == "openml" else _idx(folder)
        train, valid = train[:-_VALIDATION], train[-_VALIDATION:]
    elif source == "noise":
        train = valid = test = np.full((1000, 784), 0.2)
    else:
        raise ValueError(f"no source {source!r}; there are {', '.join(SOURCES)}")
    rng = np.random.default_rng(seed)
    return Images(*((rng.random(x.shape) < x).astype(np.float32) for x in (train, valid, test)))


def independent_pixels(train: np.ndarray, test: np.ndarray) -> float:
    """Return the mean negative log-likelihood of images if each pixel had its own mean alone."""
    mean = (train.sum(axis=0) + 1) / (len(train) + 2)
    return float(-(test @ np.log(mean) + (1 - test) @ np.log1p(-mean)).mean())


def _digits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    intensities = load_digits().data / 16
    # The writers follow one another in the file: split at random.
    intensities = np.random.default_rng(0).permutation(intensities)
    return intensities[:1297], intensities[1297:1547], intensities[1547:]


def _openml() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import fetch_openml

    intensities = fetch_openml("mnist_784", version=1, as_frame=False).data / 255
    return intensities[:60_000], intensities[60_000:]


def _idx(folder: Path | None) -> tuple[np.ndarray, np.ndarray]:
    if folder is None:
        raise ValueError("say with --data where the IDX files lie")

    def images(split: str) -> np.ndarray:
        found = sorted(folder.glob(f"{split}-images[-.]idx3-ubyte*"))
        if not found:
            raise FileNotFoundError(f"{folder} has no {split}-images-idx3-ubyte or .gz")
        pixels = read_idx(found[0])
        return pixels.reshape(len(pixels), -1) / 255

    return images("train"), images("t10k")
