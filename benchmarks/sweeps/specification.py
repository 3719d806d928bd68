"""What a sweep runs, read from a TOML file.

For each of ``estimators``, and those that a column names as ``further``, and each table of
``columns``, a study: a random search over ``ranges``, each with ``low``, ``high`` and optionally
``log = true``, the same for every study, and then, at the values with the best score in validation,
``seeds`` runs that are tested. ``fixed`` holds further entries of the experiment's ``Config``,
``search.fixed`` those that differ in the search.
"""

import importlib
import json
import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.experiments import estimators, training

EXPERIMENTS = ("vae", "prediction", "listops")
SEARCH, TEST = "search", "test"
_ENTRIES = {"experiment", "estimators", "seeds", "fixed", "columns", "search"}


def experiment(name: str) -> ModuleType:
    """Import an experiment."""
    return importlib.import_module(f"benchmarks.experiments.{name}")


@dataclass(frozen=True)
class Study:
    """An estimator in columns of the table that share a program: their searches and tests."""

    sweep: str
    experiment: str
    fixed: dict[str, Any]
    columns: list[dict[str, Any]]
    seeds: int
    search: dict[str, Any]

    def trials(self, column: dict[str, Any]) -> list[training.Config]:
        """Return the configurations of the search in one column."""
        make = experiment(self.experiment).Config
        options = estimators.knobs(self.fixed["estimator"])
        entries = self.fixed | column | self.search.get("fixed", {})
        return [
            make(**entries, **trial, knob=options[number % len(options)])
            for number, trial in enumerate(_trials(self.search))
        ]

    def searched(self) -> list[training.Config]:
        """Return the configurations of the search in all columns."""
        return [trial for column in self.columns for trial in self.trials(column)]

    def tested(self, scores: Mapping[training.Config, float]) -> list[training.Config]:
        """Return what is tested: the best trial of each column with seeds that are new.

        Parameters
        ----------
        scores : mapping
            The score of each trial that succeeded; the lower the better.
        """
        make, names = experiment(self.experiment).Config, (*self.search["ranges"], "knob")
        configs = []
        for column in self.columns:
            scored = [trial for trial in self.trials(column) if trial in scores]
            if scored:
                best = min(scored, key=scores.__getitem__)
                chosen = self.fixed | column | {name: getattr(best, name) for name in names}
                configs += [make(**chosen, seed=seed + 1) for seed in range(self.seeds)]
        return configs


def studies(path: Path) -> list[Study]:
    """Read a specification.

    Parameters
    ----------
    path : Path
        The TOML file.

    Returns
    -------
    list of Study
        The columns vary slowest, so that early rows already fill one of them.

    Raises
    ------
    ValueError
        An entry is unknown or missing, or an experiment or estimator is unknown.
    """
    read = tomllib.loads(path.read_text())
    _check(f"{path}", read, _ENTRIES)
    _check(f"{path}, search,", read["search"], {"trials", "seed", "ranges"}, "fixed")
    for name, span in read["search"]["ranges"].items():
        _check(f"{path}, search.ranges.{name},", span, {"low", "high"}, "log")
    if read["experiment"] not in EXPERIMENTS:
        raise ValueError(
            f"{path} asks for the experiment {read['experiment']!r}; there are "
            f"{', '.join(EXPERIMENTS)}"
        )
    shared: dict[str, list[dict[str, Any]]] = {}
    for column in read["columns"]:
        shapes = {name: x for name, x in column.items() if name not in training.Run._fields}
        shared.setdefault(json.dumps(shapes), []).append(column)
    found = []
    for columns in shared.values():
        names = read["estimators"] + columns[0].get("further", [])
        columns = [{k: x for k, x in column.items() if k != "further"} for column in columns]
        for name in names:
            fixed = read["fixed"] | {"estimator": name}
            study = Study(
                path.stem, read["experiment"], fixed, columns, read["seeds"], read["search"]
            )
            found.append(study)
    try:
        for study in found:
            study.searched()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    return found


def _check(where: str, table: Mapping[str, Any], wanted: set[str], *optional: str) -> None:
    if not wanted <= set(table) <= wanted.union(optional):
        raise ValueError(
            f"{where} has the entries {sorted(table)}; wanted are {sorted(wanted)}"
            + (f", optional is {', '.join(optional)}" if optional else "")
        )


def _trials(search: Mapping[str, Any]) -> Iterator[dict[str, float]]:
    rng = np.random.default_rng(search["seed"])
    for _ in range(search["trials"]):
        trial = {}
        for name, span in search["ranges"].items():
            u, low, high = rng.random(), span["low"], span["high"]
            if span.get("log", False):
                value = math.exp(math.log(low) + u * math.log(high / low))
            else:
                value = low + u * (high - low)
            trial[name] = float(f"{value:.4g}")
        yield trial
