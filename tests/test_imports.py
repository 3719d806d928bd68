"""Importing the library is cheap and imports no framework."""

import subprocess
import sys

CODE = """
import sys, time, numpy
start = time.perf_counter()
import rbgs
print(time.perf_counter() - start)
frameworks = ("torch", "jax", "cupy", "autograd", "dask", "scipy")
print(*(name for name in frameworks if name in sys.modules))
"""


def test_import():
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    seconds, frameworks = run.stdout.splitlines()
    assert frameworks == ""
    assert float(seconds) < 0.3


def test_all_names_are_there():
    import rbgs

    assert all(hasattr(rbgs, name) for name in rbgs.__all__)
    assert rbgs.__all__ == sorted(rbgs.__all__)
