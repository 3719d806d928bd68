"""Importing the library is cheap: it loads few modules, and none of a framework."""

import subprocess
import sys

CODE = """
import sys, numpy.random
before = set(sys.modules)
import rbgs
print(*set(sys.modules) - before)
"""
NEEDED = {"rbgs", "numpy", "array_api_compat", "array_api_extra"}


def test_import():
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    modules = run.stdout.split()
    packages = {name.partition(".")[0] for name in modules}
    assert packages - sys.stdlib_module_names <= NEEDED
    assert len(modules) < 200


def test_all_names_are_there():
    import rbgs

    assert all(hasattr(rbgs, name) for name in rbgs.__all__)
    assert rbgs.__all__ == sorted(rbgs.__all__)
