"""Sweeps: a study searches and then tests, and every run has one row, whatever happens."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

import commands
import pytest

for module in ("distributed", "jax", "optax", "pandas", "sklearn", "typer"):
    pytest.importorskip(module)
from distributed import Client  # noqa: E402

from benchmarks.experiments import estimators  # noqa: E402
from benchmarks.sweeps import run, store  # noqa: E402
from benchmarks.sweeps.specification import SEARCH, TEST, studies  # noqa: E402

SPECIFICATION = """
experiment = "vae"
estimators = ["ST", "Gapped ST", "GS"]
seeds = 2

[fixed]
hidden = [4]
variables = 2
batch = 10
budget = 4
evaluations = 1
valid_images = 10
valid_samples = 2
test_images = 10
test_samples = 2

[[columns]]
arity = 2

[search]
trials = 4
seed = 0

[search.fixed]
budget = 2

[search.ranges]
learning_rate = { low = 1e-4, high = 1e-1, log = true }
temperature = { low = 0.5, high = 0.9 }
"""
TRIALS, SEEDS = 4, 2

pytestmark = pytest.mark.usefixtures("single_precision")


@pytest.fixture
def write(tmp_path):
    """Write a specification in which texts are replaced; return its file."""

    def write(changes=None):
        text = SPECIFICATION
        for old, new in (changes or {}).items():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "sweep.toml"
        path.write_text(text)
        return path

    return write


def row(cell="a", result=None, error=None):
    return store.Row(cell, "sweep", "test", {"seed": 0}, result, error, "", "now", 1.0)


def test_a_row_is_written_once(tmp_path):
    rows = store.Store(tmp_path / "rows.sqlite")
    rows.add([row(error="first"), row("b", error="second")])
    rows.add([row(result={"test": 1.0})])  # a second try
    rows.add([row(result={"test": 2.0})])
    rows.add([row(error="too late")])
    assert rows.rows() == {"a": row(result={"test": 1.0}), "b": row("b", error="second")}
    assert rows.frame("sweep")["test"].tolist()[:1] == [1.0]


def test_a_measurement_replaces_its_row(tmp_path):
    rows = store.Store(tmp_path / "rows.sqlite")
    for result in ({"milliseconds": 1.0}, {"milliseconds": 2.0}):
        rows.add([row(result=result)], replace=True)
    assert rows.frame("sweep")["milliseconds"].tolist() == [2.0]


def test_the_search_is_the_same_for_every_estimator(write):
    path = write({"trials = 4": "trials = 200"})
    trials = [
        [(x.learning_rate, x.temperature) for x in study.searched()] for study in studies(path)
    ]
    assert trials[0] == trials[1] == trials[2]
    rates, temperatures = zip(*trials[0], strict=True)
    assert 1e-4 <= min(rates) < max(rates) <= 1e-1
    assert 0.5 <= min(temperatures) < max(temperatures) <= 0.9
    # Each half of the range has half of the trials, within 4 standard errors.
    assert abs(sum(math.log10(x) < -2.5 for x in rates) - 100) < 4 * math.sqrt(50)
    assert abs(sum(x < 0.7 for x in temperatures) - 100) < 4 * math.sqrt(50)


def test_knobs_alternate_over_the_trials(write):
    straight, gapped, _ = studies(write())
    assert [x.knob for x in straight.searched()] == [None] * 4
    assert [x.knob for x in gapped.searched()] == [1.0, "p", 1.0, "p"]


def test_the_search_has_its_own_budget_and_the_tests_new_seeds(write):
    study = studies(write())[0]
    trials = study.searched()
    tested = study.tested({trial: score for score, trial in enumerate(reversed(trials))})
    assert {(x.budget, x.seed) for x in trials} == {(2, 0)}
    assert [(x.budget, x.seed) for x in tested] == [(4, 1), (4, 2)]
    assert {x.learning_rate for x in tested} == {trials[-1].learning_rate}


def test_columns_that_share_a_program_are_one_study_and_each_has_its_best(write):
    more = "arity = 2\nclip = 1.0\n[[columns]]\narity = 2\nclip = 2.0\n[[columns]]\narity = 3"
    study, other, *_ = studies(write({"arity = 2": more, ', "Gapped ST", "GS"]': "]"}))
    assert [(x.clip, x.arity) for x in study.searched()] == [(1.0, 2)] * 4 + [(2.0, 2)] * 4
    assert {x.arity for x in other.searched()} == {3}
    scores = {trial: abs(number - 5) for number, trial in enumerate(study.searched())}
    chosen = [study.searched()[number] for number in (3, 3, 5, 5)]
    assert [(x.clip, x.learning_rate) for x in study.tested(scores)] == [
        (x.clip, x.learning_rate) for x in chosen
    ]
    assert len(run.programs(study, SEARCH, study.searched(), {}, False)) == 1


def test_a_column_has_further_estimators(write):
    more = 'arity = 2\n[[columns]]\narity = 3\nfurther = ["GR"]'
    found = studies(write({"arity = 2": more, ', "Gapped ST", "GS"]': "]"}))
    names = [(x.columns[0]["arity"], x.fixed["estimator"]) for x in found]
    assert names == [(2, "ST"), (3, "ST"), (3, "GR")]


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("seeds = 2", "seads = 2", "seads"),
        ('"vae"', '"vea"', "vea"),
        ('"Gapped ST"', '"Gaped ST"', "Gaped ST"),
        ("batch = 10", "badge = 10", "badge"),
        ("trials = 4", "trails = 4", "trails"),
        ("high = 0.9", "hihg = 0.9", "temperature.*hihg"),
        ("temperature =", "temprature =", "temprature"),
    ],
)
def test_a_mistake_in_a_specification_is_refused(write, old, new, named):
    with pytest.raises(ValueError, match=rf"sweep\.toml.*{named}"):
        studies(write({old: new}))


def pretend(program, _data, _weights):
    """Take the learning rate for the score, and fail above 0.01."""
    results = [
        {"error": "too fast"}
        if config["learning_rate"] > 0.01
        else {"valid": config["learning_rate"], "test": 1 / 3}
        for config in program.configs
    ]
    if program.configs[0]["estimator"] == "GS":
        raise ArithmeticError("of the worker")
    return run.as_rows(program, results, run.now(), 1.0)


@pytest.fixture
def client():
    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None) as made:
        yield made


def test_a_study_searches_and_then_tests_the_best_trial(write, tmp_path, client, monkeypatch):
    monkeypatch.setattr(run, "run_program", pretend)
    rows, every = store.Store(tmp_path / "rows.sqlite"), studies(write())
    trials = every[0].searched()
    failing = sum(x.learning_rate > 0.01 for x in trials)
    assert 0 < failing < TRIALS
    assert run.run(client, rows, every) == 2 * failing + TRIALS

    frame = rows.frame("sweep", SEARCH)
    assert len(frame) == 3 * TRIALS
    lost = frame["estimator"] == "GS"
    assert (frame["error"][lost] == "ArithmeticError: of the worker").all()
    tested = rows.frame("sweep", TEST)
    assert sorted(tested["estimator"]) == ["Gapped ST"] * SEEDS + ["ST"] * SEEDS
    assert set(tested["learning_rate"]) == {min(x.learning_rate for x in trials)}
    assert set(tested["test"]) == {0.333333}
    assert tested["error"].isna().all()

    before = rows.rows()
    assert run.run(client, rows, every) == 0  # nothing is left
    assert rows.rows() == before
    monkeypatch.setattr(run, "run_program", pretend_success)
    assert run.run(client, rows, every, retry=True) == 0
    assert len(rows.frame("sweep", SEARCH)) == 3 * TRIALS
    assert all(x.error is None for x in rows.rows().values())
    assert all(rows.rows()[cell] == x for cell, x in before.items() if x.error is None)
    assert len(rows.frame("sweep", TEST)) == 3 * SEEDS


def pretend_success(program, _data, _weights):
    """Take the learning rate for the score."""
    results = [{"valid": config["learning_rate"]} for config in program.configs]
    return run.as_rows(program, results, run.now(), 1.0)


def test_what_an_estimator_raises_is_the_error_of_its_rows(write, monkeypatch):
    def broken(_temperature, _knob):
        raise ArithmeticError("of the estimator")

    monkeypatch.setitem(estimators.ENTRIES, "GS", estimators.Entry(broken))
    study = studies(write())[2]
    (program,) = run.searches(study, {}, False)
    rows = run.run_program(program, None, None)
    assert [x.cell for x in rows] == program.cells()
    assert [x.config for x in rows] == [asdict(x) for x in study.searched()]
    assert {(x.result, x.error) for x in rows} == {(None, "ArithmeticError: of the estimator")}


def count(path):
    return len(store.Store(path).rows()) if path.exists() else 0


@pytest.mark.slow
def test_a_sweep_that_is_killed_ends_with_every_row_once(write, tmp_path):
    path = tmp_path / "rows.sqlite"
    options = ("--rows", path, "--weights", tmp_path / "weights", "--workers", "1")
    command = commands.command("sweeps.run", write({'"Gapped ST", ': ""}), *options)
    process = subprocess.Popen(command, cwd=commands.ROOT)
    while count(path) == 0 and process.poll() is None:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    rows = store.Store(path)
    kept = rows.rows()
    assert 0 < len(kept) < 2 * (TRIALS + SEEDS)
    subprocess.run(command, cwd=commands.ROOT, check=True)

    assert kept.items() <= rows.rows().items()
    search, tested = rows.frame("sweep", SEARCH), rows.frame("sweep", TEST)
    assert search["estimator"].value_counts().to_dict() == {"ST": TRIALS, "GS": TRIALS}
    assert tested["estimator"].value_counts().to_dict() == {"ST": SEEDS, "GS": SEEDS}
    for frame in search, tested:
        assert frame["error"].isna().all()
        assert frame["versions"].str.contains("rbgs").all()
    assert tested["test"].notna().all()
    assert len(list(tmp_path.glob("weights/*.npz"))) == 2 * SEEDS


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
def test_a_sweep_runs_on_a_cluster_that_is_there(write, tmp_path):
    path = tmp_path / "rows.sqlite"
    specification = write({', "Gapped ST", "GS"]': "]"})
    options = ("--rows", path, "--weights", tmp_path / "weights")
    with cluster(tmp_path) as address:
        commands.run("sweeps.run", specification, *options, "--scheduler", address)
        with Client(address) as client:
            (loaded,) = client.run(
                lambda: sys.modules["benchmarks.experiments.vae"].__file__
            ).values()
    # The package is the one that was sent, whatever else the worker could import.
    assert loaded.endswith(str(Path("benchmarks.zip", "benchmarks", "experiments", "vae.py")))
    rows = store.Store(path)
    assert len(rows.frame("sweep", SEARCH)) == TRIALS
    assert rows.frame("sweep", TEST)["estimator"].tolist() == ["ST"] * SEEDS
