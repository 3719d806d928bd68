"""Small uniforms are as fine as floats are: on them hang the wins of rare categories."""

import numpy as np
import pytest
from backends import to_numpy
from scipy import stats

import rbgs
from rbgs.conditional.race import race
from rbgs.random.noise import uniform, uniform_of_torch
from rbgs.random.threefry import further_bits, single_precision, uniforms

SOURCES = {
    "native": lambda backend: backend.native_generator(3),
    "numpy": lambda _: np.random.default_rng(3),
    "Key": lambda _: rbgs.Key(3),
}


def assert_fine(u):
    """Assert that the small ones among uniforms do not lie on the grid of 24 bits."""
    small = u[u < 2.0**-12].astype(float)
    assert len(small) > 800
    assert small.min() > 0
    assert stats.kstest(small * 2.0**12, "uniform").pvalue > 1e-3
    assert stats.kstest(small * 2.0**24 % 1, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_small_uniforms_in_single_precision(backend, xp, source):
    drawn = uniform(source(backend), (2**11, 2**11), xp.zeros(1, dtype=xp.float32))
    assert drawn.dtype == xp.float32
    assert_fine(to_numpy(drawn))


def test_small_uniforms_of_the_other_samples():
    key = np.asarray([[7], [11]], np.int32)
    assert_fine(uniforms(key, np.arange(2**18, dtype=np.int32), 16, np.dtype("float32")).ravel())


def test_small_uniforms_of_the_door_of_pytorch():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    assert_fine(uniform_of_torch(None, (2**22,), torch.float32, "cpu").numpy())


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("p", [1e-9, 1e-10, 1e-11, 1e-12])
def test_a_rare_category_wins_as_often_as_it_should(p):
    """Draw the rare category's uniform from the words whose leading bits are 0, and weigh them."""
    count, zeros = 2**20, 28  # 2^-28 of all words have so many leading zeros
    rng = np.random.default_rng(0)
    words = rng.integers(2 ** (32 - zeros), size=count, dtype=np.int32)
    key = rng.integers(-(2**31), 2**31, size=(2, count), dtype=np.int32)
    counter = (np.zeros(count, np.int32), np.arange(count, dtype=np.int32))
    rare = single_precision(words, further_bits((key[0], key[1]), counter), np.float32)
    noise = np.stack([uniform(rng, (count,), np.zeros(1, np.float32)), rare])
    log_probs = np.log(np.tile(np.asarray([[1 - p], [p]], np.float32), (1, count)))
    wins = race(log_probs, noise)[0] == 1
    # It wins where E < p T, T standard exponential; E has the density 2^28 up to 2^-28.
    scale = p * 2.0**zeros
    expected = scale * -np.expm1(-1 / scale)
    assert abs(wins.mean() - expected) < 5 * np.sqrt(expected * (1 - expected) / count)


def test_the_tail_of_a_large_vocabulary():
    """With uniforms on a grid of 2^-24, one of them is 0 in every 16th row, and wins."""
    n, rows, tail = 2**20, 120, 5e-3
    logits = np.full(n, np.log(tail / (n - 100)), np.float32)
    logits[:100] = np.log((1 - tail) / 100)
    rng = np.random.default_rng(1)
    estimator = rbgs.StraightThrough()
    index = np.stack([estimator.sample(logits, rng=rng).index for _ in range(rows)])
    wins = int(np.sum(index >= 100))
    assert stats.binomtest(wins, rows, tail).pvalue > 1e-3


def test_ties_are_as_rare_as_floats_allow():
    n, rows = 2**18, 200
    rng = np.random.default_rng(2)
    ties = 0
    for _ in range(rows):
        u = np.sort(np.partition(uniform(rng, (n,), np.zeros(1, np.float32)), 1)[:2])
        ties += int(u[0] == u[1])
    assert ties == 0
