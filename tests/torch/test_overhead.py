"""What a sample costs beside its loops: the Python functions that are called."""

import sys
from pathlib import Path

import pytest

import rbgs

torch = pytest.importorskip("torch")
door = pytest.importorskip("rbgs.torch")

HERE = str(Path(rbgs.__file__).parent)


def run(leaf, vector):
    return torch.autograd.grad(door.gumbel_softmax(leaf, 0.5, hard=True), leaf, vector)


def files_of_functions_called(call):
    """Return the file of each Python function that is called."""
    seen = []

    def profile(frame, event, _):
        if event == "call":
            seen.append(frame.f_code.co_filename)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(before)
    return seen


def test_python_functions_called():
    if not rbgs.is_compiled():
        pytest.skip("the engine of NumPy alone calls more")
    leaf, vector = torch.zeros(20, 60, 4, requires_grad=True), torch.ones(20, 60, 4)
    run(leaf, vector)
    seen = files_of_functions_called(lambda: run(leaf, vector))
    assert not any(x.endswith("inspect.py") for x in seen)  # no signature is bound
    assert sum(x.startswith(HERE) for x in seen) <= 230
