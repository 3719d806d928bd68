"""The script of the README and those that train run, each by itself, and print what they should."""

import re

import pytest
from documents import README, ROOT, run, scripts

(EXAMPLE,) = [block.code for block in scripts(README)]
TRAINING = [block.code for block in scripts(ROOT / "docs/how_to/train.md")]


def test_the_example_runs(capsys):
    assert len(EXAMPLE.strip().splitlines()) <= 11
    run(EXAMPLE, "README.md")
    assert capsys.readouterr().out == "(200, 60, 4) True\n"


def framework(code):
    return re.search(r"import rbgs, rbgs\.(\w+)", code)[1]


@pytest.mark.parametrize("code", TRAINING, ids=framework)
def test_a_model_is_trained(code, capsys):
    pytest.importorskip(framework(code))
    assert len([line for line in code.splitlines() if line.strip() and "import" not in line]) <= 13
    run(code, "train.md")
    losses = [float(line.split()[1]) for line in capsys.readouterr().out.splitlines()]
    assert losses[0] > 4
    assert losses[-1] < 0.2
