"""The quadratic programme."""

import commands
import pytest

for module in ("matplotlib", "tabulate", "typer"):
    pytest.importorskip(module)


@pytest.mark.slow
def test_the_demo_runs_to_its_figure(tmp_path):
    figure = tmp_path / "quadratic.png"
    commands.run("experiments.quadratic", "--draws", 100, "--resolution", 9, "--figure", figure)
    assert figure.exists()


@pytest.mark.parametrize("samples", [1, 7, 1000])
def test_gumbel_rao_of_the_paper_has_any_number_of_samples(samples):
    estimators = pytest.importorskip("benchmarks.experiments.estimators")
    assert estimators.make(f"GR-MC{samples}", 0.5).samples == samples
