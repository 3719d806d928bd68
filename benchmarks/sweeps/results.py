"""What came of a sweep: the rows of each estimator in each column of its table, put together."""

import math
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from benchmarks.experiments import estimators
from benchmarks.sweeps.specification import SEARCH, TEST
from benchmarks.sweeps.store import Row, Store

Column = tuple[Any, ...]  # the values of the entries of the configuration that make a column
Config = Mapping[str, Any]


@dataclass(frozen=True)
class Result:
    """What came of a study: the rows of its search, and those of its seeds."""

    searched: list[Row]
    tested: list[Row]

    @cached_property
    def scores(self) -> np.ndarray:
        """The finite scores at test."""
        found = [row.result["test"] for row in self.tested if row.result and not row.error]
        return np.asarray([x for x in found if math.isfinite(x)])

    @property
    def mean(self) -> float:
        """Over the seeds that have a score; NaN without any."""
        return float(self.scores.mean()) if len(self.scores) else math.nan

    @property
    def noise(self) -> float:
        """The standard error of the mean; NaN for fewer than two seeds."""
        return standard_error(self.scores)

    @property
    def failed_seeds(self) -> int:
        """How many seeds have no score."""
        return len(self.tested) - len(self.scores)

    @property
    def failed_trials(self) -> int:
        """How many runs of the search failed."""
        return sum(row.error is not None for row in self.searched)

    @property
    def whole(self) -> bool:
        """Whether all seeds have a score."""
        return bool(self.tested) and not self.failed_seeds

    @property
    def failed(self) -> bool:
        """Whether a seed failed, or the whole search, so that nothing could be tested."""
        if self.tested:
            return self.failed_seeds > 0
        return 0 < len(self.searched) == self.failed_trials

    @property
    def error(self) -> str:
        """The first error of a seed, or else of a trial: the last line that names an exception."""
        errors = [row.error for row in (*self.tested, *self.searched) if row.error]
        if not errors:
            return "the score is not finite"
        lines = errors[0].strip().splitlines()
        return ([x for x in lines if re.match(r"[\w.]+: ", x)] or lines)[-1]

    def curve(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return loss evaluations ``(point,)`` and a value along training ``(seed, point)``."""
        rows = [row for row in self.tested if row.result and not row.error]
        curves = [row.result["curve"] for row in rows if row.result]
        if not curves or name not in curves[0][0]:
            return np.zeros(0), np.zeros((0, 0))
        steps = np.asarray([point["step"] for point in curves[0]])
        values = np.asarray([[point[name] for point in curve] for curve in curves])
        return steps * (rows[0].config["budget"] / steps[-1]), values


@dataclass(frozen=True)
class Sweep:
    """The results of a sweep.

    Attributes
    ----------
    keys : tuple of str
        The entries of the configuration that make a column, which are the same in the search.
    ranges : tuple of str
        Those that are searched.
    columns : dict
        For each column, in order, the configuration of one of its runs.
    results : dict
        By estimator and column.
    """

    name: str
    keys: tuple[str, ...]
    ranges: tuple[str, ...]
    columns: dict[Column, Config]
    results: dict[tuple[str, Column], Result]

    @property
    def estimators(self) -> list[str]:
        """The estimators in the order of all tables."""
        return order(name for name, _ in self.results)

    def column(self, column: Column) -> dict[str, Result]:
        """Return the results of a column by estimator."""
        found = {name: self.results.get((name, column)) for name in self.estimators}
        return {name: result for name, result in found.items() if result is not None}

    def grouped(self, keys: Iterable[str]) -> dict[Column, list[Column]]:
        """Return the columns by what they have in some of the keys."""
        positions, groups = [self.keys.index(key) for key in keys], defaultdict(list)
        for column in self.columns:
            groups[tuple(column[position] for position in positions)].append(column)
        return dict(sorted(groups.items()))


def standard_error(values: np.ndarray) -> float:
    """Return the standard error of a mean; NaN of fewer than two values."""
    count = len(values)
    return float(values.std(ddof=1)) / math.sqrt(count) if count > 1 else math.nan


def order(names: Iterable[str]) -> list[str]:
    """Return names of estimators in the order of all tables."""
    return sorted(set(names), key=lambda name: (*estimators.NAMES, name).index(name))


def read(store: Store) -> dict[str, Sweep]:
    """Read the sweeps that have rows.

    A study whose search was repeated may have seeds at several hyperparameters: those that were
    started last count.
    """
    by_sweep = defaultdict(list)
    for row in store.rows().values():
        if row.stage in (SEARCH, TEST):
            by_sweep[row.sweep].append(row)
    return {
        name: _sweep(name, tomllib.loads(text), by_sweep[name])
        for name, text in store.sweeps().items()
        if name in by_sweep
    }


def _sweep(name: str, specification: dict[str, Any], rows: list[Row]) -> Sweep:
    search, no_keys = (
        specification["search"],
        {"further", *specification["search"].get("fixed", {})},
    )
    entries = dict.fromkeys(key for column in specification["columns"] for key in column)
    keys, ranges = tuple(key for key in entries if key not in no_keys), tuple(search["ranges"])
    columns: dict[Column, Config] = {}
    found: defaultdict[tuple[str, Column, str], list[Row]] = defaultdict(list)
    for row in rows:
        column = tuple(row.config[key] for key in keys)
        columns.setdefault(column, row.config)
        found[row.config["estimator"], column, row.stage].append(row)
    results = {
        study: Result(found[*study, SEARCH], _last(found[*study, TEST], (*ranges, "knob")))
        for study in sorted({(estimator, column) for estimator, column, _ in found})
    }
    return Sweep(name, keys, ranges, dict(sorted(columns.items())), results)


def _last(rows: list[Row], entries: tuple[str, ...]) -> list[Row]:
    """Keep the rows whose entries are those of the row that was started last."""
    if not rows:
        return rows
    last = max(rows, key=lambda row: row.started).config
    kept = [row for row in rows if all(row.config[x] == last[x] for x in entries)]
    return sorted(kept, key=lambda row: row.config["seed"])
