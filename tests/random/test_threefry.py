"""The counter-based generator against its published vectors."""

import numpy as np
import pytest
from backends import to_numpy

from rbgs.random.threefry import threefry2x32, uniforms

# Known-answer vectors of Threefry-2x32 with 20 rounds (Salmon et al. 2011): counter, key, result.
KNOWN_ANSWERS = [
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]


def words(xp, pair):
    return tuple(xp.asarray(np.asarray([word], np.uint32).view(np.int32)) for word in pair)


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN_ANSWERS)
def test_known_answers(xp, counter, key, result):
    out = threefry2x32(words(xp, key), words(xp, counter))
    assert tuple(int(to_numpy(word).view(np.uint32)[0]) for word in out) == result


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 4, 5])
def test_uniforms_do_not_depend_on_the_block(xp, dtype, n):
    key = xp.asarray(np.asarray([[1, 3, 1], [-2, 4, -1]], np.int32))
    numbers = xp.asarray(np.arange(1, 9, dtype=np.int32))
    whole = uniforms(key, numbers, n, getattr(xp, dtype))
    part = uniforms(key[:, 1:2], numbers[3:5], n, getattr(xp, dtype))
    assert tuple(whole.shape) == (n, 8, 3)
    assert np.array_equal(to_numpy(whole)[:, 3:5, 1:2], to_numpy(part))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniforms_are_uniform(dtype):
    stats = pytest.importorskip("scipy.stats")
    key = np.asarray([[7], [11]], np.int32)
    u = uniforms(key, np.arange(100_000, dtype=np.int32), 3, np.dtype(dtype))[:, :, 0].T
    assert u.dtype == dtype
    assert 0 < u.min() <= u.max() < 1
    for column in u.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-3
    assert np.abs(np.corrcoef(u.T) - np.eye(3)).max() < 5 / np.sqrt(len(u))
    assert abs(np.corrcoef(u[:-1, 0], u[1:, 0])[0, 1]) < 5 / np.sqrt(len(u))
