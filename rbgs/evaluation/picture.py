"""Pictures of moments on the axes of matplotlib, which is not imported here."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

Values = Sequence[tuple[float, float]]  # with standard errors
_DECADES = 6  # below the largest value
_PLACES = [(x, y) for y in (0, 1, -1) for x in (1, -1, 0) if x or y]  # of a label, best first
_RINGS = (6, 12, 20, 30, 42)  # distances from the point in points


def draw_moments(ax: Any, bias2: Values, variance: Values, labels: Sequence[str]) -> None:
    """Draw bias against variance, with errors and labels beside the points.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    bias2, variance : sequence of (float, float)
        Values, each with its standard error.
    labels : sequence of str
        What is written beside the points.
    """
    set_scale(ax, "x", bias2)
    set_scale(ax, "y", variance)
    points = []
    for place, name in enumerate(labels):
        (x, x_bars), (y, y_bars) = _bars(*bias2[place]), _bars(*variance[place])
        colour = f"C{place % 10}"
        ax.errorbar(
            x, y, y_bars, x_bars, fmt="o", color=colour, markersize=4, linewidth=0.8, label=name
        )
        points.append((x, y, colour))
    ax.set(xlabel="bias²", ylabel="variance")
    ax.margins(0.15)
    ax.autoscale_view()
    _write_beside(ax, points, labels)


def set_scale(ax: Any, axis: str, values: Values) -> None:
    """Let an axis be logarithmic above the least value that is clear of zero, linear below it."""
    finite = [(x, error) for x, error in values if math.isfinite(x + error)]
    clear = [x for x, error in finite if x > 2 * error]
    least = 1.0
    if clear:
        least = max(min(clear), max(x for x, _ in finite) / 10**_DECADES)
    decade = 10.0 ** math.floor(math.log10(least))
    getattr(ax, f"set_{axis}scale")("symlog", linthresh=decade, linscale=0.4)
    if not all(x > 2 * error for x, error in finite):
        getattr(ax, f"ax{'vh'[axis == 'y']}line")(0, color="grey", linewidth=0.6, linestyle=":")


def _bars(value: float, error: float) -> tuple[float, list[list[float]]]:
    """Return a value, and an error bar around it, at or above zero."""
    at = max(value, 0.0)
    return at, [[at - max(value - error, 0.0)], [max(value + error, 0.0) - at]]


def _write_beside(
    ax: Any, points: Sequence[tuple[float, float, str]], labels: Sequence[str]
) -> None:
    """Write labels where they cover least of what is there; a line leads to one that is far."""
    figure = ax.get_figure()
    figure.draw_without_rendering()  # settles where everything lies
    pixels, taken = figure.dpi / 72, list[Sequence[float]]()
    dots = [tuple(ax.transData.transform((x, y))) for x, y, _ in points]
    taken += [(x - 3, y - 3, x + 3, y + 3) for x, y in dots]
    room = ax.get_window_extent().extents
    for (x, y, colour), dot, name in zip(points, dots, labels, strict=True):
        if not (math.isfinite(x) and math.isfinite(y)):
            continue
        options = {"textcoords": "offset points", "fontsize": 7, "color": colour}
        measured = ax.annotate(name, (x, y), (0, 0), **options)
        _, _, width, height = measured.get_window_extent().bounds
        measured.remove()

        def box(
            place: tuple[float, tuple[int, int]],
            dot: tuple[float, float] = dot,
            size: tuple[float, float] = (width, height),
        ) -> tuple[float, ...]:
            distance, directions = place
            low = [
                at + direction * distance * pixels + (direction - 1) / 2 * extent
                for at, direction, extent in zip(dot, directions, size, strict=True)
            ]
            return (*low, low[0] + size[0], low[1] + size[1])

        def covered(place: tuple[float, tuple[int, int]]) -> float:
            here = box(place)
            area = (here[2] - here[0]) * (here[3] - here[1])
            return area - _common(here, room) + sum(_common(here, other) for other in taken)

        best = min(itertools.product(_RINGS, _PLACES), key=covered)
        chosen = box(best)
        taken.append(chosen)
        offset = ((chosen[0] - dot[0]) / pixels, (chosen[1] - dot[1]) / pixels)
        if best[0] > _RINGS[0]:
            options["arrowprops"] = {"arrowstyle": "-", "color": colour, "linewidth": 0.4}
        ax.annotate(name, (x, y), offset, **options).set_in_layout(False)


def _common(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the area that two boxes share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)
