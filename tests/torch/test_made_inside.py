"""What is made inside a function that PyTorch compiles, from numbers met there for the first time.

A compiler of a program sees constants, or arrays of PyTorch: what NumPy finds out for an estimator
or a key has to be found out of its sight.
"""

import warnings

import numpy as np
import pytest

import rbgs
from rbgs.arrays.tracing import constant_when_compiled
from rbgs.conditional import lattice

torch = pytest.importorskip("torch")
door = pytest.importorskip("rbgs.torch")
testing = pytest.importorskip("torch._dynamo.testing")

# PyTorch's compiler makes an object of this class for itself, and throws its warning away.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")

RANDOM = np.random.default_rng(0)
LOGITS, VECTOR = torch.asarray(RANDOM.normal(size=(2, 6, 4)))
KEY = rbgs.Key(0)


@pytest.fixture(autouse=True)
def nothing_known():
    torch.compiler.reset()
    lattice._search.cache_clear()


def value_and_gradient(sample, *arguments):
    leaf = LOGITS.clone().requires_grad_()
    torch.manual_seed(0)
    value = sample(leaf, *arguments)
    value.backward(VECTOR)
    return value.detach(), leaf.grad


def assert_same(compiled, sample, *arguments):
    got = value_and_gradient(compiled, *arguments)
    wanted = value_and_gradient(sample, *arguments)
    torch.testing.assert_close(got, wanted, atol=1e-9, rtol=0)


def through_door(logits, samples, sampling, noise):
    return door.sample(rbgs.GumbelRao(0.5, samples, sampling), logits, noise=noise)


def in_place_of_torch(logits, samples, _, __):
    return door.gumbel_softmax(logits, 0.5, hard=True, samples=samples)


def without_door(logits, samples, sampling, noise):
    draw = rbgs.GumbelRao(0.5, samples, sampling).sample(logits.detach(), noise=noise)
    return draw.value + (logits - logits.detach()) * draw.vjp(VECTOR)


def with_key(logits):
    return door.sample(rbgs.GumbelRao(0.5, 13), logits, generator=rbgs.Key(0))


@pytest.mark.parametrize(
    ("sample", "sampling", "dynamic", "counts"),
    [
        (through_door, "lattice", None, (13, 22, 1, 1009)),
        (through_door, "lattice", True, (22, 7)),
        (through_door, "monte_carlo", None, (13, 22, 1)),
        pytest.param(through_door, "monte_carlo", True, (7,), marks=pytest.mark.slow),
        (through_door, "exact", None, (13,)),
        (in_place_of_torch, "lattice", None, (13,)),
        pytest.param(without_door, "lattice", None, (13, 22), marks=pytest.mark.slow),
    ],
)
def test_any_number_of_samples(sample, sampling, dynamic, counts):
    compiled = torch.compile(sample, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for samples in counts:
        noise = rbgs.GumbelRao(0.5, samples, sampling).noise(LOGITS, KEY)
        assert_same(compiled, sample, samples, sampling, noise)


def test_a_number_of_samples_met_again_compiles_nothing():
    counter = testing.CompileCounterWithBackend("eager")
    compiled = torch.compile(through_door, fullgraph=True, backend=counter)
    frames, noise = [], rbgs.GumbelRao(0.5).noise(LOGITS, KEY)
    for samples in (13, 22, 13, 22):
        compiled(LOGITS, samples, "lattice", noise)
        frames.append(counter.frame_count)
    assert frames == [1, 2, 2, 2]


def test_inductor():
    # The key is part of it: its rounds must not become one expression, of millions of terms.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own
        assert_same(torch.compile(with_key, fullgraph=True), with_key)


SOURCES = {
    "a seed": lambda: 7,
    "a key": lambda: rbgs.Key(2**64 - 1),
    "folded in": lambda: rbgs.Key(7).fold_in(2**32 - 1),
    "split": lambda: rbgs.Key(7).split(3)[2],
}


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_export(source, strict):
    class Model(torch.nn.Module):
        def forward(self, logits):
            return rbgs.GumbelRao(0.5, 13).sample(logits, rng=source()).vjp(VECTOR)

    exported = torch.export.export(Model(), (LOGITS,), strict=strict).module()
    torch.testing.assert_close(exported(LOGITS), Model()(LOGITS), atol=1e-12, rtol=0)


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_sources_of_randomness(source):
    def sample(logits):
        return door.sample(rbgs.StraightThroughGumbelSoftmax(0.5), logits, generator=source())

    for dynamic in (None, True):
        torch.compiler.reset()
        compiled = torch.compile(sample, fullgraph=True, backend="eager", dynamic=dynamic)
        assert_same(compiled, sample)


@pytest.mark.parametrize("dynamic", [None, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pytorchs_own_generator_while_sizes_change(dtype, dynamic):
    counter = testing.CompileCounterWithBackend("aot_eager")

    def sample(logits):
        return door.gumbel_softmax(logits, 0.5, hard=True)

    compiled = torch.compile(sample, fullgraph=True, backend=counter, dynamic=dynamic)
    for rows in (5, 64, 9, 200):
        logits = torch.zeros((rows, 4), dtype=dtype)
        torch.manual_seed(rows)
        drawn = compiled(logits)
        torch.manual_seed(rows)
        assert torch.equal(drawn, sample(logits))
    assert counter.frame_count <= 2


@pytest.mark.parametrize("sampling", ["lattice", "monte_carlo", "exact"])
def test_a_temperature_that_numpy_computes(sampling):
    counter = testing.CompileCounterWithBackend("eager")
    noise = rbgs.GumbelRao(0.5, 7, sampling).noise(LOGITS, KEY)

    def sample(logits, temperature):
        return door.sample(rbgs.GumbelRao(temperature, 7, sampling), logits, noise=noise)

    compiled = torch.compile(sample, fullgraph=True, backend=counter)
    counts = []
    for step in range(3):
        assert_same(compiled, sample, np.maximum(0.4, np.exp(-0.3 * step)))
        counts.append(counter.frame_count)
    assert counts[1] == counts[-1]
    assert_same(compiled, sample, np.float32(0.7))
    assert_same(compiled, sample, np.asarray(0.7))


def test_the_mark_is_the_one_of_pytorch():
    def function():
        pass

    marked = vars(constant_when_compiled(function)).copy()
    vars(function).clear()
    assert vars(torch.compiler.assume_constant_result(function)) == marked
