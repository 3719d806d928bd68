"""Make the tables and figures of sweeps from their rows.

Each sweep becomes a fragment of a page, `tables/NAME.md` in the folder of the results, and figures
beside that folder. The same rows make the same fragments.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from benchmarks.output.tables import Table
from benchmarks.sweeps import drawings, summary, tables
from benchmarks.sweeps.layouts import LAYOUTS
from benchmarks.sweeps.results import Sweep, read
from benchmarks.sweeps.store import Store, merge

_COMMAND = "nox -s report"
# For each sweep its figures: the name of the file, what draws it, and what is to be seen.
FIGURES: dict[str, list[tuple[str, drawings.Draw, str]]] = {
    "digits": [
        ("digits", drawings.errors, "Error of the gradient along training"),
        ("digits-bounds", drawings.dots, "Bounds at test"),
    ],
    "mnist": [("mnist", drawings.dots, "Bounds at test")],
    "shapes": [("shapes", drawings.dots, "Bounds at test")],
    "paper": [
        ("paper", drawings.dots, "Bounds at test"),
        ("paper-training", drawings.course, "Variance and bounds along training"),
    ],
    "prediction": [("prediction", drawings.dots, "Bounds at test")],
    "listops": [("listops", drawings.temperatures, "Accuracies at test over the temperature")],
}


def write(store: Store, out: Path) -> list[Path]:
    """Write a fragment for each sweep that has rows, and one for all of them.

    Parameters
    ----------
    store : Store
        The rows.
    out : Path
        The folder of the figures; that of the fragments is in it.

    Returns
    -------
    list of Path
        The fragments.
    """
    found = read(store)
    sweeps = {name: found[name] for name in LAYOUTS if name in found}
    pages = {name: fragment(sweep, out) for name, sweep in sweeps.items()}
    costs = [row for row in store.rows().values() if (row.sweep, row.stage) == ("cost", "measure")]
    if costs:
        ratios, *others = tables.costs(costs)
        label = "For each evaluation of the loss, and in milliseconds"
        pages["cost"] = join([ratios], dropdown(label, others))
    standing = summary.standing(sweeps)
    if standing:
        caption = summary.draw(standing, out / "summary.png")
        figure = image("summary", "Ranks of the estimators", caption)
        pages["summary"] = join([figure], summary.summary_tables(standing))
    folder = out / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in pages.items():
        (folder / f"{name}.md").write_text(page)
    return [folder / f"{name}.md" for name in pages]


def fragment(sweep: Sweep, out: Path) -> str:
    """Draw the figures of a sweep, and return its fragment; while nothing is tested, no figures."""
    layout = LAYOUTS[sweep.name]
    images = []
    if any(len(result.scores) for result in sweep.results.values()):
        for name, draw, label in FIGURES[sweep.name]:
            images.append(image(name, label, draw(sweep, layout, out / f"{name}.png")))
    chosen = dropdown("What the search chose", tables.chosen(sweep, layout))
    return join(tables.scores(sweep, layout), images, tables.moments(sweep, layout), chosen)


def image(name: str, label: str, caption: str) -> str:
    """Return a figure in Markdown, as seen from a fragment, with its caption."""
    return f"![{label}](../{name}.png)\n\n*{caption} Drawn by `{_COMMAND}`.*\n"


def dropdown(label: str, inside: Iterable[Table]) -> list[Table | str]:
    """Return tables that a page shows when their label is clicked."""
    return [f":::{{dropdown}} {label}", *inside, ":::\n"]


def join(*parts: Iterable[Table | str]) -> str:
    """Return a fragment of its parts."""
    return "\n".join(str(x) for part in parts for x in part)


def main(
    rows: Annotated[list[Path], typer.Argument(exists=True, help="SQLite files of sweeps.")],
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("docs/results"),
    into: Annotated[
        Path | None, typer.Option(help="SQLite file that gets all rows; it is written anew.")
    ] = None,
) -> None:
    """Write the tables and figures of the rows that are there, those of several files together."""
    with TemporaryDirectory() as folder:
        store = merge(rows, Path(folder, "rows.sqlite"))
        if into is not None:
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(store.path, into)
        for path in write(store, out):
            typer.echo(path)
        failed = sum(row.error is not None for row in store.rows().values())
        typer.echo(f"rows: {len(store.rows())}, of which failed: {failed}")


if __name__ == "__main__":
    typer.run(main)
