"""The rows of a sweep, in an SQLite file: one for each cell, written in one transaction."""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

_TABLES = """
CREATE TABLE IF NOT EXISTS rows (
    cell TEXT PRIMARY KEY, experiment TEXT NOT NULL, seed INTEGER NOT NULL, config TEXT NOT NULL,
    result TEXT, error TEXT, versions TEXT NOT NULL, started TEXT NOT NULL, seconds REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS sweeps (name TEXT PRIMARY KEY, specification TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Row:
    """What came of one cell: a result or an error; dicts are written as JSON."""

    cell: str
    experiment: str
    seed: int
    config: dict[str, Any]
    result: dict[str, Any] | None
    error: str | None
    versions: dict[str, str]
    started: str
    seconds: float


def cell_name(experiment: str, config: Mapping[str, Any]) -> str:
    """Return the key of a cell: its experiment and configuration, in one canonical form."""
    return f"{experiment} {json.dumps(config, sort_keys=True)}"


class Store:
    """An SQLite file of rows. A row is there entirely or not at all, also after a crash."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(self._connect()) as connection, connection:
            connection.executescript(_TABLES)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=60)

    def done(self, *, failed: bool = True) -> set[str]:
        """Return the cells that have a row; those that failed only if they are asked for."""
        query = "SELECT cell FROM rows" + ("" if failed else " WHERE error IS NULL")
        with closing(self._connect()) as connection:
            return {cell for (cell,) in connection.execute(query)}

    def add(self, row: Row) -> None:
        """Write a row; it replaces one that failed, never one that has a result."""
        values = [json.dumps(x) if isinstance(x, dict) else x for x in asdict(row).values()]
        marks = ", ".join("?" * len(values))
        with closing(self._connect()) as connection, connection:
            connection.execute("DELETE FROM rows WHERE cell = ? AND error IS NOT NULL", (row.cell,))
            connection.execute(f"INSERT OR IGNORE INTO rows VALUES ({marks})", values)

    def add_sweep(self, name: str, specification: str) -> None:
        """Remember what the rows were made by."""
        with closing(self._connect()) as connection, connection:
            connection.execute("INSERT OR REPLACE INTO sweeps VALUES (?, ?)", (name, specification))

    def sweeps(self) -> dict[str, str]:
        """Return the specifications by name."""
        with closing(self._connect()) as connection:
            return dict(connection.execute("SELECT name, specification FROM sweeps"))

    def frame(self, experiment: str | None = None) -> pd.DataFrame:
        """Return the rows, with a column for each entry of configurations and results."""
        with closing(self._connect()) as connection:
            rows = pd.read_sql("SELECT * FROM rows ORDER BY cell", connection)
        if experiment is not None:
            rows = rows[(rows["experiment"] == experiment) & rows["error"].isna()]
        entries = [
            {**json.loads(config), **(json.loads(result) if isinstance(result, str) else {})}
            for config, result in zip(rows["config"], rows["result"], strict=True)
        ]
        kept = rows.drop(columns=["seed", "config", "result"]).reset_index(drop=True)
        return kept.join(pd.DataFrame(entries))
