"""What a sweep runs, read from a TOML file.

For each of ``estimators`` and each table of ``columns``, a study: a random search over ``ranges``,
each with ``low``, ``high`` and optionally ``log = true``, the same for every study, and then, at
the values with the best score in validation, ``seeds`` runs that are tested. ``fixed`` holds
further entries of the experiment's ``Config``, ``search.fixed`` those that differ in the search.
"""

import importlib
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
    """An estimator in a column of the table: its search, and what is fixed."""

    sweep: str
    experiment: str
    fixed: dict[str, Any]
    seeds: int
    search: dict[str, Any]

    def configs(self) -> list[training.Config]:
        """Return the configurations of the search."""
        make = experiment(self.experiment).Config
        options = estimators.knobs(self.fixed["estimator"])
        changed = self.fixed | self.search.get("fixed", {})
        return [
            make(**changed, **trial, knob=options[number % len(options)])
            for number, trial in enumerate(_trials(self.search))
        ]

    def final_configs(self, best: Mapping[str, Any]) -> list[training.Config]:
        """Return the configurations that are tested, from that of the best trial."""
        make = experiment(self.experiment).Config
        chosen = {name: best[name] for name in (*self.search["ranges"], "knob")}
        # The search has seed 0.
        return [make(**self.fixed, **chosen, seed=seed + 1) for seed in range(self.seeds)]


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
        An entry is unknown or missing.
    """
    read = tomllib.loads(path.read_text())
    if set(read) != _ENTRIES or read["experiment"] not in EXPERIMENTS:
        raise ValueError(
            f"{path} has the entries {sorted(read)}; wanted are {sorted(_ENTRIES)}, with "
            f"experiment one of {', '.join(EXPERIMENTS)}"
        )
    return [
        Study(
            path.stem,
            read["experiment"],
            read["fixed"] | column | {"estimator": name},
            read["seeds"],
            read["search"],
        )
        for column in read["columns"]
        for name in read["estimators"]
    ]


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
