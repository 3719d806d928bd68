"""What structures refuse, and with what message; and which rows cannot be answered."""

import numpy as np
import pytest
from backends import Backend, to_numpy
from cases import STRUCTURED, STRUCTURES, name, quadratic, short
from enumeration import structures

import rbgs
from rbgs.doors import at_temperature

each_estimator = pytest.mark.parametrize("estimator", STRUCTURED, ids=name)
each_structure = pytest.mark.parametrize("structure", STRUCTURES, ids=short)
SQUARE = STRUCTURES[2]


def zeros(xp, *shape):
    return xp.zeros(shape, dtype=xp.float64)


@pytest.fixture
def quick(backend, xp):
    """Return a library that does not compile each operation first."""
    if backend is Backend.JAX:
        pytest.skip("the same noise gives JAX the same result: that is tested")
    return xp


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"k": 0}, ValueError, "k must be at least 1, got 0"),
        ({"k": -1}, ValueError, "k must be at least 1, got -1"),
        ({"k": 2.5}, TypeError, "k must be an int, got float"),
        ({"k": "2"}, TypeError, "k must be an int, got str"),
        ({"k": True}, TypeError, "k must be an int, got bool"),
        ({"k": 2, "relaxation": "softmax"}, ValueError, "one of 'gibbs', 'binary_entropy'; got"),
    ],
)
def test_subsets_that_are_none(wrong, error, message):
    with pytest.raises(error, match=message):
        rbgs.Subset(**wrong)


@pytest.mark.parametrize(
    ("edges", "error", "message"),
    [
        (
            [(0, 1), (2, 3)],
            ValueError,
            r"2 components are \{0, 1\}, \{2, 3\}\. Add edges",
        ),
        ([(0, 1), (3, 2), (5, 4)], ValueError, r"3 components are \{0, 1\}, \{2, 3\}, \{4, 5\}"),
        (
            [(0, 1), (1, 3)],
            ValueError,
            "vertex 2 has no edge, but 3 has: vertices are numbered",
        ),
        ([(1, 2)], ValueError, "the vertex 0 has no edge, but 2"),
        ([(0, 10**15)], ValueError, "the vertex 1 has no edge"),
        ([(0, 1), (1, 1)], ValueError, "an edge leads from vertex 1 to itself: leave it out"),
        ([(0, -1)], ValueError, "name the vertex -1, but vertices are numbered from 0"),
        (np.ones((1, 3), int), ValueError, r"edges have shape \(1, 3\); \(m, 2\) is wanted"),
        ([(0, 1), (1,)], ValueError, "each edge has two ends"),
        ([0, 1], TypeError, "edges are pairs of vertices, such as"),
        (np.zeros((0, 2), int), ValueError, "there are no edges"),
        ([], ValueError, "there are no edges"),
        ([(0.0, 1.0)], TypeError, "edges have dtype float64; integers are wanted"),
        ([(False, True)], TypeError, "edges have dtype bool"),
        ([("a", "b")], TypeError, "edges have dtype <U1"),
        (3, TypeError, "edges are pairs of vertices"),
        (None, TypeError, "edges are pairs of vertices"),
    ],
)
def test_graphs_without_a_spanning_tree(edges, error, message):
    with pytest.raises(error, match=message):
        rbgs.SpanningTree(edges)


def test_many_components_are_not_all_named():
    with pytest.raises(ValueError, match=r"its 20 components are \{0, 1\}, .*\{10, 11\}, \.\.\.\."):
        rbgs.SpanningTree([(2 * v, 2 * v + 1) for v in range(20)])


@pytest.mark.parametrize(
    "make",
    [
        lambda s: rbgs.GumbelRao(0.5, structure=s),
        lambda s: rbgs.GumbelSoftmax(0.5, structure=s),
        lambda s: rbgs.StraightThrough(structure=s),
        lambda s: rbgs.StraightThroughGumbelSoftmax(0.5, structure=s),
        lambda s: rbgs.Reinforce(structure=s),
    ],
)
def test_structures_that_are_none(make):
    for wrong, message in (
        (rbgs.Subset, "structure is the class Subset; one such as rbgs.Subset"),
        (3, "structure is a int"),
        (np.ones(3), "structure is a ndarray"),
        ("subset", "structure is a str"),
    ):
        with pytest.raises(TypeError, match=message):
            make(wrong)


@each_structure
def test_options_that_only_a_category_has(structure):
    for wrong, message in (
        ({"temperature": 0}, "temperature=0, the limit in closed form, is known for a categorical"),
        ({"temperature": 0.5, "sampling": "exact"}, 'sampling="exact" is known for a categorical'),
        ({"temperature": 0.5, "control_variate": True}, "control_variate=True is known for a cat"),
    ):
        with pytest.raises(ValueError, match=message):
            rbgs.GumbelRao(**wrong, structure=structure)
    assert rbgs.GumbelRao(0.5, control_variate=False, structure=structure)
    with pytest.raises(TypeError, match="without a structure is wanted"):
        rbgs.Systematic(rbgs.GumbelRao(0.5, structure=structure), 4)


def test_logits_of_another_number_of_elements(quick):
    for structure, shape, message in (
        (rbgs.Subset(3), (4, 2), r"Subset\(3\) takes 3 elements, but the logits have 2"),
        (SQUARE, (5, 4), "has 5 edges, but the logits have 4 elements"),
        (SQUARE, (6,), "has 5 edges, but the logits have 6 elements"),
    ):
        for make in (rbgs.StraightThrough, rbgs.Reinforce):
            with pytest.raises(ValueError, match=message):
                make(structure=structure).sample(zeros(quick, *shape), rng=0)


ROWS = np.asarray(
    [
        [0.0, 1.0, 2.0, 0.5, -1.0],
        [0.0, np.nan, 0.0, 1.0, 0.0],
        [np.inf, 0.0, 0.0, 1.0, 0.0],
        [-np.inf] * 5,
        [0.0, 1.0, -np.inf, -np.inf, -np.inf],  # too few
        [1.0, 0.5, 0.0, -0.2, 0.1],
    ]
)
# A vertex of the square has no edge any more.
CUT_OFF = np.asarray([1.0, 0.3, -np.inf, -np.inf, 0.2])


@each_estimator
def test_rows_that_cannot_be_answered_are_nan(quick, estimator):
    rows, bad = ROWS.copy(), np.asarray([False, True, True, True, True, False])
    if isinstance(estimator.structure, rbgs.SpanningTree):
        rows[3] = CUT_OFF
    noise = quick.asarray(estimator.noise(rows, 0))
    draw = estimator.sample(quick.asarray(rows), noise=noise)
    fine = estimator.sample(quick.asarray(np.where(bad[:, None], 0.0, rows)), noise=noise)
    value, index = to_numpy(draw.value), to_numpy(draw.index)
    assert np.isnan(value[..., bad, :]).all()
    assert (index[..., bad, :] == -1).all()
    np.testing.assert_array_equal(value[..., ~bad, :], to_numpy(fine.value)[..., ~bad, :])
    np.testing.assert_array_equal(index[..., ~bad, :], to_numpy(fine.index)[..., ~bad, :])
    oracle = quadratic(quick, np.arange(5.0), np.asarray([1.0, 2.0, 3.0, -1.0, 0.5]))
    gradient = to_numpy(estimator.gradient(oracle, quick.asarray(rows), noise=noise))
    assert np.isnan(gradient[bad]).all()
    assert np.isfinite(gradient[~bad]).all()
    if estimator._pathwise:
        v = quick.asarray(np.tile(np.asarray([1.0, 2.0, 4.0, 0.0, -1.0]), (6, 1)))
        product = to_numpy(draw.jvp(v))
        assert np.isnan(product[bad]).all()
        np.testing.assert_allclose(product[~bad], to_numpy(fine.jvp(v))[~bad], rtol=1e-13)
        jacobian = to_numpy(draw.jacobian())
        assert np.isnan(jacobian[bad]).all()
        assert np.isfinite(jacobian[~bad]).all()


@each_estimator
def test_a_mask_that_leaves_no_structure_is_nan(estimator):
    mask = np.ones((6, 5), bool)
    mask[1, 2:4], mask[2, 1:4], mask[4] = False, False, False
    is_tree = isinstance(estimator.structure, rbgs.SpanningTree)
    value = estimator.sample(np.zeros((6, 5)), rng=0, mask=mask).value
    nan = [False, is_tree, True, False, True, False]
    assert np.isnan(value).all(axis=-1).reshape(-1, 6).tolist() == [nan] * estimator._draws
    assert np.isnan(value).any(axis=-1).reshape(-1, 6).tolist() == [nan] * estimator._draws


@each_estimator
def test_an_impossible_index_is_nan(quick, estimator):
    structure = estimator.structure
    logits = np.zeros((8, 5))
    logits[7, 0] = -np.inf
    index = np.tile(structures(structure, 5)[0], (8, 1))
    assert index[7, 0]
    index[1] = [1, 1, 1, 1, 0]
    index[2] = [1, 1, 0, 0, 0]
    index[3] = [3, 0, 0, 0, 0]
    index[4] = [2, 1, 0, 0, 0]
    index[5] = [-1, 1, 1, 1, 1]
    index[6] = [1, 1, 0, 0, 1]  # two sides and the chord between them
    is_tree = isinstance(structure, rbgs.SpanningTree)
    nan = np.asarray([False, True, True, True, True, True, is_tree, True])
    shape = index.shape if estimator._draws == 1 else (estimator._draws, *index.shape)
    given = quick.asarray(np.broadcast_to(index, shape).copy())
    draw = estimator.sample(quick.asarray(logits), rng=0, index=given)
    value, found = to_numpy(draw.value), to_numpy(draw.index)
    assert (np.isnan(value).all(axis=-1) == nan).all()
    assert (np.isnan(value).any(axis=-1) == nan).all()
    np.testing.assert_array_equal(found, np.broadcast_to(np.where(nan[:, None], -1, index), shape))
    if estimator._pathwise:
        product = to_numpy(draw.vjp(quick.asarray(np.cos(np.arange(40.0)).reshape(8, 5))))
        assert (np.isnan(product).all(axis=-1) == nan).all()
        assert (np.isnan(product).any(axis=-1) == nan).all()


def test_edges_from_any_iterable():
    pairs = [(0, 1), (1, 2)]
    for edges in (iter(pairs), dict.fromkeys(pairs), zip([0, 1], [1, 2], strict=True)):
        assert rbgs.SpanningTree(edges) == rbgs.SpanningTree(pairs)


@each_structure
def test_an_index_may_be_of_truth_values(xp, structure):
    estimator = rbgs.StraightThrough(structure=structure)
    drawn = estimator.sample(zeros(xp, 2, 5), rng=0)
    again = estimator.sample(zeros(xp, 2, 5), index=drawn.index == 1)
    np.testing.assert_array_equal(to_numpy(again.value), to_numpy(drawn.value))


@pytest.mark.usefixtures("engine")
def test_a_forbidden_element_whose_uniform_is_a_point_of_the_lattice():
    """Its exponential is 0 at another point."""
    logits = np.asarray([0.0, 0.0, -np.inf, 0.0, 0.0, 0.0])
    for structure in (rbgs.Subset(2), rbgs.SpanningTree([(0, 1)] * 6)):
        draw = rbgs.GumbelRao(0.5, structure=structure).sample(logits, noise=np.full(6, 0.5))
        product = draw.vjp(np.arange(6.0))
        assert np.isfinite(product).all()
        assert product[2] == 0


@each_structure
def test_an_index_of_another_kind(backend, xp, structure):
    estimator = rbgs.StraightThrough(structure=structure)
    logits = zeros(xp, 2, 5)
    foreign = (Backend.STRICT if backend is not Backend.STRICT else Backend.NUMPY).load()
    for wrong, error, message in (
        (2, TypeError, "index is the number 2, but of S.* the outcome is a structure"),
        (np.int64(0), TypeError, "index is the number 0"),
        (True, TypeError, "index is the number 1"),
        (zeros(xp, 2, 5), TypeError, "index has dtype"),
        (xp.zeros((5,), dtype=xp.int64), ValueError, r"index has shape \(5,\); shape \(2, 5\)"),
        (xp.zeros((2, 4), dtype=xp.int64), ValueError, r"index has shape \(2, 4\)"),
        (xp.zeros((2,), dtype=xp.int64), ValueError, r"index has shape \(2,\)"),
        (xp.zeros((), dtype=xp.int64), ValueError, r"index has shape \(\)"),
        (foreign.zeros((2, 5), dtype=foreign.int64), ValueError, "index is an array of"),
        ([[1, 1, 1, 0, 0]] * 2, TypeError, "index is a list"),
    ):
        with pytest.raises(error, match=message):
            estimator.sample(logits, rng=0, index=wrong)


def test_a_given_structure_of_too_many_elements(quick):
    logits = zeros(quick, 2, 20)
    index = quick.asarray(np.tile(np.arange(20) < 13, (2, 1)).astype(int))
    subset, path = rbgs.Subset(13), rbgs.SpanningTree([(v, v + 1) for v in range(20)])
    message = r"a structure of 13 elements is given: .* 2\^13 parts.* such as rbgs.StraightThrough"
    for make in (rbgs.GumbelSoftmax, rbgs.StraightThroughGumbelSoftmax, rbgs.GumbelRao):
        with pytest.raises(ValueError, match=message):
            make(0.5, structure=subset).sample(logits, rng=0, index=index)
    with pytest.raises(ValueError, match=message):
        rbgs.Reinforce(structure=subset).sample(logits, rng=0, index=index)
    with pytest.raises(ValueError, match="a structure of 20 elements is given"):
        rbgs.GumbelRao(0.5, structure=path).sample(logits, rng=0, index=index)


def test_a_given_structure_of_many_elements():
    logits = np.random.default_rng(0).normal(size=(2, 20))
    for k in (12, 13):
        structure, index = rbgs.Subset(k), np.tile(np.arange(20) < k, (2, 1)).astype(int)
        draw = rbgs.StraightThrough(structure=structure).sample(logits, index=index)
        np.testing.assert_array_equal(draw.value, index)
        if k == 12:
            estimator = rbgs.GumbelRao(0.5, structure=structure)
            draw = estimator.sample(logits, rng=0, index=index)
            np.testing.assert_array_equal(draw.value, index)
            assert np.isfinite(draw.vjp(logits)).all()


@each_estimator
def test_noise_out_of_range_is_nan(quick, estimator):
    logits = np.zeros((4, 5))
    noise = np.array(estimator.noise(logits, 0))
    noise[..., 1, 0], noise[..., 2, 1], noise[..., 3, -1] = -0.1, 1.1, np.nan
    draw = estimator.sample(quick.asarray(logits), noise=quick.asarray(noise))
    value = np.isnan(to_numpy(draw.value)).reshape(-1, 4, 5)
    assert (value.all(axis=-1) == [False, True, True, True]).all()
    with pytest.raises(ValueError, match=r"noise has shape \(4, 3\)"):
        estimator.sample(quick.asarray(logits), noise=zeros(quick, 4, 3))


@each_structure
@pytest.mark.parametrize("wrong", [0.0, -0.5, np.nan, np.inf, 1e-35])
def test_a_temperature_that_could_not_be_checked_is_nan(quick, structure, wrong):
    """As a compiler traces it: value, index and derivative agree."""
    estimator = rbgs.GumbelRao(0.5, 3, structure=structure)
    temperature = quick.asarray([0.5, wrong, 2.0], dtype=quick.float64)
    draw = at_temperature(estimator, temperature).sample(zeros(quick, 3, 5), rng=0)
    vector = zeros(quick, 3, 5) + 1
    for x in (draw.value, draw.vjp(vector), draw.jvp(vector), draw.jacobian()):
        isnan = np.isnan(to_numpy(x)).reshape(3, -1)
        assert isnan.all(axis=1).tolist() == isnan.any(axis=1).tolist() == [False, True, False]
    assert (to_numpy(draw.index) == -1).all(axis=-1).tolist() == [False, True, False]


@each_structure
def test_reinforce_has_no_jacobian(structure):
    draw = rbgs.Reinforce(structure=structure).sample(np.zeros(5), rng=0)
    with pytest.raises(TypeError, match=r"call Reinforce.gradient"):
        draw.vjp(np.zeros(5))


@each_structure
def test_cotangents_of_another_shape(structure):
    draw = rbgs.GumbelRao(0.5, structure=structure).sample(np.zeros((2, 5)), rng=0)
    with pytest.raises(ValueError, match=r"cotangent has shape \(5,\); shape \(2, 5\) is wanted"):
        draw.vjp(np.zeros(5))
    with pytest.raises(TypeError, match="tangent has dtype"):
        draw.jvp(np.zeros((2, 5), int))
