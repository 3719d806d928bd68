"""Which library an array is of, also while a framework is only half imported."""

import pytest
from processes import run

CODE = """
import sys, types
from importlib.machinery import ModuleSpec

import numpy as np
import rbgs

rbgs.StraightThrough().sample(np.zeros((2, 3)), rng=0)
for name in ("torch", "jax", "numpy.ma"):
    half = types.ModuleType(name)
    half.__spec__ = ModuleSpec(name, None)
    half.__spec__._initializing = True  # what the import of Python says of it
    sys.modules[name] = half

estimator = {estimator}
draw = estimator.sample(np.zeros((2, 3)), rng=np.random.default_rng(0))
vector = draw.vjp(np.ones((2, 3)))
print(float(draw.value.sum()), bool(np.abs(vector).max() < 1e-12))
"""


@pytest.mark.parametrize("estimator", ["rbgs.GumbelRao(0.5)", "rbgs.StraightThrough()"])
def test_a_draw_while_another_thread_imports_a_framework(estimator):
    code = CODE.format(estimator=estimator)
    assert run(code, RBGS_COMPILED="0") == ("2.0 True", "")
