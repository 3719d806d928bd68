"""What structured outcomes are measured against draws from the right laws: by enumeration."""

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from benchmarks.measurements import structured_peers  # noqa: E402

EDGES = np.asarray(list(itertools.combinations(range(4), 2)))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def zero_one(n, chosen):
    value = torch.zeros(len(chosen), n, dtype=torch.float64)
    return value.scatter_(1, torch.tensor(chosen), 1.0)


def subsets(n, k):
    return zero_one(n, list(itertools.combinations(range(n), k)))


def spanning_trees():
    """Return the 16 spanning trees of the complete graph of 4 vertices: those without a cycle."""
    cycles = [{0, 1, 3}, {0, 2, 4}, {1, 2, 5}, {3, 4, 5}]
    triples = itertools.combinations(range(6), 3)
    return zero_one(6, [x for x in triples if set(x) not in cycles])


def marginals(logits, values):
    """Return the marginals of the Gibbs law."""
    return torch.softmax(values @ logits, dim=0) @ values


def test_simple_has_the_law_and_the_derivative_of_its_marginals():
    logits, values = torch.randn(6, dtype=torch.float64, requires_grad=True), subsets(6, 3)
    many = logits.expand(40_000, 6)
    drawn = structured_peers.sample_simple(many, 3)
    assert (drawn.detach().sum(dim=-1) - 3).abs().max() < 1e-12
    expected = marginals(logits, values)
    error = (expected * (1 - expected) / len(many)).sqrt()
    assert ((drawn.mean(dim=0) - expected).abs() < 4.5 * error).all()

    cotangent = torch.arange(6.0, dtype=torch.float64)
    (estimate,) = torch.autograd.grad(drawn.mean(dim=0) @ cotangent, logits)
    (exact,) = torch.autograd.grad(expected @ cotangent, logits)
    torch.testing.assert_close(estimate, exact)


def test_the_relaxed_top_k_sums_to_k_and_becomes_the_hard_one():
    utilities = torch.randn(100, 8, dtype=torch.float64)
    relaxed = structured_peers.relaxed_top_k(utilities, 3, 0.5)
    torch.testing.assert_close(relaxed.sum(dim=-1), torch.full((100,), 3.0, dtype=torch.float64))
    cold = structured_peers.relaxed_top_k(utilities, 3, 1e-3)
    hard = structured_peers.hard_top_k(utilities, 3)
    assert ((cold - hard).abs().amax(dim=-1) < 1e-6).double().mean() > 0.9


def test_marginals_of_trees_are_those_of_enumeration():
    logits = torch.randn(6, dtype=torch.float64, requires_grad=True)
    found = structured_peers.tree_marginals(logits, EDGES)
    torch.testing.assert_close(found, marginals(logits, spanning_trees()))


def test_kruskal_finds_the_best_tree():
    utilities, values = torch.randn(50, 6, dtype=torch.float64), spanning_trees()
    best = values[(utilities @ values.T).argmax(dim=-1)]
    np.testing.assert_array_equal(structured_peers.kruskal(utilities.numpy(), EDGES), best)


@pytest.mark.parametrize(
    ("sample", "arguments"),
    [
        (structured_peers.sample_top_k, (3, 0.5)),
        (structured_peers.sample_simple, (3,)),
        (structured_peers.sample_tree, (EDGES, 0.1)),
    ],
)
def test_a_call_is_a_finite_gradient_in_single_precision(sample, arguments):
    logits, cotangent = 3 * np.random.default_rng(0).normal(size=(2, 200, 6)).astype("f4")
    (gradient,) = structured_peers.call(sample, logits, cotangent, *arguments)()
    assert gradient.dtype == torch.float32
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() > 0
