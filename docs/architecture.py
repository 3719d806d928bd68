"""Draw the floors of the package from its imports: docs/architecture.svg.

A room is a folder of ``rbgs`` or a file beside them. A room may import those on lower floors only.
Run: python docs/architecture.py
"""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "rbgs"
# From the ground up.
FLOORS = (
    ("arrays",),
    ("random", "draw"),
    ("conditional",),
    ("structures",),
    ("compiled", "estimators"),
    ("evaluation", "doors"),
    ("__init__", "torch", "jax", "autograd", "dask"),
    ("pyro", "numpyro", "distrax"),
)
Links = set[tuple[str, str]]


def floor(room: str) -> int:
    """Return the number of a room's floor."""
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def files() -> Iterator[tuple[str, Path]]:
    """Yield every file of the package, with its room."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).with_suffix("").parts[0], path


def _room(name: str) -> str:
    """Return the room of a module's full name, the top level for a name that the package has."""
    parts = name.split(".")
    inside = len(parts) > 1 and any(
        (PACKAGE / parts[1]).with_suffix(end).exists() for end in ("", ".py")
    )
    return parts[1] if inside else "__init__"


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def links() -> tuple[Links, Links]:
    """Return the imports between rooms, and those on use, by a name that a string holds."""
    imports: Links = set()
    on_use: Links = set()
    for room, path in files():
        for node in ast.walk(ast.parse(path.read_text())):
            for name in _imported(node):
                if name.split(".")[0] == "rbgs":
                    imports.add((room, _room(name)))
            if isinstance(node, ast.Constant) and str(node.value).startswith("rbgs."):
                module = PACKAGE.parent.joinpath(*str(node.value).split("."))
                if module.with_suffix(".py").exists():
                    on_use.add((room, _room(node.value)))
    return tuple({(a, b) for a, b in found if a != b} for found in (imports, on_use))


def upward(found: Links) -> Links:
    """Return the links that do not lead to a lower floor: without any there is no circle."""
    return {(a, b) for a, b in found if floor(a) <= floor(b)}


def _shown(found: Links) -> Links:
    """Return the links that no chain of others implies."""

    def reaches(a: str, b: str) -> bool:
        return (a, b) in found or any(reaches(x, b) for y, x in found if y == a)

    return {
        (a, b) for a, b in found if not any(reaches(x, b) for y, x in found if y == a and x != b)
    }


def describe(imports: Links, on_use: Links) -> str:
    """Return the links as the text that the picture carries."""
    return "; ".join(
        f"{a} {sign} {b}"
        for sign, found in (("->", imports), ("~>", on_use))
        for a, b in sorted(found)
    )


def main() -> None:
    """Draw the picture."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "rbgs"})
    from matplotlib import pyplot as plt

    imports, on_use = links()
    modules: dict[str, list[str]] = {}
    for room, path in files():
        modules.setdefault(room, [])
        if path.parent != PACKAGE and path.stem != "__init__":
            modules[room].append(path.stem)
    figure, axes = plt.subplots(figsize=(10, 8), dpi=72)
    axes.set_position((0, 0, 1, 1))
    axes.set(xlim=(0, 1), ylim=(-0.5, len(FLOORS) - 0.5))
    axes.axis("off")
    boxes = {}
    for number, rooms in enumerate(FLOORS):
        for place, room in enumerate(rooms):
            x = (place + 0.5) / len(rooms)
            title = "rbgs" if room == "__init__" else room + ("/" if modules[room] else ".py")
            inside = [", ".join(modules[room][i : i + 2]) for i in range(0, len(modules[room]), 2)]
            boxes[room] = axes.text(
                x,
                number,
                "\n".join([title, *inside]),
                ha="center",
                va="center",
                fontsize=9,
                zorder=2,
                bbox={"boxstyle": "round,pad=0.5", "facecolor": "#eef3f8", "edgecolor": "#4a6a8a"},
            )
    figure.canvas.draw()  # the arrows end at the boxes, which have no size before
    styles = ((_shown(imports), "-", "#4a6a8a"), (on_use, "--", "#b05030"))
    for found, line, colour in styles:
        for a, b in sorted(found):
            axes.annotate(
                "",
                xy=boxes[b].get_position(),
                xytext=boxes[a].get_position(),
                arrowprops={
                    "arrowstyle": "->",
                    "linestyle": line,
                    "color": colour,
                    "patchA": boxes[a].get_bbox_patch(),
                    "patchB": boxes[b].get_bbox_patch(),
                    "connectionstyle": "arc3,rad=0.25" if line == "--" else "arc3",
                },
                zorder=1,
            )
    figure.savefig(
        Path(__file__).with_suffix(".svg"),
        metadata={"Date": None, "Description": describe(imports, on_use)},
    )


if __name__ == "__main__":
    main()
