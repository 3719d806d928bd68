"""Draw what Rao-Blackwellisation does: docs/idea-light.svg and docs/idea-dark.svg.

For narrow screens docs/idea-tall-light.svg and docs/idea-tall-dark.svg.

Run: python docs/idea.py
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import rbgs

LOGITS = np.log([0.5, 0.3, 0.2])
TARGET = np.asarray([0.1, 0.3, 0.6])
TEMPERATURE, DRAWS = 0.5, 450
COLOURS = "#e07b39", "#3b82c4", "#4ca866"
# Orthonormal coordinates of the plane in which the probabilities of three categories lie.
PLANE = np.asarray([[-1, 1, 0], [-1, -1, 2]]).T / np.sqrt([2, 6])


def estimates(estimator: rbgs.Estimator) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients that an estimator gives for many draws, and the outcomes."""
    draw = estimator.sample(np.broadcast_to(LOGITS, (DRAWS, 3)), rng=1)
    return draw.vjp(2 * (draw.value - TARGET)), draw.index


def points_given(outcome: int) -> np.ndarray:
    """Return relaxed samples whose Gumbels all lead to one outcome."""
    relaxed = rbgs.GumbelSoftmax(TEMPERATURE)
    return relaxed.sample(np.broadcast_to(LOGITS, (DRAWS // 3, 3)), rng=2, index=outcome).value


def draw_simplex(axes: plt.Axes, ink: str) -> None:
    """Show many relaxed samples of one outcome, the one that made it among them."""
    corners = np.eye(3) @ PLANE
    axes.fill(*corners.T, facecolor="none", edgecolor=ink, linewidth=1)
    for number, corner in enumerate(corners):
        colour = COLOURS[number]
        axes.text(*corner * 1.13, str(number + 1), color=colour, ha="center", va="center")
    points = points_given(0) @ PLANE
    axes.scatter(*points.T, s=7, color=COLOURS[0], alpha=0.7, linewidth=0)
    axes.scatter(*points[3], s=60, facecolor="none", edgecolor=ink, linewidth=1.6, zorder=3)
    axes.set_title("One outcome, category 1:\nmany Gumbels lead to it", color=ink)
    axes.set(xlim=(-1, 1), ylim=(-0.6, 1.05), aspect="equal")
    axes.set_axis_off()


def draw_estimates(axes: plt.Axes, title: str, estimator: rbgs.Estimator, ink: str) -> None:
    """Show the gradients of an estimator, in the colour of their outcome, and their variance."""
    gradients, outcomes = estimates(estimator)
    colours = np.asarray(COLOURS)[outcomes]
    axes.scatter(*(gradients @ PLANE).T, s=7, c=colours, alpha=0.7, linewidth=0)
    axes.plot(*(gradients.mean(axis=0) @ PLANE), "+", color=ink, markersize=13, markeredgewidth=2)
    variance = gradients.var(axis=0).sum()
    axes.set_title(f"{title}\nvariance {variance:.2f}", color=ink)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel("gradient for the logits, by outcome", color=ink)
    axes.spines[:].set_color(ink)


def picture(ink: str, *, tall: bool) -> plt.Figure:
    """Draw the three panels in ink of a colour on nothing, side by side or one below the other."""
    rows, columns, size = (3, 1, (4.2, 11)) if tall else (1, 3, (10, 3.6))
    figure, (left, middle, right) = plt.subplots(rows, columns, figsize=size, layout="constrained")
    draw_simplex(left, ink)
    single = rbgs.StraightThroughGumbelSoftmax(TEMPERATURE)
    draw_estimates(middle, "Straight-through: one Gumbel,", single, ink)
    draw_estimates(right, "Gumbel-Rao: their average,", rbgs.GumbelRao(TEMPERATURE), ink)
    right.set(xlim=middle.get_xlim(), ylim=middle.get_ylim())
    return figure


if __name__ == "__main__":
    plt.rcParams.update({"font.size": 11, "svg.hashsalt": "rbgs", "svg.fonttype": "path"})
    for colour, ink in (("light", "#222222"), ("dark", "#dddddd")):
        for name, tall in (("idea", False), ("idea-tall", True)):
            path = Path(__file__).with_name(f"{name}-{colour}.svg")
            picture(ink, tall=tall).savefig(path, transparent=True, metadata={"Date": None})
