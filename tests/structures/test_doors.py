"""Structures through every door: value and gradient are those of the draw for the same noise."""

import importlib

import numpy as np
import pytest
from backends import Backend
from doors import DOORS, FRAMEWORKS, Framework, assert_those_of_the_draw, through

import rbgs

EDGES = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)]
SUBSET, TREE = rbgs.Subset(3), rbgs.SpanningTree(EDGES)
RANDOM = np.random.default_rng(0)
LOGITS, VECTOR = RANDOM.normal(size=(2, 3, 4, 5))
MASK = np.asarray([True, True, False, True, True])
INDEX = np.asarray([1, 1, 0, 1, 0])  # both a subset and a tree
OPTIONS = {
    "plain": {},
    "mask": {"mask": MASK},
    "index": {"index": np.broadcast_to(INDEX, LOGITS.shape).copy()},
    "axis": {"axis": 1},
}
ESTIMATORS = {
    "subset": rbgs.GumbelRao(0.5, 3, structure=SUBSET),
    "binary_entropy": rbgs.GumbelSoftmax(0.5, rbgs.Subset(3, "binary_entropy")),
    "straight-through": rbgs.StraightThrough(0.7, SUBSET),
    "tree": rbgs.GumbelRao(0.5, 3, "monte_carlo", structure=TREE),
}


@pytest.mark.parametrize("door", [d for d in DOORS if d != "jax"])  # which has its own below
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
def test_value_and_gradient_are_those_of_the_draw(door, options, estimator):
    logits, vector = LOGITS, VECTOR
    if options.get("axis") == 1:
        logits, vector = (np.ascontiguousarray(np.moveaxis(x, -1, 1)) for x in (logits, vector))
    assert_those_of_the_draw(door, estimator, logits, vector, **options)


@pytest.mark.parametrize("structure", [SUBSET, TREE], ids=["subset", "tree"])
def test_the_lazy_index_is_a_structure(structure):
    da = pytest.importorskip("dask.array")
    door = importlib.import_module("rbgs.dask")
    estimator = rbgs.GumbelRao(0.5, structure=structure)
    lazy = door.sample(estimator, da.from_array(LOGITS, chunks=(2, 2, -1)), key=rbgs.Key(0))
    index = estimator.sample(LOGITS, rng=rbgs.Key(0)).index
    np.testing.assert_array_equal(lazy.index.compute(), index)
    with pytest.raises(ValueError, match="index has shape"):
        door.sample(
            estimator, da.from_array(LOGITS), key=rbgs.Key(0), index=np.asarray(1)
        ).value.compute()


@pytest.mark.parametrize("door", DOORS)
def test_a_number_is_no_structure(door):
    noise = ESTIMATORS["subset"].noise(LOGITS, 0)
    with pytest.raises(TypeError, match="an integer array of the logits' shape"):
        through(door, ESTIMATORS["subset"], LOGITS, noise, VECTOR, index=1)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("structure", [SUBSET, TREE], ids=["subset", "tree"])
def test_the_score_function_serves_structures(framework, structure):
    frame = Framework(framework)
    cost = np.arange(5.0)
    estimator = rbgs.Reinforce("leave_one_out", samples=3, structure=structure)
    key = rbgs.Key(4)

    def loss(value):
        return frame.xp.sum(value * frame.array(cost), -1)

    def total(logits):
        return frame.xp.sum(frame.expectation(estimator, loss, logits, key))

    _, pullback = frame.vjp(total, LOGITS)
    expected = estimator.gradient(lambda value: ((value * cost).sum(-1), None), LOGITS, rng=key)
    np.testing.assert_allclose(pullback(1.0)[0], expected, atol=1e-12)


@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
def test_torch_maps_over_structures(estimator):
    torch = pytest.importorskip("torch")
    door = importlib.import_module("rbgs.torch")
    noise = estimator.noise(LOGITS, 0)
    index = estimator.sample(LOGITS, noise=noise).index

    def gradient(logits, noise, index, vector):
        def inner(logits):
            return (door.sample(estimator, logits, noise=noise, index=index) * vector).sum()

        return torch.func.grad(inner)(logits)

    operands = map(torch.asarray, (LOGITS, noise, index, VECTOR))
    mapped = torch.vmap(gradient, in_dims=(0, 0, 0, 0))(*operands)
    expected = estimator.sample(LOGITS, noise=noise, index=index).vjp(VECTOR)
    np.testing.assert_allclose(mapped.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("x64", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("structure", [SUBSET, TREE], ids=["subset", "tree"])
def test_jax_compiles_structures(x64, structure):
    jax = pytest.importorskip("jax")
    Backend.JAX.load()
    door = importlib.import_module("rbgs.jax")
    logits, vector = (x[0].T.astype(np.float64 if x64 else np.float32) for x in (LOGITS, VECTOR))
    options = {"mask": MASK[:, None], "axis": 0}
    estimator = rbgs.GumbelRao(0.5, 3, structure=structure)
    noise = estimator.noise(logits, 0, axis=0)
    drawn = estimator.sample(logits, noise=noise, **options)
    given = estimator.sample(logits, noise=noise, index=drawn.index, **options)
    with jax.enable_x64(x64):

        @jax.jit
        def results(logits, noise, index, mask, temperature):
            options = {"mask": mask, "axis": 0}
            at = rbgs.GumbelRao(temperature, 3, structure=structure)

            def loss(logits, index):
                value = door.sample(at, None, logits, noise=noise, index=index, **options)
                return (value * vector).sum(), value

            gradient = jax.grad(loss, has_aux=True)
            draw = estimator.sample(logits, noise=noise, **options)
            return *gradient(logits, None), gradient(logits, index)[0], draw

        *found, draw = results(logits, noise, drawn.index, MASK[:, None], np.asarray(0.5))
    tolerance = 1e-12 if x64 else 1e-5
    expected = drawn.vjp(vector), drawn.value, given.vjp(vector)
    for a, b in zip((*found, draw.index), (*expected, drawn.index), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance)


@pytest.mark.slow  # its program takes half a minute to compile
@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.parametrize("structure", [SUBSET, TREE], ids=["subset", "tree"])
def test_torch_compiles_structures_for_any_batch(structure):
    torch = pytest.importorskip("torch")
    door = importlib.import_module("rbgs.torch")
    estimator = rbgs.GumbelRao(0.5, 3, structure=structure)

    @torch.compile(fullgraph=True)
    def sample(logits, noise):
        return door.sample(estimator, logits, noise=noise)

    for rows in (4, 6, 9):
        logits, vector = np.random.default_rng(rows).normal(size=(2, rows, 5))
        noise = estimator.noise(logits, 0)
        leaf = torch.asarray(logits).requires_grad_()
        sample(leaf, torch.asarray(noise)).backward(torch.asarray(vector))
        expected = estimator.sample(logits, noise=noise).vjp(vector)
        np.testing.assert_allclose(leaf.grad.numpy(), expected, atol=1e-12)
