"""A latent tree: which oscillators are coupled, found from a few snapshots of their speeds.

The phases of oscillators at the vertices of an unknown tree follow Kuramoto's model,

    dx_i/dt = sum over the neighbours j of i of f(x_j - x_i),    f(d) = sum_m c_m sin(m d),

with a coupling f that is unknown, too. Given are phases and speeds, with noise, at a few moments:
fewer numbers than there are pairs of vertices. Logits over all pairs and the coupling are learned
together, from the squared error of the speeds under trees that are drawn.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import typer
from sklearn.linear_model import Lasso

import rbgs
import rbgs.torch
from benchmarks.measurements.structured_peers import kruskal, tree_marginals
from benchmarks.measurements.structures import complete_graph
from benchmarks.output.figures import pairs_of_panels, save
from benchmarks.output.progress import steps_left
from benchmarks.output.tables import Table

COUPLING = (1.0, 0.6, -0.4)  # the c_m
RATE, POINTS = 0.1, 50
OURS, BASE, MEAN = "GumbelRao", "ST-GS", "marginals alone"
# Those that are told the coupling.
ALONE, LASSO, TRUTH = "each pair alone", "lasso on all pairs", "the true tree"
Draw = Callable[[torch.Tensor], torch.Tensor]


class Problem(NamedTuple):
    """Many trees, and what is seen of each.

    ``edges`` are all pairs of vertices ``(m, 2)``, ``truth`` is 0/1 ``(trees, m)``; ``forces``
    ``(3, trees, numbers, m)`` is what sin(m d) along each edge adds to each speed, and ``speeds``
    are ``(trees, numbers)``, in units of the noise like the forces.
    """

    edges: np.ndarray
    truth: torch.Tensor
    forces: torch.Tensor
    speeds: torch.Tensor

    @classmethod
    def simulated(
        cls, trees: int, vertices: int, snapshots: int, noise: float, seed: int
    ) -> "Problem":
        """Draw trees, phases and noise."""
        rng = np.random.default_rng(seed)
        edges = complete_graph(vertices)
        truth = kruskal(rng.random((trees, len(edges))), edges)
        phases = rng.uniform(-np.pi, np.pi, size=(trees, snapshots, vertices))
        difference = phases[..., edges[:, 0]] - phases[..., edges[:, 1]]
        ends = np.eye(vertices)[edges[:, 1]] - np.eye(vertices)[edges[:, 0]]  # (m, vertices)
        orders = np.arange(1, len(COUPLING) + 1).reshape(-1, 1, 1, 1)
        forces = np.sin(orders * difference)[..., None, :] * ends.T
        forces = forces.reshape(len(COUPLING), trees, snapshots * vertices, len(edges)) / noise
        speeds = np.einsum("c,ctsm,tm->ts", COUPLING, forces, truth)
        speeds += rng.normal(size=speeds.shape)
        tensors = (torch.tensor(x, dtype=torch.float32) for x in (truth, forces, speeds))
        return cls(edges, *tensors)

    def losses(self, value: torch.Tensor, coupling: torch.Tensor) -> torch.Tensor:
        """Return mean squared errors for edges ``(trees, m)`` and couplings ``(trees, 3)``."""
        forces = torch.einsum("tc,ctsm->tsm", coupling, self.forces)
        return (torch.einsum("tsm,tm->ts", forces, value) - self.speeds).square().mean(dim=-1)

    def best(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the spanning tree of the largest sum of scores."""
        return torch.from_numpy(kruskal(scores.numpy(), self.edges))


class Found(NamedTuple):
    """Trees, their mean squared errors, and the number of right edges along training."""

    trees: torch.Tensor
    losses: torch.Tensor
    course: np.ndarray | None = None


def draws(edges: np.ndarray, temperature: float) -> dict[str, Draw]:
    """Name what makes edges of logits."""
    tree = rbgs.SpanningTree(edges)
    named = {
        OURS: rbgs.GumbelRao(temperature, structure=tree),
        BASE: rbgs.StraightThroughGumbelSoftmax(temperature, structure=tree),
        "GumbelSoftmax, relaxed": rbgs.GumbelSoftmax(temperature, structure=tree),
    }
    sampled = {
        name: lambda logits, estimator=estimator: rbgs.torch.sample(estimator, logits)
        for name, estimator in named.items()
    }
    return sampled | {MEAN: lambda x: tree_marginals(x / temperature, edges).to(x.dtype)}


def learn(problem: Problem, draw: Draw, steps: int, seed: int, tick: Callable[[], Any]) -> Found:
    """Learn logits and the coupling together, for all trees at once."""
    torch.manual_seed(seed)
    trees, m = problem.truth.shape
    logits = torch.zeros(trees, m, requires_grad=True)
    coupling = torch.tensor([1.0, 0.0, 0.0]).repeat(trees, 1).requires_grad_()
    optimizer = torch.optim.Adam([logits, coupling], lr=RATE)
    course = []
    for step in range(steps):
        if step % max(1, steps // POINTS) == 0:
            course.append(right_edges(problem, problem.best(logits.detach())).mean())
        loss = problem.losses(draw(logits), coupling).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        tick()
    best = problem.best(logits.detach())
    losses = problem.losses(best, coupling.detach())
    return Found(best, losses, np.asarray(course))


def classical(problem: Problem) -> dict[str, Found]:
    """Find trees without sampling; these are told the true coupling.

    As Chow & Liu (1968) do, each pair of vertices gets a score of its own, by how much the error
    falls if it alone is coupled, and the best tree is taken; or all pairs get a weight at once.
    """
    told = torch.tensor(COUPLING).expand(len(problem.truth), -1)
    forces = torch.einsum("tc,ctsm->tsm", told, problem.forces)
    alone = 2 * torch.einsum("tsm,ts->tm", forces, problem.speeds) - forces.square().sum(dim=1)
    lasso = Lasso(alpha=0.1, positive=True, fit_intercept=False, max_iter=100_000, tol=1e-3)
    pairs = zip(forces.numpy(), problem.speeds.numpy(), strict=True)
    together = torch.from_numpy(np.stack([lasso.fit(x, y).coef_ for x, y in pairs]))
    found = {}
    for label, scores in (
        (ALONE, alone),
        (LASSO, together),
        (TRUTH, problem.truth),
    ):
        trees = problem.best(scores)
        found[label] = Found(trees, problem.losses(trees, told))
    return found


def right_edges(problem: Problem, trees: torch.Tensor) -> np.ndarray:
    """Return how many edges of each tree are right."""
    return (trees * problem.truth).sum(dim=-1).numpy()


def as_table(
    problem: Problem, learned: dict[float, dict[str, Found]], told: dict[str, Found], title: str
) -> Table:
    """Show how much of the trees was found."""
    count, edges = len(problem.truth), problem.edges.max()
    of_trees = (f"right edges of {edges}", f"more than {BASE}", "whole trees", "squared error")
    table = Table(
        title,
        ("τ", "found by", *of_trees),
        labels=2,
        caption="Mean ± standard error over the trees, also of the difference. The squared error "
        "is that of the found trees with the coupling, in units of the noise. Those without a "
        "temperature are told the true coupling.",
    )

    def shown(x: np.ndarray, sign: str = "") -> str:
        return f"{x.mean():{sign}.2f} ± {x.std(ddof=1) / np.sqrt(count):.2f}"

    for temperature, named in [*learned.items(), ("", told)]:
        for label, found in named.items():
            right, more = right_edges(problem, found.trees), ""
            if BASE in named and label != BASE:
                more = shown(right - right_edges(problem, named[BASE].trees), "+")
            whole, error = (right == edges).sum(), found.losses.mean()
            table.add(
                str(temperature), label, shown(right), more, f"{whole} of {count}", f"{error:.2f}"
            )
    return table


def places(edges: np.ndarray, tree: np.ndarray) -> np.ndarray:
    """Return places of the vertices at distances like those along the tree."""
    vertices = edges.max() + 1
    away = np.full((vertices, vertices), np.inf)
    np.fill_diagonal(away, 0)
    a, b = edges[tree > 0].T
    away[a, b] = away[b, a] = 1
    for v in range(vertices):
        away = np.minimum(away, away[:, v, None] + away[v])
    centred = np.eye(vertices) - 1 / vertices
    lengths, axes = np.linalg.eigh(-centred @ away**2 @ centred / 2)
    return axes[:, -2:] * np.sqrt(lengths[-2:])


def draw_tree(ax: Any, edges: np.ndarray, truth: torch.Tensor, found: torch.Tensor) -> None:
    """Draw a tree: green what is right, red what is not, dotted what was not found."""
    at = places(edges, truth.numpy())
    for edge, is_true, is_found in zip(edges, truth, found, strict=True):
        if is_true or is_found:
            colour = "tab:green" if is_true and is_found else "tab:red"
            ax.plot(*at[edge].T, "-" if is_found else ":", color=colour, linewidth=2, zorder=1)
    ax.scatter(*at.T, s=150, color="white", edgecolors="black", zorder=2)
    for vertex, place in enumerate(at):
        ax.text(*place, str(vertex), ha="center", va="center", fontsize=8, zorder=3)
    ax.axis("off")


def draw_figure(
    path: Path,
    problem: Problem,
    learned: dict[float, dict[str, Found]],
    told: dict[str, Found],
    steps: int,
) -> None:
    """Draw the first tree, true and found, and right edges along training."""
    figure, axes = pairs_of_panels(2 + len(learned))
    last = list(learned.values())[-1]
    for ax, label, found in (
        (axes[0], OURS, last[OURS]),
        (axes[1], ALONE, told[ALONE]),
    ):
        draw_tree(ax, problem.edges, problem.truth[0], found.trees[0])
        ax.set_title(label)
    for ax, (temperature, named) in zip(axes[2:], learned.items(), strict=True):
        for label, run in named.items():
            assert run.course is not None
            ax.plot(np.linspace(0, steps, len(run.course)), run.course, label=label)
        for label, style in ((ALONE, ":"), (LASSO, "--")):
            right = right_edges(problem, told[label].trees).mean()
            ax.axhline(right, color="grey", linestyle=style, label=label)
        ax.set(title=f"τ = {temperature}", xlabel="training steps")
        ax.set_ylabel(f"right edges of {problem.edges.max()}")
    figure.legend(handles=axes[2].get_lines(), loc="outside lower center", ncols=3)
    save(figure, path)


def check_smoke(named: dict[str, Found]) -> None:
    """Raise unless drawn trees explain the speeds better than the marginals alone."""
    ours, mean = (float(named[name].losses.mean()) for name in (OURS, MEAN))
    if not 2 * ours < mean:
        raise AssertionError(f"squared error {ours:.2f}, and {mean:.2f} by the marginals alone")


def main(
    vertices: Annotated[int, typer.Option(min=3, help="Of each tree.")] = 10,
    trees: Annotated[int, typer.Option(min=2, help="How many, each with data of its own.")] = 100,
    snapshots: Annotated[int, typer.Option(min=1, help="Moments that are seen.")] = 3,
    noise: Annotated[float, typer.Option(help="Of a speed.")] = 0.2,
    temperature: Annotated[list[float] | None, typer.Option(help="May be repeated.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 400,
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.")] = 0,
    figure: Annotated[Path, typer.Option(help="Where the PNG goes.")] = Path("out/latent_tree.png"),
    smoke: Annotated[bool, typer.Option("--smoke", help="Seconds; asserts learning.")] = False,
) -> None:
    """Find the trees that couple oscillators: by drawn trees, by relaxed ones and classically."""
    temperatures = temperature or [0.5, 1.0]
    if smoke:
        trees, steps, temperatures = 20, 150, [1.0]
    torch.set_num_threads(1)  # matrices are small: more threads only wait for one another
    problem = Problem.simulated(trees, vertices, snapshots, noise, seed)
    named = {tau: draws(problem.edges, tau) for tau in temperatures}
    with steps_left() as progress:
        count = sum(map(len, named.values()))
        task = progress.add_task("latent trees", total=count * steps)
        learned = {
            tau: {
                name: learn(problem, draw, steps, seed, lambda: progress.advance(task))
                for name, draw in each.items()
            }
            for tau, each in named.items()
        }
    told = classical(problem)
    title = (
        f"{trees} trees of {vertices} vertices: {snapshots * vertices} speeds for "
        f"{len(problem.edges)} pairs"
    )
    typer.echo(as_table(problem, learned, told, title))
    draw_figure(figure, problem, learned, told, steps)
    typer.echo(f"figure: {figure}")
    if smoke:
        check_smoke(learned[temperatures[-1]])


if __name__ == "__main__":
    typer.run(main)
