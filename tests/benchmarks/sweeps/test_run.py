"""Sweeps: every cell has one row, whatever happens; reports make tables of them."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import commands
import pytest

for module in ("distributed", "pandas", "optax", "torch", "typer"):
    pytest.importorskip(module)
store = pytest.importorskip("benchmarks.sweeps.store")

SPECIFICATION = """
experiment = "listops"

[fixed]
longest = 6
size = 8
iterations = 20
evaluations = 1
examples = 200
held_out = 50

[grid]
estimator = ["ST-GS", "GR", "GR-MC2", "no such estimator"]
temperature = [0.1, 1.0]
seed = [0, 1, 2, 3]
"""


def row(cell="a", result=None, error=None):
    return store.Row(cell, "listops", 0, {"seed": 0}, result, error, {}, "now", 1.0)


def test_a_row_is_written_once(tmp_path):
    rows = store.Store(tmp_path / "rows.sqlite")
    rows.add(row(error="first"))
    assert rows.done() == {"a"}
    assert rows.done(failed=False) == set()
    rows.add(row(result={"test": 1.0}))  # a second try
    rows.add(row(result={"test": 2.0}))
    rows.add(row(error="too late"))
    assert rows.frame()["test"].tolist() == [1.0]
    assert rows.done(failed=False) == {"a"}


def cells(specification):
    from benchmarks.sweeps import run

    return list(run.cells(specification))


def test_the_cells_of_a_grid():
    found = cells({"experiment": "vae", "grid": {"arity": [2, 16], "seed": [0, 1]}})
    assert [(x["seed"], x["arity"]) for x in found] == [(0, 2), (0, 16), (1, 2), (1, 16)]
    assert {x["batch"] for x in found} == {20}


def test_a_random_search_is_the_same_for_every_cell_of_the_grid():
    ranges = {
        "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
        "momentum": {"low": 0.5, "high": 0.9},
    }
    search = {"trials": 200, "seed": 0, "ranges": ranges}
    found = cells({"experiment": "vae", "grid": {"estimator": ["GS", "GR"]}, "random": search})
    of_estimator = {
        name: [(x["learning_rate"], x["momentum"]) for x in found if x["estimator"] == name]
        for name in ("GS", "GR")
    }
    assert of_estimator["GS"] == of_estimator["GR"]
    rates, momenta = zip(*of_estimator["GR"], strict=True)
    assert 1e-4 <= min(rates) < max(rates) <= 1e-1
    assert 0.5 <= min(momenta) < max(momenta) <= 0.9
    assert 0.3 < sum(math.log10(rate) < -2.5 for rate in rates) / 200 < 0.7


def test_a_mistake_in_a_specification_is_refused():
    with pytest.raises(ValueError, match="gird"):
        cells({"experiment": "vae", "gird": {}})
    with pytest.raises(ValueError, match="experiment"):
        cells({"experiment": "numpy"})
    with pytest.raises(TypeError, match="rate"):
        cells({"experiment": "vae", "grid": {"rate": [1]}})


def count(rows):
    return len(rows.done()) if rows.path.exists() else 0


@pytest.mark.slow
def test_a_sweep_that_is_killed_ends_with_every_row_once(tmp_path):
    specification = tmp_path / "sweep.toml"
    specification.write_text(SPECIFICATION)
    path = tmp_path / "rows.sqlite"
    command = commands.command("sweeps.run", specification, "--rows", path, "--workers", "2")
    rows, before = store.Store(path), 0
    for _ in range(2):
        process = subprocess.Popen(command, cwd=commands.ROOT)
        while count(rows) < before + 4 and process.poll() is None:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(0.5)
        assert before + 4 <= count(rows) < 32
        before = count(rows)
    kept = rows.frame().set_index("cell")["started"]
    subprocess.run(command, cwd=commands.ROOT, check=True)

    frame = rows.frame()
    assert len(frame) == 32
    keys = frame[["estimator", "temperature", "seed"]]
    assert len(keys.drop_duplicates()) == 32
    assert (frame.set_index("cell")["started"][kept.index] == kept).all()
    failed = frame["estimator"] == "no such estimator"
    assert frame["error"].notna().equals(failed)
    assert frame["error"][failed].str.contains("no estimator").all()
    assert frame["test"].notna().equals(~failed)
    assert frame["versions"].str.contains("rbgs").all()

    out = tmp_path / "report"
    commands.run("sweeps.report", path, "--out", out)
    table = out.joinpath("listops.md").read_text()
    assert table.count("±") >= 6
    assert "GR-MC2" in table


@contextmanager
def cluster(folder):
    """A scheduler and a worker, each a process that is not started from the repository."""
    file = folder / "scheduler.json"
    options = ["--scheduler-file", file, "--no-dashboard"]
    common = {"cwd": folder, "env": os.environ | {"PYTHONPATH": str(commands.ROOT)}}
    with ExitStack() as running:
        for part in (["scheduler", "--port", "0"], ["worker", "--nthreads", "1", "--no-nanny"]):
            process = subprocess.Popen([sys.executable, "-m", "dask", *part, *options], **common)
            running.callback(process.wait)
            running.callback(process.kill)
            while not file.exists():
                assert process.poll() is None
                time.sleep(0.05)
        yield json.loads(file.read_text())["address"]


@pytest.mark.slow
def test_a_sweep_runs_on_a_cluster_that_is_there(tmp_path):
    from distributed import Client

    specification = tmp_path / "sweep.toml"
    specification.write_text(SPECIFICATION.replace("[0, 1, 2, 3]", "[0]"))
    path = tmp_path / "rows.sqlite"
    with cluster(tmp_path) as address:
        commands.run("sweeps.run", specification, "--rows", path, "--scheduler", address)
        with Client(address) as client:
            (loaded,) = client.run(
                lambda: sys.modules["benchmarks.experiments.listops"].__file__
            ).values()
    # The package is the one that was sent, whatever else the worker could import.
    assert loaded.endswith(str(Path("benchmarks.zip", "benchmarks", "experiments", "listops.py")))
    frame = store.Store(path).frame()
    assert len(frame) == 8
    assert frame["error"].notna().sum() == 2
