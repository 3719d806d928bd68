"""Feature selection: exactly k features in every forward pass, chosen by gradient descent.

The data are scikit-learn's handwritten digits, 64 pixels, and of each pixel a copy that is
shuffled over the images: it looks like the pixel and says nothing. A small network learns to read
what it is shown, k features, while logits over the 128 learn what to show it. All selections are
then judged by the same classifier, a support vector machine that is trained on them alone.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import typer
from sklearn.datasets import load_digits
from sklearn.feature_selection import RFE, SelectKBest, f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

import rbgs
import rbgs.torch
from benchmarks.measurements.structured_peers import gumbels_like, relaxed_top_k
from benchmarks.output.figures import panels, save
from benchmarks.output.progress import steps_left
from benchmarks.output.tables import Table

PIXELS = 64
BATCH, HIDDEN = 100, 64
MASKS = 5  # different selections in a batch
OURS, PEER = "GumbelRao", "relaxed top-k"
Draw = Callable[[torch.Tensor], torch.Tensor]


class Data(NamedTuple):
    """Standardised features ``(images, 128)`` and digits, to train and to test."""

    train: np.ndarray
    test: np.ndarray
    train_digits: np.ndarray
    test_digits: np.ndarray

    @classmethod
    def load(cls, seed: int) -> "Data":
        """Add the shuffled copies, and divide the images."""
        pixels, digits = load_digits(return_X_y=True)
        copies = np.random.default_rng(seed).permuted(pixels, axis=0)
        train, test, *both = train_test_split(
            np.concatenate([pixels, copies], axis=1),
            digits,
            test_size=0.4,
            random_state=seed,
            stratify=digits,
        )
        scaler = StandardScaler().fit(train)
        return cls(scaler.transform(train), scaler.transform(test), *both)


class Selection(NamedTuple):
    """The chosen features, the seconds it took, and how often each was shown along training."""

    features: np.ndarray
    seconds: float
    course: np.ndarray | None = None


def draws(k: int, temperature: float) -> dict[str, Draw]:
    """Name what shows k of the features: logits to a mask."""
    subset = rbgs.Subset(k)
    named = {
        OURS: rbgs.GumbelRao(temperature, structure=subset),
        "ST-GS": rbgs.StraightThroughGumbelSoftmax(temperature, structure=subset),
    }
    ours = {
        name: lambda logits, estimator=estimator: rbgs.torch.sample(estimator, logits)
        for name, estimator in named.items()
    }
    return ours | {PEER: lambda x: relaxed_top_k(x + gumbels_like(x), k, temperature)}


def learn(data: Data, draw: Draw, k: int, steps: int, seed: int, points: int = 60) -> Selection:
    """Train the network and the logits together."""
    torch.manual_seed(seed)
    start = time.perf_counter()
    images = torch.tensor(data.train, dtype=torch.float32)
    digits = torch.tensor(data.train_digits)
    n = images.shape[1]
    network = torch.nn.Sequential(
        torch.nn.Linear(n, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, 10)
    )
    logits = torch.zeros(n, requires_grad=True)
    optimizer = torch.optim.Adam(
        [{"params": network.parameters(), "lr": 3e-3}, {"params": [logits], "lr": 0.02}]
    )
    shown = torch.zeros(points, n)
    for step in range(steps):
        batch = torch.randint(len(images), (BATCH,))
        masks = draw(logits.expand(MASKS, n))
        seen = images[batch] * masks.repeat(BATCH // MASKS, 1)
        loss = torch.nn.functional.cross_entropy(network(seen), digits[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        shown[step * points // steps] += masks.detach().mean(dim=0)
    chosen = logits.detach().topk(k).indices.numpy()
    course = shown / shown.sum(dim=1, keepdim=True) * k
    return Selection(chosen, time.perf_counter() - start, course.numpy())


def classical(data: Data, k: int, seed: int) -> dict[str, Callable[[], np.ndarray]]:
    """Name the selectors without a network, and the yardsticks."""
    n = data.train.shape[1]
    varying = np.flatnonzero(data.train.std(axis=0) > 0)  # corners are black in all images
    examples = data.train[:, varying], data.train_digits

    def by(selector: Any) -> Callable[[], np.ndarray]:
        return lambda: varying[selector.fit(*examples).get_support()]

    linear = LogisticRegression(max_iter=300)
    return {
        "each feature by its F-test": by(SelectKBest(f_classif, k=k)),
        "elimination, logistic regression": by(RFE(linear, n_features_to_select=k, step=8)),
        "k at random": lambda: np.random.default_rng(seed).choice(n, k, replace=False),
        "all pixels": lambda: np.arange(PIXELS),
        "all features": lambda: np.arange(n),
    }


def timed(select: Callable[[], np.ndarray]) -> Selection:
    """Select, and take the time."""
    start = time.perf_counter()
    features = select()
    return Selection(features, time.perf_counter() - start)


def accuracy(data: Data, features: np.ndarray) -> float:
    """Return the test accuracy of the classifier that sees these features alone."""
    classifier = SVC(C=10).fit(data.train[:, features], data.train_digits)
    return float(classifier.score(data.test[:, features], data.test_digits))


def mean_and_error(values: list[float], digits: int) -> str:
    """Format a mean over the seeds with its standard error, if there is more than one."""
    x = np.asarray(values)
    if len(x) == 1:
        return f"{x[0]:.{digits}f}"
    return f"{x.mean():.{digits}f} ± {x.std(ddof=1) / np.sqrt(len(x)):.{digits}f}"


def as_table(k: int, results: dict[str, list[tuple[Selection, float]]]) -> Table:
    """Show what each way of selection is worth."""
    count = len(next(iter(results.values())))
    table = Table(
        f"{k} of {2 * PIXELS} features of the digits, half of which are shuffled copies",
        ("chosen by", "accuracy, %", "copies among them", "seconds"),
        caption="Test accuracy of a support vector machine on the chosen features; mean ± standard "
        f"error over {count} seeds",
    )
    for label, runs in results.items():
        copies = [float((selection.features >= PIXELS).sum()) for selection, _ in runs]
        table.add(
            label,
            mean_and_error([100 * accuracy for _, accuracy in runs], 1),
            mean_and_error(copies, 1),
            f"{np.mean([selection.seconds for selection, _ in runs]):.2f}",
        )
    return table


def draw_figure(path: Path, selection: Selection, steps: int) -> None:
    """Draw how often each feature is shown: as an image, and over training."""
    course = selection.course
    assert course is not None
    moments = (0, len(course) // 12, len(course) // 4, len(course) - 1)
    figure, axes = panels(3, 2, 8.0, height_ratios=(1, 1, 2))
    per_point = steps / len(course)
    for ax, moment in zip(axes.flat, moments, strict=False):
        pixels, copies = course[moment].reshape(2, 8, 8)
        gap = np.full((8, 1), np.nan)
        image = ax.imshow(np.hstack([pixels, gap, copies]), vmin=0, vmax=1, cmap="viridis")
        ax.set_title(f"steps up to {round((moment + 1) * per_point)}")
        ax.set_xticks([3.5, 12.5], ["pixels", "copies"])
        ax.set_yticks([])
    figure.colorbar(image, ax=axes[:2], label="probability")
    ax = figure.add_subplot(axes[2, 0].get_gridspec()[2, :])
    for covered in axes[2]:
        covered.remove()
    at = (np.arange(len(course)) + 0.5) * per_point
    for features, colour, label in (
        (course[:, :PIXELS], "tab:blue", "pixels"),
        (course[:, PIXELS:], "tab:orange", "copies"),
    ):
        lines = ax.plot(at, features, color=colour, linewidth=0.8)
        lines[0].set_label(label)
    ax.set(xlabel="training steps", ylabel="probability")
    ax.legend(loc="center right")
    save(figure, path)


def check_smoke(results: dict[str, list[tuple[Selection, float]]], k: int) -> None:
    """Raise unless what was learned is better than chance."""
    ((ours, found),) = results[OURS]
    ((_, chance),) = results["k at random"]
    copies = int((ours.features >= PIXELS).sum())
    if not found > chance + 0.1 or copies > k // 4:
        raise AssertionError(
            f"{copies} of {k} features are copies, accuracy {found:.2f}; {chance:.2f} at random"
        )


def main(
    k: Annotated[int, typer.Option(min=1, max=2 * PIXELS - 1, help="Features to choose.")] = 10,
    temperature: Annotated[float, typer.Option(help="Of those that learn by gradient.")] = 0.5,
    steps: Annotated[int, typer.Option(min=60, help="Training steps.")] = 1000,
    seeds: Annotated[int, typer.Option(min=1, help="Divisions of the data; --smoke: 1.")] = 3,
    figure: Annotated[Path, typer.Option(help="Where the PNG goes.")] = Path(
        "out/feature_selection.png"
    ),
    smoke: Annotated[bool, typer.Option("--smoke", help="Seconds; asserts learning.")] = False,
) -> None:
    """Choose k features of handwritten digits, by gradients and by classical selectors."""
    if smoke:
        steps, seeds = 300, 1
    torch.set_num_threads(1)  # matrices are small: more threads only wait for one another
    threadpool_limits(1)
    results: dict[str, list[tuple[Selection, float]]] = {}
    with steps_left() as progress:
        task = progress.add_task("feature selection", total=seeds)
        for seed in range(seeds):
            data = Data.load(seed)
            found = {
                name: learn(data, draw, k, steps, seed)
                for name, draw in draws(k, temperature).items()
            }
            found |= {name: timed(select) for name, select in classical(data, k, seed).items()}
            for name, selection in found.items():
                run = selection, accuracy(data, selection.features)
                results.setdefault(name, []).append(run)
            progress.advance(task)
    typer.echo(as_table(k, results))
    draw_figure(figure, results[OURS][0][0], steps)
    typer.echo(f"figure: {figure}")
    if smoke:
        check_smoke(results, k)


if __name__ == "__main__":
    typer.run(main)
