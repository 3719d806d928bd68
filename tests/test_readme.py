"""The scripts of the README run, and print what it says."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent.joinpath("README.md").read_text()
EXAMPLE, *TRAINING = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def run(code):
    exec(compile(code, "README.md", "exec"), {})


def test_the_example_runs(capsys):
    assert len(EXAMPLE.strip().splitlines()) <= 11
    run(EXAMPLE)
    assert capsys.readouterr().out == "(200, 60, 4) True\n"


def framework(code):
    return re.search(r"import rbgs, rbgs\.(\w+)", code)[1]


@pytest.mark.parametrize("code", TRAINING, ids=framework)
def test_a_model_is_trained(code, capsys):
    pytest.importorskip(framework(code))
    assert len([line for line in code.splitlines() if line.strip() and "import" not in line]) <= 12
    if framework(code) == "torch":
        import torch

        torch.manual_seed(0)
    run(code)
    losses = [float(line.split()[1]) for line in capsys.readouterr().out.splitlines()]
    assert losses[0] > 3.5
    assert losses[-1] < 0.5 * losses[0]
