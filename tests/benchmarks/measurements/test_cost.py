"""The cost of a training step: which rows come of it, and that a call trains."""

import itertools

import pytest

for module in ("distributed", "jax", "optax", "pandas", "sklearn", "typer"):
    pytest.importorskip(module)
import jax  # noqa: E402

from benchmarks.experiments import training, vae  # noqa: E402
from benchmarks.measurements import cost  # noqa: E402
from benchmarks.sweeps.store import Store  # noqa: E402


def test_every_estimator_has_a_row_and_a_second_measurement_replaces_it(tmp_path, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr("benchmarks.measurements.timing.time.perf_counter", lambda: next(clock))

    def training_call(config):
        if config.estimator == "GR":
            raise ValueError("it cannot")
        return lambda: None, 100 if config.estimator == "ST-GS" else 50  # in a second

    monkeypatch.setattr(cost, "training_call", training_call)
    store = Store(tmp_path / "rows.sqlite")
    for _ in range(2):
        rows = cost.measure("8x64", 3, lambda: None)
        store.add(rows, replace=True)
    assert [row.config["estimator"] for row in rows] == list(cost.NAMES)
    assert len(store.rows()) == len(cost.NAMES)

    frame = store.frame("cost", "measure").set_index("estimator")
    assert (frame["variables"] == 8).all()
    assert (frame["arity"] == 64).all()
    assert frame["error"].dropna().to_dict() == {"GR": "ValueError: it cannot"}
    columns = ["milliseconds", "ratio", "ratio_error", "evaluations", "per_evaluation"]
    assert frame.loc["ST-GS", columns].tolist() == [10, 1, 0, 1, 10]
    assert frame.loc["RLOO", columns].tolist() == [20, 2, 0, 2, 10]

    table = str(cost.table("8x64", rows))
    assert "8×64 variables" in table
    assert "2.000 ± 0.000" in table
    assert "GR: ValueError: it cannot" in table


def test_a_call_trains(monkeypatch):
    counts = []
    step = training.step

    def counted(*arguments):
        jax.debug.callback(lambda: counts.append(1))
        return step(*arguments)

    monkeypatch.setattr(training, "step", counted)
    config = vae.Config("ST", hidden=(4,), variables=2, arity=2, batch=5, data="noise")
    with jax.enable_x64(False):
        call, steps = cost.training_call(config)
        jax.effects_barrier()
        before = len(counts)
        call()
        jax.effects_barrier()
    assert before == 1 + 3
    assert len(counts) == before + steps
