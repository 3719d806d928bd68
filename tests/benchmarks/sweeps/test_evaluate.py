"""Kept weights are tested again without training."""

from shutil import copy

import pytest

for module in ("distributed", "jax", "optax", "pandas", "sklearn", "typer"):
    pytest.importorskip(module)
import jax  # noqa: E402

from benchmarks.sweeps import evaluate, run, store  # noqa: E402
from benchmarks.sweeps.specification import TEST, studies  # noqa: E402

SPECIFICATION = """
experiment = "vae"
estimators = ["ST"]
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
trials = 1
seed = 0
ranges = { learning_rate = { low = 1e-3, high = 1e-2 } }
"""

pytestmark = pytest.mark.usefixtures("single_precision")


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """Rows of tests, their file and the folder of the weights."""
    folder = tmp_path_factory.mktemp("sweep")
    path, weights = folder / "sweep.toml", folder / "weights"
    path.write_text(SPECIFICATION)
    kept = store.Store(folder / "rows.sqlite")
    kept.add_sweep(path.stem, path.read_text())
    (study,) = studies(path)
    configs = study.tested({study.searched()[0]: 0.0})
    (program,) = run.programs(study, TEST, configs, {}, False)
    with jax.enable_x64(False):
        rows = run.run_program(program, None, str(weights))
    kept.add(rows)
    return rows, kept.path, weights


def table(text):
    lines = [line for line in text.splitlines() if line.startswith("|")]
    header, _, *cells = ([x.strip() for x in line.split("|")[1:-1]] for line in lines)
    return header, cells


def test_the_same_settings_give_the_same_number(tested, tmp_path, capsys):
    rows, path, weights = tested
    copy(run.weights_file(weights, rows[0].cell), tmp_path)
    evaluate.main(path, tmp_path)
    text = capsys.readouterr().out
    header, cells = table(text)
    assert header == ["estimator", "arity", "seed", "test", "new test"]
    number = f"{rows[0].result['test']:.6g}"
    assert cells == [["ST", "2", "1", number, number]]
    assert "1 of 2 tests have kept their weights" in text


def test_other_settings_give_another_number(tested, capsys):
    _, path, weights = tested
    evaluate.main(path, weights, sweep="sweep", setting=["test_samples=50", "test_images=20"])
    _, cells = table(capsys.readouterr().out)
    assert [row[:3] for row in cells] == [["ST", "2", "1"], ["ST", "2", "2"]]
    assert all(float(new) != float(old) for *_, old, new in cells)
    evaluate.main(path, weights, sweep="another")
    assert capsys.readouterr().out == ""
