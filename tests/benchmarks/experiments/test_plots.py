"""Tables of runs say what they show."""

import pytest

for module in ("matplotlib", "rich", "pandas"):
    pytest.importorskip(module)

from benchmarks.experiments import plots  # noqa: E402


def shown(rows):
    columns = {"test": plots.Column("test", 1, 100), "milliseconds": plots.Column("ms")}
    return str(plots.runs_table(rows, "Accuracy in %, higher is better", columns))


RUNS = [
    {"estimator": "GR", "seed": 0, "test": 0.6, "milliseconds": 2.0},
    {"estimator": "GR", "seed": 1, "test": 0.7, "milliseconds": 4.0},
]


def test_a_table_has_means_and_errors_and_says_so():
    text = shown(RUNS)
    assert "higher is better" in text
    assert "65.0 ± 5.0" in text
    assert "3.00 ± 1.00" in text
    assert "Mean ± standard error over 2 seeds" in text
    assert "best evaluation" in text


def test_a_table_of_one_seed_says_that_its_noise_is_unknown():
    text = shown(RUNS[:1])
    assert "60.0" in text
    assert "±" not in text
    assert "One seed" in text


def test_mean_and_error():
    assert plots.mean_and_error([1.0]) == "1.00"
    assert plots.mean_and_error([0.1, 0.3], 1, scale=100) == "20.0 ± 10.0"
