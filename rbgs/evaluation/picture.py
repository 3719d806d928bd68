"""Pictures of moments on the axes of matplotlib, which is not imported here."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

Values = Sequence[tuple[float, float]]  # with standard errors
_DECADES = 6  # below the largest value
_DIRECTIONS = [(x, y) for y in (0, 1, -1) for x in (1, -1, 0) if x or y]  # of a name, best first
_DISTANCES = (6, 12, 20, 30, 42, 56)  # of it from the point, in typographical points
_Box = tuple[float, float, float, float]  # left, bottom, right, top in pixels


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
    points = []
    for place, name in enumerate(labels):
        (x, x_bar), (y, y_bar) = bar(*bias2[place]), bar(*variance[place])
        colour = f"C{place % 10}"
        ax.errorbar(
            x, y, y_bar, x_bar, fmt="o", color=colour, markersize=4, linewidth=0.8, label=name
        )
        points.append(_Point(x, y, _ends(x, x_bar), _ends(y, y_bar), colour, name))
    ax.set(xlabel="bias²", ylabel="variance")
    ax.margins(0.15)
    set_scale(ax, "x", bias2)
    set_scale(ax, "y", variance)
    _write_beside(ax, points)


def draw_curves(ax: Any, x: Sequence[float], curves: dict[str, Values], best: float) -> None:
    """Draw values with errors against temperatures, and mark the best one.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    x : sequence of float
        Temperatures in ascending order.
    curves : dict
        Values with their standard errors, by name.
    best : float
        The temperature that is marked.
    """
    for name, values in curves.items():
        heights, bars = zip(*(bar(*each) for each in values), strict=True)
        lengths = [[end[0] for end in ends] for ends in zip(*bars, strict=True)]
        ax.errorbar(x, heights, lengths, fmt="o-", markersize=3, linewidth=1.2, label=name)
    ax.axvline(best, color="grey", linewidth=0.8, linestyle=":")
    ax.set_xlabel("temperature")
    ax.legend(frameon=False)
    set_scale(ax, "x", [(each, 0.0) for each in x])
    set_scale(ax, "y", [value for values in curves.values() for value in values])


class _Point(NamedTuple):
    x: float
    y: float
    x_ends: tuple[float, float]
    y_ends: tuple[float, float]
    colour: str
    name: str


def set_scale(ax: Any, axis: str, values: Values) -> None:
    """Make an axis logarithmic, down to the least value that is clear of zero.

    Where there are others, it is linear below that, and shows zero.
    """
    finite = [(x, error) for x, error in values if math.isfinite(x + error)]
    if not finite:
        return
    negligible = max(0.0, max(x for x, _ in finite)) / 10**_DECADES
    clear = [x for x, error in finite if x > max(2 * error, negligible)]
    if len(clear) == len(finite):
        getattr(ax, f"set_{axis}scale")("log")
        return
    least = min(clear, default=1.0)
    decade = 10.0 ** math.floor(math.log10(least))
    getattr(ax, f"set_{axis}scale")("symlog", linthresh=decade, linscale=0.5)
    getattr(ax, f"set_{axis}lim")(-0.3 * decade)
    line = ax.axvline if axis == "x" else ax.axhline
    line(0, color="grey", linewidth=0.6, linestyle=":", zorder=0)


def bar(value: float, error: float) -> tuple[float, list[list[float]]]:
    """Return a value, and the length of its error bar below and above, all at or above zero."""
    at = max(value, 0.0)
    return at, [[at - max(value - error, 0.0)], [max(value + error, 0.0) - at]]


def _ends(value: float, lengths: list[list[float]]) -> tuple[float, float]:
    (below,), (above,) = lengths
    return value - below, value + above


def _write_beside(ax: Any, points: Sequence[_Point]) -> None:
    """Write names where they cover least of what is there; a line leads to one that is far."""
    points = [point for point in points if math.isfinite(sum((*point.x_ends, *point.y_ends)))]
    figure = ax.get_figure()
    figure.draw_without_rendering()  # settles where everything lies
    pixels, room = figure.dpi / 72, tuple(ax.get_window_extent().extents)
    dots, taken = [], list[_Box]()
    for point in points:
        x, y = dot = tuple(ax.transData.transform((point.x, point.y)))
        (left, bottom), (right, top) = ax.transData.transform(
            list(zip(point.x_ends, point.y_ends, strict=True))
        )
        dots.append(dot)
        taken += [(left - 3, y - 3, right + 3, y + 3), (x - 3, bottom - 3, x + 3, top + 3)]
    for point, dot in zip(points, dots, strict=True):
        options: dict[str, Any] = {
            "textcoords": "offset points",
            "fontsize": "small",
            "color": point.colour,
        }
        at = (point.x, point.y)
        text = ax.annotate(point.name, at, (0, 0), **options)
        distance, box = _free(dot, text.get_window_extent().size, pixels, room, taken)
        text.remove()
        if distance > _DISTANCES[0]:
            options["arrowprops"] = {"arrowstyle": "-", "color": point.colour, "linewidth": 0.4}
        offset = ((box[0] - dot[0]) / pixels, (box[1] - dot[1]) / pixels)
        ax.annotate(point.name, at, offset, **options).set_in_layout(False)
        taken.append(box)


def _free(
    dot: tuple[float, float],
    size: tuple[float, float],
    pixels: float,
    room: _Box,
    taken: Sequence[_Box],
) -> tuple[float, _Box]:
    """Return a distance from a dot, and the box there that covers least and is in the room."""

    def covered(place: tuple[float, _Box]) -> int:
        outside = size[0] * size[1] - _common(place[1], room)
        # In whole pixels: rounding shall not move a name from its first place.
        return round(outside + sum(_common(place[1], other) for other in taken))

    places = []
    for distance, directions in itertools.product(_DISTANCES, _DIRECTIONS):
        x, y = (
            at + way * distance * pixels + (way - 1) / 2 * extent
            for at, way, extent in zip(dot, directions, size, strict=True)
        )
        places.append((distance, (x, y, x + size[0], y + size[1])))
    return min(places, key=covered)


def _common(one: _Box, other: _Box) -> float:
    """Return the area that two boxes share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)
