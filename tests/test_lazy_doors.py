"""Doors are loaded where they are used; without their framework they say how to install it."""

import subprocess
import sys

import pytest

DOORS = ("autograd", "dask", "jax", "torch")
DISTRIBUTIONS = ("distrax", "numpyro", "pyro")
ALL = DOORS + DISTRIBUTIONS
MISSING = """
import sys
for name in {missing!r}:
    sys.modules[name] = None  # as if it were not installed
import rbgs
for statement in ("rbgs.{door}", "import rbgs.{door}", "from rbgs import {door}"):
    try:
        exec(statement)
    except ImportError as error:
        print(error)
print(*sorted(set({doors!r}) & {{name for name, module in sys.modules.items() if module}}))
"""


def run(code):
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize("door", ALL)
def test_without_its_framework_a_door_says_how_to_install_it(door):
    lines = run(MISSING.format(missing=ALL, door=door, doors=ALL)).splitlines()
    assert lines == [f'rbgs.{door} needs {door}: pip install "rbgs[{door}]"'] * 3 + [""]


@pytest.mark.parametrize("door", DOORS)
def test_a_door_is_loaded_by_its_name(door):
    pytest.importorskip(door)
    others = [other for other in DOORS if other != door]
    code = MISSING.format(missing=others, door=door, doors=[door])
    assert run(code + f"\nprint(rbgs.{door}.sample.__name__)").splitlines() == [door, "sample"]


@pytest.mark.parametrize("door", ["numpyro", "pyro"])
def test_distributions_are_loaded_by_their_name(door):
    pytest.importorskip(door)
    run(f"import rbgs; rbgs.{door}.OneHotCategorical")


def test_other_names_are_unknown():
    import rbgs

    with pytest.raises(AttributeError, match="module 'rbgs' has no attribute 'tensorflow'"):
        _ = rbgs.tensorflow
    assert not hasattr(rbgs, "numpy")
