"""The rows of sweeps, in an SQLite file: one for each run, written in one transaction."""

import json
import platform
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

import rbgs

_TABLES = """
CREATE TABLE IF NOT EXISTS rows (
    cell TEXT PRIMARY KEY, sweep TEXT NOT NULL, stage TEXT NOT NULL, config TEXT NOT NULL,
    result TEXT, error TEXT, versions TEXT NOT NULL, started TEXT NOT NULL, seconds REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS sweeps (name TEXT PRIMARY KEY, specification TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Row:
    """What came of one run: a result, or an error with what was measured until then."""

    cell: str
    sweep: str
    stage: str
    config: dict[str, Any]
    result: dict[str, Any] | None
    error: str | None
    versions: str
    started: str
    seconds: float


def cell_name(sweep: str, stage: str, config: Mapping[str, Any]) -> str:
    """Return the key of a run, in one canonical form."""
    return f"{sweep} {stage} {json.dumps(config, sort_keys=True)}"


def versions() -> str:
    """Return what a result may depend on, in a line."""
    import jax

    names = [f"python {platform.python_version()}", f"rbgs {rbgs.__version__}"]
    for package in ("numpy", "jax", "optax"):
        try:
            names.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            names.append(f"{package} absent")
    return ", ".join((*names, jax.devices()[0].device_kind))


def rounded(x: Any) -> Any:
    """Keep six digits of the numbers of a result, which is more than any has."""
    if isinstance(x, dict):
        return {name: rounded(value) for name, value in x.items()}
    if isinstance(x, list):
        return [rounded(value) for value in x]
    return float(f"{x:.6g}") if isinstance(x, float) else x


class Store:
    """An SQLite file of rows. A row is there entirely or not at all, also after a crash."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(self._connect()) as connection, connection:
            connection.executescript(_TABLES)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=60)

    def add(self, rows: list[Row], replace: bool = False) -> None:
        """Write rows; one replaces its like that failed, and one with a result if so told."""
        only = "" if replace else " AND error IS NOT NULL"
        with closing(self._connect()) as connection, connection:
            for row in rows:
                values = [json.dumps(x) if isinstance(x, dict) else x for x in asdict(row).values()]
                connection.execute(f"DELETE FROM rows WHERE cell = ?{only}", (row.cell,))
                marks = ", ".join("?" * len(values))
                connection.execute(f"INSERT OR IGNORE INTO rows VALUES ({marks})", values)

    def add_sweep(self, name: str, specification: str) -> None:
        """Remember what the rows were made by."""
        with closing(self._connect()) as connection, connection:
            connection.execute("INSERT OR REPLACE INTO sweeps VALUES (?, ?)", (name, specification))

    def sweeps(self) -> dict[str, str]:
        """Return the specifications by name."""
        with closing(self._connect()) as connection:
            return dict(connection.execute("SELECT name, specification FROM sweeps ORDER BY name"))

    def rows(self) -> dict[str, Row]:
        """Return all rows by their cells."""
        with closing(self._connect()) as connection:
            found = connection.execute("SELECT * FROM rows ORDER BY cell").fetchall()
        rows = {}
        for cell, sweep, stage, config, result, *others in found:
            read = None if result is None else json.loads(result)
            rows[cell] = Row(cell, sweep, stage, json.loads(config), read, *others)
        return rows

    def frame(self, sweep: str, stage: str = "test") -> pd.DataFrame:
        """Return the rows of a sweep, with a column for each entry of configuration and result."""
        chosen = [x for x in self.rows().values() if (x.sweep, x.stage) == (sweep, stage)]
        names = ("cell", "error", "versions", "started")
        return pd.DataFrame(
            {**{name: getattr(row, name) for name in names}, **row.config, **(row.result or {})}
            for row in chosen
        )

    def compact(self) -> None:
        """Make the file as small as its rows."""
        with closing(self._connect()) as connection:
            connection.execute("VACUUM")


def merge(paths: Iterable[Path], into: Path) -> Store:
    """Write the rows of several files into one; of the rows of a run, the first without error."""
    store = Store(into)
    for path in paths:
        other, known = Store(path), store.sweeps()
        for name, specification in other.sweeps().items():
            store.add_sweep(name, known.get(name, specification))
        store.add(list(other.rows().values()))
    store.compact()
    return store
