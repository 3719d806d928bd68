"""The relaxations: their points and derivatives, against enumeration and finite differences."""

import numpy as np
import pytest
from cases import STRUCTURED, STRUCTURES, name, short
from enumeration import binary_entropy, gibbs, structures

import rbgs

TEMPERATURES = (0.05, 0.3, 1.0, 5.0)
GIBBS = {
    "1 of 2": (rbgs.Subset(1), 2),
    "2 of 3": (rbgs.Subset(2), 3),
    "3 of 8": (rbgs.Subset(3), 8),
    "4 of 8": (rbgs.Subset(4), 8),
    "7 of 8": (rbgs.Subset(7), 8),
    "one edge": (rbgs.SpanningTree([(0, 1)]), 1),
    "parallel": (rbgs.SpanningTree([(0, 1), (1, 0), (1, 2), (2, 1), (0, 1)]), 5),
    "path": (rbgs.SpanningTree([(3, 1), (1, 2), (2, 0)]), 3),
    "K4": (rbgs.SpanningTree([(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]), 6),
    "chord": (rbgs.SpanningTree([(0, 1), (1, 2), (2, 3), (3, 4), (4, 0), (1, 3), (0, 1)]), 7),
}
each_structure = pytest.mark.parametrize("structure", STRUCTURES, ids=short)
each_pathwise = pytest.mark.parametrize(
    "estimator", [estimator for estimator in STRUCTURED if estimator._pathwise], ids=name
)
each_gibbs = pytest.mark.parametrize(("structure", "n"), GIBBS.values(), ids=GIBBS)
each_temperature = pytest.mark.parametrize("temperature", TEMPERATURES)


def drawn(structure, n, temperature, dtype="float64", rows=6):
    """Return a relaxed draw, and its utilities: perturbed logits over the temperature."""
    rng = np.random.default_rng(0)
    logits = (3 * rng.normal(size=(rows, n))).astype(dtype)
    noise = rng.random((rows, n)).astype(dtype)
    draw = rbgs.GumbelSoftmax(temperature, structure=structure).sample(logits, noise=noise)
    noise = noise.astype(np.float64)
    return draw, (logits.astype(np.float64) - np.log(-np.log1p(-noise))) / temperature


def relaxed(structure, utilities):
    """Return the point and the derivative of a row, independently."""
    if getattr(structure, "relaxation", None) == "binary_entropy":
        return binary_entropy(structure.k, utilities)
    return gibbs(structures(structure, len(utilities)), utilities)


@each_gibbs
@each_temperature
@pytest.mark.usefixtures("engine")
def test_points_and_derivatives_are_those_of_the_law(structure, n, temperature):
    for dtype, tolerance in (("float64", 1e-12), ("float32", 2e-5)):
        draw, utilities = drawn(structure, n, temperature, dtype)
        jacobian = temperature * draw.jacobian()
        for point, matrix, u in zip(draw.value, jacobian, utilities, strict=True):
            marginals, covariance = relaxed(structure, u)
            np.testing.assert_allclose(point, marginals, atol=tolerance)
            np.testing.assert_allclose(matrix, covariance, atol=tolerance)


@pytest.mark.parametrize("k", [1, 2, 4, 7])
@each_temperature
@pytest.mark.usefixtures("engine")
def test_binary_entropy(k, temperature):
    structure = rbgs.Subset(k, relaxation="binary_entropy")
    for dtype, tolerance in (("float64", 1e-12), ("float32", 2e-5)):
        draw, utilities = drawn(structure, 8, temperature, dtype)
        jacobian = temperature * draw.jacobian()
        for point, matrix, u in zip(draw.value, jacobian, utilities, strict=True):
            mu, derivative = relaxed(structure, u)
            np.testing.assert_allclose(point, mu, atol=tolerance)
            np.testing.assert_allclose(matrix, derivative, atol=tolerance)


@each_gibbs
@pytest.mark.parametrize("temperature", [0.05, 0.3])
@pytest.mark.usefixtures("engine")
def test_small_derivatives(structure, n, temperature):
    """The variance of an element that is almost certain: of a tree's it has its own precision."""
    power = 1 if isinstance(structure, rbgs.SpanningTree) else 0.5
    for dtype in ("float64", "float32"):
        limits = np.finfo(dtype)
        draw, utilities = drawn(structure, n, temperature, dtype, rows=20)
        jacobian = (temperature * draw.jacobian()).astype(np.float64)
        for matrix, u in zip(jacobian, utilities, strict=True):
            covariance = relaxed(structure, u)[1]
            scale = np.diagonal(covariance)[:, None] ** power
            bound = 500 * limits.eps * scale + limits.smallest_normal / limits.eps
            assert np.all(np.abs(matrix - covariance) <= bound)


@each_structure
@each_temperature
@pytest.mark.usefixtures("engine")
def test_derivatives_are_those_of_the_point(structure, temperature):
    rng, h = np.random.default_rng(1), 1e-5 * temperature
    logits, v = rng.normal(size=(2, 6, 5))
    noise = rng.random((6, 5))
    estimator = rbgs.GumbelSoftmax(temperature, structure=structure)

    def point(x):
        return estimator.sample(x, noise=noise).value

    product = estimator.sample(logits, noise=noise).jvp(v)
    difference = (point(logits + h * v) - point(logits - h * v)) / (2 * h)
    np.testing.assert_allclose(product, difference, atol=1e-7 / temperature)
    straight = rbgs.StraightThroughGumbelSoftmax(temperature, structure=structure)
    np.testing.assert_array_equal(straight.sample(logits, noise=noise).vjp(v), product)


@each_structure
def test_straight_through_differentiates_the_relaxation_at_the_logits(structure):
    logits, v = np.random.default_rng(2).normal(size=(2, 6, 5))
    draw = rbgs.StraightThrough(0.7, structure=structure).sample(logits, rng=0)
    pairs = zip(logits, v, strict=True)
    expected = np.stack([relaxed(structure, row / 0.7)[1] @ w / 0.7 for row, w in pairs])
    np.testing.assert_allclose(draw.vjp(v), expected, atol=1e-12)


@each_pathwise
@pytest.mark.usefixtures("engine")
def test_the_operator_is_symmetric_and_does_not_see_a_common_offset(estimator):
    logits, v, w = np.random.default_rng(3).normal(size=(3, 6, 5))
    draw = estimator.sample(logits, rng=0)
    a = draw.jacobian()
    np.testing.assert_allclose(a, np.swapaxes(a, -1, -2), atol=1e-13)
    np.testing.assert_allclose(a.sum(axis=-1), 0, atol=1e-13)
    assert np.linalg.eigvalsh(a).min() > -1e-13
    jvp = draw.jvp(v)
    np.testing.assert_allclose(jvp, np.einsum("...ij,...j->...i", a, v), atol=1e-12)
    np.testing.assert_array_equal(jvp, draw.vjp(v))
    both = draw.jvp(2 * v - 3 * w + 100)
    np.testing.assert_allclose(both, 2 * jvp - 3 * draw.jvp(w), atol=1e-11)


@pytest.mark.parametrize(("n", "k"), [(60, 20), (60, 59), (1000, 3), (1000, 500)])
@pytest.mark.parametrize("temperature", [0.05, 5.0])
@pytest.mark.usefixtures("engine")
def test_marginals_of_many_elements(n, k, temperature):
    """Against the recursion over elements: P(of the first j, i are taken)."""
    draw, utilities = drawn(rbgs.Subset(k), n, temperature, rows=2)
    for point, u in zip(draw.value, utilities, strict=True):
        u = u - u.mean()
        before, after = log_sums(u, k), log_sums(u[::-1], k)[::-1]
        # The element j, with i taken before it and k - 1 - i after it.
        of_others = before[:-1, :k] + after[1:, k - 1 :: -1]
        expected = np.exp(u + np.logaddexp.reduce(of_others, axis=-1) - before[-1, k])
        np.testing.assert_allclose(point, expected, atol=1e-10)
    v = np.random.default_rng(1).normal(size=(2, n))
    assert np.abs(draw.jvp(v).sum(axis=-1)).max() < 1e-10 / temperature


def log_sums(u, k):
    """Return the logarithms of the elementary symmetric sums of the first j of exp(u)."""
    rows = [np.full(k + 1, -np.inf)]
    rows[0][0] = 0.0
    for each in u:
        longer = rows[-1].copy()
        longer[1:] = np.logaddexp(longer[1:], rows[-1][:-1] + each)
        rows.append(longer)
    return np.asarray(rows)


def sparse_graph():
    rng = np.random.default_rng(0)
    ring = [(v, (v + 1) % 64) for v in range(64)]
    return ring + [tuple(map(int, rng.choice(64, 2, replace=False))) for _ in range(64)]


def complete_graph():
    return [(a, b) for a in range(64) for b in range(a)]


@pytest.mark.parametrize(
    "graph", [sparse_graph, pytest.param(complete_graph, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("temperature", [0.05, 5.0])
def test_trees_of_64_vertices(graph, temperature):
    structure = rbgs.SpanningTree(graph())
    n = len(structure.edges)
    v, w = np.random.default_rng(1).normal(size=(2, 3, n))
    for dtype, tolerance in (("float64", 1e-11), ("float32", 2e-3)):
        draw, utilities = drawn(structure, n, temperature, dtype, rows=3)
        assert np.isfinite(draw.value).all()
        np.testing.assert_allclose(draw.value.sum(axis=-1), 63, rtol=tolerance)
        along_v, along_w = (temperature * draw.jvp(x.astype(dtype)) for x in (v, w))
        assert np.isfinite(along_v).all()
        np.testing.assert_allclose(along_v.sum(axis=-1), 0, atol=tolerance)
        forth, back = (w * along_v).sum(axis=-1), (v * along_w).sum(axis=-1)
        np.testing.assert_allclose(forth, back, atol=tolerance)
        if temperature == 5.0:  # by Kirchhoff's theorem as it stands
            for point, u in zip(draw.value, utilities, strict=True):
                np.testing.assert_allclose(point, kirchhoff(structure, u), atol=tolerance)


def kirchhoff(structure, utilities):
    """Return the weight of each edge times its effective resistance."""
    incidence, weights = np.zeros((len(structure.edges), structure.vertices)), np.exp(utilities)
    for row, (a, b) in zip(incidence, structure.edges, strict=True):
        row[a], row[b] = 1, -1
    inverse = np.linalg.pinv(incidence.T @ (weights[:, None] * incidence))
    return weights * np.einsum("ei,ij,ej->e", incidence, inverse, incidence)
