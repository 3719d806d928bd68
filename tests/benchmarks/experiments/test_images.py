"""The images of the VAE: IDX files and the embedded digits."""

import gzip
import struct

import numpy as np
import pytest

images = pytest.importorskip("benchmarks.experiments.images")


def idx(array, code):
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("dtype", "code"), [("u1", 8), ("i2", 11), ("i4", 12), ("f8", 14)])
def test_an_idx_file_is_read(tmp_path, dtype, code, packed):
    array = np.random.default_rng(0).integers(0, 100, size=(5, 4, 3)).astype(dtype)
    path = tmp_path / ("x.gz" if packed else "x")
    path.write_bytes(gzip.compress(idx(array, code)) if packed else idx(array, code))
    read = images.read_idx(path)
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"\1" + data[1:], "not an IDX file"),
        (lambda data: data[:2] + b"\7" + data[3:], "not an IDX file"),
        (lambda data: data[:10], "header"),
        (lambda data: data[:-1], "bytes"),
        (lambda data: data + b"\0", "bytes"),
        (lambda _: b"", "not an IDX file"),
    ],
)
def test_a_damaged_idx_file_is_refused(tmp_path, change, message):
    path = tmp_path / "x"
    path.write_bytes(change(idx(np.zeros((2, 3), "u1"), 8)))
    with pytest.raises(ValueError, match=message):
        images.read_idx(path)


def test_mnist_from_a_folder(tmp_path):
    rng = np.random.default_rng(0)
    for split, count, suffix in (("train", 10_030, ""), ("t10k", 20, ".gz")):
        data = idx(rng.integers(0, 256, size=(count, 2, 2)).astype("u1"), 8)
        path = tmp_path / f"{split}-images-idx3-ubyte{suffix}"
        path.write_bytes(gzip.compress(data) if suffix else data)
    splits = images.load("idx", tmp_path, 0)
    assert [x.shape for x in splits] == [(30, 4), (10_000, 4), (20, 4)]
    assert set(np.unique(splits.valid)) == {0.0, 1.0}


def test_what_cannot_be_loaded(tmp_path):
    with pytest.raises(FileNotFoundError, match="train-images"):
        images.load("idx", tmp_path, 0)
    with pytest.raises(ValueError, match="--data"):
        images.load("idx", None, 0)
    with pytest.raises(ValueError, match="digits, openml, idx"):
        images.load("faces", None, 0)


def test_the_digits_are_binarised_by_their_seed():
    pytest.importorskip("sklearn")
    first, again, other = (images.load("digits", None, seed) for seed in (0, 0, 1))
    assert [x.shape for x in first] == [(1297, 64), (250, 64), (250, 64)]
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert set(np.unique(a)) == {0.0, 1.0}
        assert (a != c).any()


def test_independent_pixels():
    train = np.asarray([[0.0, 1.0], [1.0, 1.0]])
    # Two pixels of probability 1/2 and 3/4.
    expected = np.log(2) + np.log(4 / 3)
    assert abs(images.independent_pixels(train, train) - expected) < 1e-12
