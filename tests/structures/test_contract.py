"""What every call promises, for structures: as tests/test_contract.py does for a category.

JAX compiles each operation for each shape: it takes part where libraries are compared.
"""

import copy
import dataclasses
import pickle

import numpy as np
import pytest
from backends import Backend, to_numpy
from cases import STRUCTURED, STRUCTURES, name, quadratic, short
from enumeration import structures

import rbgs

each_estimator = pytest.mark.parametrize("estimator", STRUCTURED, ids=name)
each_structure = pytest.mark.parametrize("structure", STRUCTURES, ids=short)
PATHWISE = [estimator for estimator in STRUCTURED if estimator._pathwise]
each_pathwise = pytest.mark.parametrize("estimator", PATHWISE, ids=name)
ORACLE = np.asarray([0.1, 0.4, 0.2, 0.3, 0.9]), np.asarray([1.0, -2.0, 0.5, 3.0, 1.0])


# What JAX runs: each relaxation, each scheme, and the score.
OF_JAX = {
    "GumbelRao-lattice-Subset",
    "GumbelRao-monte_carlo-Subset-entropy",
    "StraightThrough-SpanningTree",
    "GumbelRao-lattice-SpanningTree",
    "Reinforce-SpanningTree",
}


@pytest.fixture
def quick(backend, xp):
    """Return a library that does not compile each operation first."""
    if backend is Backend.JAX:
        pytest.skip("the same noise gives JAX the same result: that is tested")
    return xp


def logits_of(*shape, dtype=np.float64):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def assert_structures(index, structure):
    outcomes = structures(structure, index.shape[-1])
    assert (index[..., None, :] == outcomes).all(axis=-1).any(axis=-1).all()


@each_estimator
def test_the_same_noise_gives_the_same_result_in_every_library(backend, xp, estimator):
    if backend is Backend.JAX and name(estimator) not in OF_JAX:
        pytest.skip("JAX runs one of those with the same operations")
    logits, v = logits_of(6, 5), np.cos(logits_of(6, 5))
    logits[1, 2], logits[3, 1] = np.nan, -np.inf
    noise = estimator.noise(logits, 0)
    here = estimator.sample(logits, noise=noise)
    there = estimator.sample(xp.asarray(logits), noise=xp.asarray(noise))
    np.testing.assert_array_equal(to_numpy(there.index), here.index)
    np.testing.assert_allclose(to_numpy(there.value), here.value, atol=1e-12)
    if estimator._pathwise:
        np.testing.assert_allclose(to_numpy(there.jvp(xp.asarray(v))), here.jvp(v), atol=1e-11)
        np.testing.assert_allclose(to_numpy(there.jacobian()), here.jacobian(), atol=1e-11)
    expected = estimator.gradient(quadratic(np, *ORACLE), logits, noise=noise)
    found = estimator.gradient(quadratic(xp, *ORACLE), xp.asarray(logits), noise=xp.asarray(noise))
    np.testing.assert_allclose(to_numpy(found), expected, atol=1e-10)


@each_estimator
def test_shapes(quick, estimator):
    shapes = [(5,), (1, 5), (0, 5), (2, 3, 5), (2, 0, 5), (2, 1, 4, 5)]
    leading = () if estimator._draws == 1 else (estimator._draws,)
    for shape in shapes:
        logits = quick.asarray(logits_of(*shape))
        draw = estimator.sample(logits, rng=0)
        value, index = to_numpy(draw.value), to_numpy(draw.index)
        assert value.shape == index.shape == (*leading, *shape)
        assert_structures(index, estimator.structure)
        np.testing.assert_allclose(value.sum(axis=-1), 3)
        if not isinstance(estimator, rbgs.GumbelSoftmax):
            np.testing.assert_array_equal(value, index)
        if estimator._pathwise:
            assert tuple(draw.jvp(logits).shape) == tuple(draw.vjp(logits).shape) == shape
            assert tuple(draw.jacobian().shape) == (*shape, 5)
        oracle = quadratic(quick, *ORACLE)
        assert tuple(estimator.gradient(oracle, logits, rng=0).shape) == shape


@each_structure
def test_dtypes_and_precision(backend, xp, structure):
    if backend is Backend.JAX and structure is not STRUCTURES[0]:
        pytest.skip("JAX would compile all in another precision")
    estimator = rbgs.StraightThroughGumbelSoftmax(0.4, structure=structure)
    wanted, v = logits_of(6, 5), np.cos(logits_of(6, 5))
    noise = estimator.noise(wanted, 0).astype(np.float32)
    halves = {Backend.TORCH: ["float16", "bfloat16"], Backend.JAX: ["float16", "bfloat16"]}
    for dtype in [*halves.get(backend, []), "float32"]:
        dtype = getattr(xp, dtype)
        logits, cotangent = (xp.astype(xp.asarray(x), dtype) for x in (wanted, v))
        draw = estimator.sample(logits, noise=xp.asarray(noise))
        product = draw.vjp(cotangent)
        assert draw.value.dtype == product.dtype == draw.jacobian().dtype == dtype
        assert draw.index.dtype == xp.asarray([1]).dtype
        rounded = [to_numpy(x).astype(np.float64) for x in (logits, cotangent)]
        exact = estimator.sample(rounded[0], noise=noise.astype(np.float64))
        np.testing.assert_array_equal(to_numpy(draw.index), exact.index)
        eps = float(xp.finfo(dtype).eps)
        np.testing.assert_allclose(to_numpy(product), exact.vjp(rounded[1]), atol=4 * eps + 2e-5)


def test_half_precision_of_numpy():
    for estimator in STRUCTURED:
        logits = logits_of(6, 5, dtype=np.float16)
        draw = estimator.sample(logits, rng=0)
        assert draw.value.dtype == np.float16
        assert draw.index.dtype == np.int64
        gradient = estimator.gradient(quadratic(np, 0.5, 1.0), logits, rng=0)
        assert gradient.dtype == np.float16
        assert np.isfinite(gradient).all()


@each_structure
def test_devices(xp, backend, structure):
    if backend is not Backend.STRICT:
        pytest.skip("array-api-strict stands in for a second device")
    device = xp.Device("device1")
    logits = xp.asarray(logits_of(6, 5), device=device)
    mask = xp.asarray(np.asarray([True, True, False, True, True]), device=device)
    given = xp.asarray(np.tile(structures(structure, 5)[0], (6, 1)), device=device)
    for estimator in (e for e in STRUCTURED if e.structure == structure and e._draws == 1):
        for draw in (
            estimator.sample(logits, rng=0, mask=mask),
            estimator.sample(logits, rng=0, index=given),
        ):
            assert draw.value.device == draw.index.device == device
            if estimator._pathwise:
                assert draw.vjp(logits).device == draw.jacobian().device == device


@each_estimator
def test_axis(quick, estimator):
    logits, v = logits_of(2, 3, 5), np.cos(logits_of(2, 3, 5))
    mask = np.asarray([True, True, False, True, True])
    noise = estimator.noise(logits, 0)
    last = estimator.sample(logits, noise=noise, mask=mask)
    for axis in (1, -3):

        def moved(x, axis=axis):
            return quick.asarray(np.ascontiguousarray(np.moveaxis(x, -1, axis)))

        masked = moved(np.broadcast_to(mask, logits.shape))
        # Several draws lie along the first axis.
        of_noise = axis if estimator._draws == 1 or axis < 0 else axis + 1
        moved_noise = quick.asarray(np.ascontiguousarray(np.moveaxis(noise, -1, of_noise)))
        assert tuple(estimator.noise(moved(logits), 0, axis=axis).shape) == moved_noise.shape
        draw = estimator.sample(moved(logits), noise=moved_noise, mask=masked, axis=axis)
        for found, expected in ((draw.value, last.value), (draw.index, last.index)):
            found = np.moveaxis(to_numpy(found), of_noise, -1)
            np.testing.assert_allclose(found, expected, atol=1e-12)
        given = estimator.sample(
            moved(logits), noise=moved_noise, mask=masked, axis=axis, index=draw.index
        )
        np.testing.assert_array_equal(to_numpy(given.index), to_numpy(draw.index))
        if estimator._pathwise:
            product = np.moveaxis(to_numpy(draw.vjp(moved(v))), axis, -1)
            np.testing.assert_allclose(product, last.vjp(v), atol=1e-11)
            np.testing.assert_allclose(to_numpy(draw.jacobian()), last.jacobian(), atol=1e-11)


@each_estimator
def test_a_mask_equals_minus_infinity(quick, estimator):
    logits, mask = logits_of(6, 5), np.asarray([True, False, True, True, True])
    forbidden, nan_behind = (np.where(mask, logits, x) for x in (-np.inf, np.nan))
    masked = estimator.sample(quick.asarray(logits), rng=0, mask=quick.asarray(mask))
    for x, options in ((forbidden, {}), (nan_behind, {"mask": quick.asarray(mask)})):
        draw = estimator.sample(quick.asarray(x), rng=0, **options)
        np.testing.assert_array_equal(to_numpy(masked.index), to_numpy(draw.index))
        np.testing.assert_array_equal(to_numpy(masked.value), to_numpy(draw.value))
        assert (to_numpy(draw.value)[..., 1] == 0).all()
        if estimator._pathwise:
            jacobian = to_numpy(draw.jacobian())
            assert np.isfinite(jacobian).all()
            assert (jacobian[:, 1] == 0).all()
            assert (jacobian[:, :, 1] == 0).all()


@each_pathwise
def test_a_masked_element_equals_a_removed_one(estimator):
    if estimator._generator_words or getattr(estimator, "samples", 1) != 1:
        estimator = dataclasses.replace(estimator, samples=1)  # elements are numbered
    kept = [0, 1, 2, 4]
    structure = estimator.structure
    if isinstance(structure, rbgs.SpanningTree):
        structure = rbgs.SpanningTree([structure.edges[e] for e in kept])
    logits, noise = logits_of(6, 5), np.random.default_rng(1).random((6, 5))
    mask = np.isin(np.arange(5), kept)
    draw = estimator.sample(logits, noise=noise, mask=mask)
    smaller = dataclasses.replace(estimator, structure=structure)
    removed = smaller.sample(logits[:, kept], noise=noise[:, kept])
    np.testing.assert_array_equal(draw.index[:, kept], removed.index)
    np.testing.assert_allclose(draw.value[:, kept], removed.value, atol=1e-12)
    jacobian = draw.jacobian()[:, kept][:, :, kept]
    np.testing.assert_allclose(jacobian, removed.jacobian(), atol=1e-12)


@each_estimator
def test_sampling_is_a_pure_function_of_the_noise(backend, quick, estimator):
    logits = quick.asarray(logits_of(6, 5))
    noise = estimator.noise(logits, backend.native_generator(5))
    first, second = (estimator.sample(logits, noise=noise) for _ in range(2))
    drawn = estimator.sample(logits, rng=backend.native_generator(5))
    other = estimator.sample(logits, rng=backend.native_generator(6))
    for draw in (second, drawn):
        np.testing.assert_array_equal(to_numpy(first.value), to_numpy(draw.value))
        if estimator._pathwise:
            np.testing.assert_array_equal(to_numpy(first.jvp(logits)), to_numpy(draw.jvp(logits)))
    assert (to_numpy(first.value) != to_numpy(other.value)).any()


def test_numpy_generators_keys_and_seeds_serve_every_library(quick):
    logits = logits_of(6, 5)
    for estimator in STRUCTURED:
        for make in (lambda: 3, lambda: np.random.default_rng(3), lambda: rbgs.Key(3)):
            here = estimator.sample(logits, rng=make())
            there = estimator.sample(quick.asarray(logits), rng=make())
            np.testing.assert_array_equal(here.index, to_numpy(there.index))


@each_structure
@pytest.mark.parametrize(
    "make", [rbgs.GumbelSoftmax, rbgs.StraightThrough, lambda *t, **s: rbgs.GumbelRao(*t, 7, **s)]
)
def test_array_temperatures_are_temperatures_of_their_rows(quick, make, structure):
    logits, v, temperatures = logits_of(2, 3, 5), np.cos(logits_of(2, 3, 5)), (0.2, 1.7)
    of_rows = quick.asarray(np.asarray(temperatures)[:, None])
    draw = make(of_rows, structure=structure).sample(quick.asarray(logits), rng=0)
    product = to_numpy(draw.vjp(quick.asarray(v)))
    for row, temperature in enumerate(temperatures):
        alone = make(temperature, structure=structure).sample(logits, rng=0)
        np.testing.assert_allclose(product[row], alone.vjp(v)[row], atol=1e-11)
        np.testing.assert_allclose(to_numpy(draw.value)[row], alone.value[row], atol=1e-11)
    shared = quick.asarray(np.asarray([[temperature]]))
    draw = make(shared, structure=structure).sample(quick.asarray(logits), rng=0)
    np.testing.assert_allclose(to_numpy(draw.vjp(quick.asarray(v))), alone.vjp(v), atol=1e-11)


@each_estimator
def test_a_given_index_is_the_outcome(quick, estimator):
    logits, structure = logits_of(6, 5), estimator.structure
    given = structures(structure, 5)
    given = given[np.arange(6) % len(given)]
    shape = (6, 5) if estimator._draws == 1 else (3, 6, 5)
    for dtype in (quick.int64, quick.int32, quick.uint8):
        index = quick.asarray(np.broadcast_to(given, shape).copy(), dtype=dtype)
        draw = estimator.sample(quick.asarray(logits), rng=0, index=index)
        np.testing.assert_array_equal(to_numpy(draw.index), np.broadcast_to(given, shape))
    if not isinstance(estimator, rbgs.GumbelSoftmax):
        np.testing.assert_array_equal(to_numpy(draw.value), np.broadcast_to(given, shape))
    elif getattr(structure, "relaxation", None) != "binary_entropy":
        assert (to_numpy(draw.value)[given == 1] > 0).all()
    if not estimator._random_given_outcome:
        estimator.sample(quick.asarray(logits), index=index)


@each_structure
def test_a_given_index_is_taken_at_low_temperature(structure):
    """The relaxed sample tends to the structure that was given: it is that of its race."""
    outcomes = structures(structure, 5)
    rows = np.tile(logits_of(5), (len(outcomes), 1))
    draw = rbgs.GumbelSoftmax(1e-4, structure=structure).sample(rows, rng=0, index=outcomes)
    np.testing.assert_allclose(draw.value, outcomes, atol=1e-6)


def test_there_is_no_choice():
    """All elements, or all edges of a tree."""
    logits, v = logits_of(6, 3), np.cos(logits_of(6, 3))
    path = rbgs.SpanningTree([(0, 1), (2, 1), (2, 3)])
    for structure in (rbgs.Subset(3), rbgs.Subset(3, relaxation="binary_entropy"), path):
        for estimator in STRUCTURED:
            estimator = dataclasses.replace(estimator, structure=structure)
            draw = estimator.sample(logits, rng=0)
            assert (draw.index == 1).all()
            np.testing.assert_allclose(draw.value, 1)
            if estimator._pathwise:
                np.testing.assert_array_equal(draw.jvp(v), 0)
            else:
                gradient = estimator.gradient(quadratic(np, 0.5, 1.0), logits, rng=0)
                assert np.isfinite(gradient).all()
            masked = estimator.sample(logits, rng=0, mask=np.asarray([True, False, True]))
            assert np.isnan(masked.value).all()
            given = estimator.sample(logits, rng=0, index=draw.index)
            np.testing.assert_array_equal(given.index, 1)


EXTREME = np.asarray(
    [
        [0.0, -np.inf, 1.0, 2.0, 0.5],
        [1e30, -1e30, 0.0, 1e30, 1e30],
        [-1e30, -1e30, -1e30, -1e30, -1e30],
        [-200.0, 0.0, -100.0, -50.0, 3.0],
        [0.0, -np.inf, 0.0, -1e30, 1.0],
        [1e30, 1e30, 1e30, 1e30, 1e30],
    ]
)


@each_estimator
def test_extreme_logits_and_temperatures(quick, estimator):
    v = np.tile([1.0, -2.0, 3.0, 0.5, -1.0], (6, 1))
    for dtype in (quick.float32, quick.float64):
        for temperature in (1e-6, 1e-2, 1.0, 1e6):
            changed = estimator
            if estimator._pathwise:
                changed = dataclasses.replace(estimator, temperature=temperature)
            logits = quick.asarray(EXTREME, dtype=dtype)
            draw = changed.sample(logits, rng=0)
            assert_structures(to_numpy(draw.index), estimator.structure)
            value = to_numpy(draw.value)
            assert np.isfinite(value).all()
            np.testing.assert_allclose(value.sum(axis=-1), 3, rtol=1e-5)
            assert (value[..., (0, 4), 1] == 0).all()
            if estimator._pathwise:
                product = to_numpy(draw.vjp(quick.asarray(v, dtype=dtype)))
                assert np.isfinite(product).all()
                assert (np.abs(product) <= 5 / temperature).all()
            else:
                oracle = quadratic(quick, *(x.astype(to_numpy(logits).dtype) for x in ORACLE))
                assert np.isfinite(to_numpy(changed.gradient(oracle, logits, rng=0))).all()
            given = changed.sample(logits, rng=0, index=draw.index)
            np.testing.assert_array_equal(to_numpy(given.index), to_numpy(draw.index))


@each_pathwise
def test_noise_on_the_edge_of_its_range(quick, estimator):
    words = estimator._generator_words
    noise = np.random.default_rng(0).integers(0, 2, (6, 5 + words)).astype(float)
    noise[0], noise[1] = 0.0, 1.0
    draw = estimator.sample(quick.asarray(logits_of(6, 5)), noise=quick.asarray(noise))
    assert_structures(to_numpy(draw.index), estimator.structure)
    assert np.isfinite(to_numpy(draw.jacobian())).all()


@each_estimator
@pytest.mark.usefixtures("engine")
def test_arrays_of_numpy_in_any_layout(estimator):
    logits, v = logits_of(6, 5), np.cos(logits_of(6, 5))
    noise, mask = estimator.noise(logits, 0), np.asarray([True, True, False, True, True])
    oracle = quadratic(np, *ORACLE)

    def results(logits, noise, mask, v):
        draw = estimator.sample(logits, noise=noise, mask=mask)
        given = estimator.sample(logits, noise=noise, mask=mask, index=draw.index)
        found = [draw.value, draw.index, given.value]
        found += [draw.vjp(v), given.vjp(v), draw.jacobian()] if estimator._pathwise else []
        return [*found, estimator.gradient(oracle, logits, noise=noise, mask=mask)]

    def strided(x):
        wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
        wide[..., ::2] = x
        return wide[..., ::2]

    layouts = {
        "big endian": lambda x: x if x.dtype == bool else x.astype(x.dtype.newbyteorder(">")),
        "strided": strided,
        "reversed": lambda x: x[::-1].copy()[::-1],
        "Fortran": np.asfortranarray,
        "read only": lambda x: np.broadcast_to(x, x.shape),
    }
    expected = results(logits, noise, mask, v)
    for layout in layouts.values():
        found = results(*map(layout, (logits, noise, mask, v)))
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-12)
    row = np.broadcast_to(logits[0], (6, 5))
    found, expected = (results(x, noise, mask, v) for x in (row, row.copy()))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


@each_estimator
def test_arguments_are_not_written_to(estimator):
    logits, noise = logits_of(6, 5), estimator.noise(logits_of(6, 5), 0)
    index = estimator.sample(logits, noise=noise).index
    before = [x.copy() for x in (logits, noise, index)]
    draw = estimator.sample(logits, noise=noise, index=index)
    kept = draw.index.copy()
    if estimator._pathwise:
        jacobian = draw.jacobian()
        draw.value[...] = 7
        np.testing.assert_array_equal(draw.jacobian(), jacobian)
    for x, y in zip((logits, noise, index), before, strict=True):
        np.testing.assert_array_equal(x, y)
    index[...] = 5  # the caller may write to what it gave
    np.testing.assert_array_equal(draw.index, kept)


@each_pathwise
def test_products_do_not_depend_on_the_blocks(estimator, monkeypatch):
    monkeypatch.setattr("rbgs.arrays.engine._compiled", False)
    logits = logits_of(100, 5)
    if hasattr(estimator, "samples"):
        estimator = dataclasses.replace(estimator, samples=50)
    draw = estimator.sample(logits, rng=0)
    whole, before = draw.jvp(logits), rbgs.get_num_threads()
    given = estimator.sample(logits, rng=0, index=draw.index).jvp(logits)
    for module in ("arrays.loops", "structures.gibbs"):
        monkeypatch.setattr(f"rbgs.{module}.block_elements", lambda _: 500)
    for threads in (1, 3):
        rbgs.set_num_threads(threads)
        np.testing.assert_allclose(draw.jvp(logits), whole, atol=1e-12)
        again = estimator.sample(logits, rng=0, index=draw.index).jvp(logits)
        np.testing.assert_allclose(again, given, atol=1e-12)
    rbgs.set_num_threads(before)


def test_a_draw_stores_nothing_of_the_size_of_the_samples():
    for structure in STRUCTURES:
        sizes = []
        for samples in (2, 1000):
            draw = rbgs.GumbelRao(0.5, samples, structure=structure).sample(logits_of(6, 5), rng=0)
            fields = vars(draw._operator).values()
            sizes.append(sum(x.nbytes for x in fields if isinstance(x, np.ndarray)))
        assert sizes[0] == sizes[1]


@each_estimator
def test_estimators_are_values(estimator):
    for twin in (
        dataclasses.replace(estimator),
        copy.copy(estimator),
        copy.deepcopy(estimator),
        pickle.loads(pickle.dumps(estimator)),
    ):
        assert twin == estimator
        assert hash(twin) == hash(estimator)
        assert twin.structure == estimator.structure
        draws = (e.sample(logits_of(6, 5), rng=0) for e in (twin, estimator))
        np.testing.assert_array_equal(*(draw.index for draw in draws))
    assert estimator != dataclasses.replace(estimator, structure=rbgs.Subset(2))
    assert f"structure={estimator.structure!r}" in repr(estimator)
    draw = pickle.loads(pickle.dumps(estimator.sample(logits_of(6, 5), rng=0)))
    assert f"estimator={type(estimator).__name__}" in repr(draw)


def test_structures_are_values():
    square = rbgs.SpanningTree([(0, 1), (1, 2), (2, 3), (3, 0)])
    for structure, text in (
        (rbgs.Subset(2), "Subset(2)"),
        (square, "SpanningTree([(0, 1), (1, 2), (2, 3), (3, 0)])"),
        (
            rbgs.SpanningTree([(v, v + 1) for v in range(20)]),
            "SpanningTree(20 edges of 21 vertices)",
        ),
    ):
        twin = pickle.loads(pickle.dumps(structure))
        assert twin == structure == copy.deepcopy(structure)
        assert hash(twin) == hash(structure)
        assert repr(structure) == text
        with pytest.raises(dataclasses.FrozenInstanceError):
            structure.k = 3
    for edges in (np.asarray(square.edges), np.asarray(square.edges, np.uint8), square.edges):
        assert rbgs.SpanningTree(edges) == square
    assert eval(repr(square), {"SpanningTree": rbgs.SpanningTree}) == square
    assert rbgs.Subset(np.int64(2)) == rbgs.Subset(2)
    assert rbgs.Subset(2) != rbgs.Subset(2, relaxation="binary_entropy")
    assert rbgs.SpanningTree([(1, 0), (1, 2), (2, 3), (3, 0)]) != square
    assert rbgs.GumbelRao(0.5) == rbgs.GumbelRao(0.5, structure=rbgs.GumbelRao(0.5).structure)


def test_estimators_are_static_arguments_of_jax():
    jax = pytest.importorskip("jax")
    traced = []

    def value(estimator, logits, noise):
        traced.append(estimator)
        return estimator.sample(logits, noise=noise).value

    compiled = jax.jit(value, static_argnums=0)
    logits = logits_of(6, 5)
    for structure in STRUCTURES[::2]:
        estimators = [rbgs.StraightThrough(structure=copy.deepcopy(structure)) for _ in range(2)]
        noise = estimators[0].noise(logits, 0)
        for estimator in estimators:
            found = compiled(estimator, *map(jax.numpy.asarray, (logits, noise)))
            np.testing.assert_array_equal(found, estimator.sample(logits, noise=noise).value)
    assert len(traced) == 2
