"""Latent trees: the model, the scores of pairs, and that drawn trees are learned from."""

import commands
import numpy as np
import pytest

torch = pytest.importorskip("torch")
for module in ("matplotlib", "rich", "sklearn", "typer"):
    pytest.importorskip(module)

from benchmarks.experiments import latent_tree as lt  # noqa: E402


@pytest.fixture(scope="module")
def problem():
    return lt.Problem.simulated(trees=6, vertices=5, snapshots=40, noise=0.2, seed=0)


def told(problem):
    return torch.tensor(lt.COUPLING).expand(len(problem.truth), -1)


def test_the_true_trees_leave_the_noise_alone(problem):
    assert (problem.truth.sum(dim=-1) == 4).all()
    losses = problem.losses(problem.truth, told(problem))
    error = np.sqrt(2 / problem.speeds.numel())
    assert abs(losses.mean() - 1) < 4.5 * error
    others = problem.losses(problem.truth.roll(1, dims=0), told(problem))
    assert others.mean() > 2


def test_forces_are_equal_and_opposite(problem):
    forces = problem.forces.reshape(3, 6, 40, 5, 10)
    torch.testing.assert_close(forces.sum(dim=3), torch.zeros(3, 6, 40, 10), atol=1e-5, rtol=0)
    assert ((forces != 0).sum(dim=3) == 2).all()


def test_with_much_data_the_classical_ways_find_the_trees(problem):
    found = lt.classical(problem)
    for label in (lt.ALONE, lt.LASSO):
        assert lt.right_edges(problem, found[label].trees).mean() > 3.5


@pytest.mark.parametrize("name", [lt.OURS, lt.BASE])
def test_drawn_trees_are_learned_from(problem, name):
    draw = lt.draws(problem.edges, 1.0)[name]
    found = lt.learn(problem, draw, steps=150, seed=0, tick=lambda: None)
    assert found.course[0] < 3
    assert lt.right_edges(problem, found.trees).mean() > 3.5


def test_relaxed_values_have_as_many_edges_as_a_tree(problem):
    logits = torch.randn(6, 10, requires_grad=True)
    for name, draw in lt.draws(problem.edges, 0.5).items():
        total = draw(logits).sum(dim=-1)
        torch.testing.assert_close(total, torch.full_like(total, 4.0), msg=name)


def test_vertices_of_a_path_lie_on_a_line():
    edges = lt.complete_graph(4)
    path = np.asarray([(b == a + 1) for a, b in edges], float)
    at = lt.places(edges, path)
    distances = np.linalg.norm(at[edges[:, 0]] - at[edges[:, 1]], axis=1)
    np.testing.assert_allclose(distances, edges[:, 1] - edges[:, 0], atol=1e-6)


@pytest.mark.slow
def test_smoke(tmp_path):
    figure = tmp_path / "tree.png"
    commands.run("experiments.latent_tree", "--smoke", "--figure", figure)
    assert figure.stat().st_size > 10_000
