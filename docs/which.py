"""Draw the decision tree of docs/estimators.md: docs/which.svg, for narrow screens which-tall.svg.

Its branches and their evidence are here.

Run: python docs/which.py
"""

import math
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

DISCRETE = "ST", "ST-GS", "GR", "ReinMax", "ReinMax-Rao", "Gapped ST"
VALUES = "REINFORCE", "RLOO", "DisARM", "IndeCateR"
UNBIASED = *VALUES, "VIMCO", "MuProp", "REBAR"
ROOT = "Has the loss a derivative?"


class Evidence(NamedTuple):
    """A row of a sweep: in a column an estimator is the best of those it is compared with.

    Or it is at most ``within`` behind, in nats or percentage points. Of those that it is compared
    with some may not have been run.
    """

    sweep: str
    column: tuple[float, ...]
    estimator: str
    against: tuple[str, ...]
    within: float = 0.0


class Branch(NamedTuple):
    """A question, and what to take if the answer is yes; without a question, in all other cases.

    ``estimate`` names an estimator and another one that has a larger error for its evaluations
    in each table of the page.
    """

    question: str
    code: str
    evidence: tuple[Evidence, ...] = ()
    estimate: tuple[str, str] | None = None


_MNIST, _PAPER_16, _PAPER_2 = ("mnist", (8, 64)), ("paper", (30, 16)), ("paper", (120, 2))
_SHORT_8, _SHORT_4, _SHORT_2 = (("shapes", shape) for shape in ((16, 8), (24, 4), (120, 2)))
_DIGITS = ("digits", (6, 4))
_ONE, _FIVE = ("prediction", (1,)), ("prediction", (5,))
_CLIPPED = [("listops", (10, 1.0, t)) for t in (0.01, 0.1, 1.0)]
_NOT_CLIPPED = [("listops", (10, math.inf, t)) for t in (0.01, 0.1, 1.0)]

WITH_DERIVATIVE = (
    Branch("k of n elements,\nor a tree?", "GumbelRao(\n0.5, structure=…)"),
    Branch(
        "Is no bias\nallowed?",
        "Rebar(0.1)",
        (
            Evidence(*_ONE, "REBAR", UNBIASED),
            Evidence(*_FIVE, "REBAR", UNBIASED),
            Evidence(*_DIGITS, "REBAR", UNBIASED, within=0.2),
        ),
    ),
    Branch(
        "Relaxed values\nin training?",
        "GumbelSoftmax(1.0)",
        (
            Evidence(*_MNIST, "GS", (*DISCRETE, *UNBIASED)),
            Evidence(*_PAPER_16, "GS", (*DISCRETE, *UNBIASED)),
            Evidence(*_PAPER_2, "GS", (*DISCRETE, *UNBIASED)),
            Evidence(*_ONE, "GS", (*DISCRETE, *UNBIASED), within=0.2),
            Evidence(*_FIVE, "GS", (*DISCRETE, *UNBIASED)),
            Evidence(*_DIGITS, "GS", (*DISCRETE, *UNBIASED), within=0.3),
        ),
    ),
    Branch(
        "Two\ncategories?",
        "StraightThrough()",
        (
            Evidence(*_PAPER_2, "ST", DISCRETE),
            Evidence(*_ONE, "ST", DISCRETE),
            Evidence(*_FIVE, "ST", DISCRETE, within=0.05),
            Evidence(*_SHORT_2, "ST", DISCRETE, within=5.6),
        ),
    ),
    Branch(
        "Choices in a row,\nno clipping?",
        "ReinMaxRao(0.1)",
        tuple(Evidence(*column, "ReinMax-Rao", DISCRETE) for column in _NOT_CLIPPED),
    ),
    Branch(
        "",
        "GumbelRao(0.5)",
        (
            Evidence(*_MNIST, "GR", DISCRETE, within=0.2),
            Evidence(*_PAPER_16, "GR", DISCRETE),
            Evidence(*_SHORT_8, "GR", DISCRETE, within=1),
            Evidence(*_SHORT_4, "GR", DISCRETE, within=2.7),
            Evidence(*_DIGITS, "GR", DISCRETE, within=0.15),
            *(Evidence(*column, "GR", DISCRETE, within=0.3) for column in _CLIPPED),
        ),
    ),
)
WITHOUT_DERIVATIVE = (
    Branch(
        "A bound of\nM samples?",
        "Vimco(M)",
        (Evidence(*_FIVE, "VIMCO", VALUES),),
    ),
    Branch(
        "One evaluation\nof the loss?",
        "Reinforce(\nRunningMean())",
        estimate=("REINFORCE, mean", "REINFORCE"),
    ),
    Branch(
        "Two\ncategories?",
        "DisARM()",
        (Evidence(*_ONE, "DisARM", VALUES), Evidence(*_FIVE, "DisARM", VALUES)),
    ),
    Branch(
        "",
        'Reinforce(\n"leave_one_out", M)',
        (
            Evidence(*_ONE, "RLOO", ("REINFORCE",)),
            Evidence(*_FIVE, "RLOO", ("REINFORCE",)),
            Evidence(*_DIGITS, "RLOO", VALUES),
        ),
    ),
)
BRANCHES = WITH_DERIVATIVE + WITHOUT_DERIVATIVE
PANELS = (("Yes, it has", WITH_DERIVATIVE), ("No: values alone", WITHOUT_DERIVATIVE))


def describe() -> str:
    """Return the tree as the text that the picture carries."""
    words, number = [ROOT], 0
    for title, branches in PANELS:
        words.append(f"{title}.")
        for branch in branches:
            number += 1
            words += [branch.question or "Otherwise:", f"{number}.", branch.code]
    return " ".join(" ".join(words).split())


# Lengths in points; the columns of a panel are told by their middles, from its left edge.
_PANEL, _TOP, _ROW, _BOX, _GAP = 396, 68, 74, 52, 10
_LEFT, _RIGHT, _HALF = 94, 302, 84
_INK, _LINE, _LEAF = "#1c2733", "#51657a", "#2c7a4b"


def picture(*, tall: bool) -> Figure:
    """Draw the panels one below the other, or side by side."""
    sizes = [46 + _ROW * len(branches) for _, branches in PANELS]
    width = _PANEL + 36 if tall else 2 * _PANEL + 3 * _GAP
    height = _TOP + (sum(sizes) + _GAP if tall else max(sizes)) + _GAP
    figure = Figure(figsize=(width / 72, height / 72), facecolor="#eef2f6")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    below, beside = (_GAP, _TOP + sizes[0] + _GAP), (_PANEL + 2 * _GAP, _TOP)
    corners, number = ((_GAP, _TOP), below if tall else beside), 0
    for (x, y), (title, branches), size in zip(corners, PANELS, sizes, strict=True):
        _frame(axes, (x, y), (_PANEL, size if tall else max(sizes)), "#dfe7ef", "none")
        axes.text(x + _LEFT - _HALF, y + 24, title, color=_INK, weight="bold", va="center")
        for row, branch in enumerate(branches):
            number += 1
            _branch(axes, x, y + 76 + _ROW * row, branch, number)
    right = _PANEL if tall else width - 2 * _GAP
    _frame(axes, (2 * _GAP, 12), (right - 2 * _GAP, 40), "white", _LINE)
    axes.text(_GAP + right / 2, 32, ROOT, color=_INK, ha="center", va="center")
    _arrow(axes, (_GAP + _LEFT, 52), (_GAP + _LEFT, _TOP))
    if tall:
        edge, entry = width - 12, below[1] + 24
        axes.plot((right, edge, edge), (32, 32, entry), color=_LINE, linewidth=2)
        _arrow(axes, (edge, entry), (_PANEL + _GAP, entry))
    else:
        _arrow(axes, (beside[0] + _LEFT, 52), (beside[0] + _LEFT, _TOP))
    return figure


def _branch(axes: Axes, edge: float, y: float, branch: Branch, number: int) -> None:
    left, right = edge + _LEFT, edge + _RIGHT
    x = right if branch.question else left
    if branch.question:
        _frame(axes, (left - _HALF, y - _BOX / 2), (2 * _HALF, _BOX), "white", _LINE)
        axes.text(left, y, branch.question, color=_INK, ha="center", va="center")
        _arrow(axes, (left + _HALF, y), (right - _HALF, y))
        axes.text((left + right) / 2, y - 10, "yes", color=_INK, size=12, ha="center")
        _arrow(axes, (left, y + _BOX / 2), (left, y + _ROW - _BOX / 2))
        axes.text(left + 8, y + _ROW / 2, "no", color=_INK, size=12, va="center")
    _frame(axes, (x - _HALF, y - _BOX / 2), (2 * _HALF, _BOX), "#d6eedb", _LEAF)
    axes.text(x, y, branch.code, color=_INK, size=13, weight="bold", ha="center", va="center")
    circle = {"boxstyle": "circle,pad=0.2", "facecolor": _LEAF, "edgecolor": "none"}
    corner = x - _HALF + 2, y - _BOX / 2 + 2
    axes.text(*corner, str(number), color="white", size=11, ha="center", va="center", bbox=circle)


def _frame(
    axes: Axes, corner: tuple[float, float], size: tuple[float, float], face: str, edge: str
) -> None:
    style = "round,pad=0,rounding_size=8"
    box = FancyBboxPatch(corner, *size, style, facecolor=face, edgecolor=edge, linewidth=1.5)
    axes.add_patch(box)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>", "color": _LINE, "linewidth": 2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=end, xytext=start, arrowprops=style)


if __name__ == "__main__":
    mpl.rcParams.update({"svg.fonttype": "path", "svg.hashsalt": "rbgs", "font.size": 15})
    about = {"Date": None, "Description": describe()}
    for name, tall in (("which", False), ("which-tall", True)):
        picture(tall=tall).savefig(Path(__file__).with_name(f"{name}.svg"), metadata=about)
