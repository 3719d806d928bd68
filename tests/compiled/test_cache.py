"""What was compiled is found again by later processes, and without a folder there is a warning."""

import importlib.util
import os
import pkgutil
import shutil
from pathlib import Path
from textwrap import dedent

import pytest
from processes import run

import rbgs

pytest.importorskip("numba")

COMPILED = """
from numba.core import event
with event.install_recorder("numba:compile") as recorder:
    {}
print([x.data["dispatcher"].py_func.__name__ for _, x in recorder.buffer if x.is_start])
"""

BOTH_ENGINES = """
import jax, numpy as np
import rbgs, rbgs.jax

logits = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
estimator = rbgs.GumbelRao(0.5)
noise = estimator.noise(logits, 0)

def value(x):
    return rbgs.jax.sample(estimator, None, x, noise=jax.numpy.asarray(noise))

@jax.jit
def gradient(logits):
    return jax.vjp(value, logits)[1](logits)[0]

def compute():
    expected = estimator.sample(logits, noise=noise).vjp(logits)
    assert "rbgs_product" in gradient.lower(logits).as_text()
    assert np.allclose(gradient(logits), expected, atol=1e-4)
"""


def compiled(code, call, **environment):
    """Return the names of the functions that a process compiles; it must not warn."""
    out, err = run(code + COMPILED.format(call), RBGS_COMPILED="", **environment)
    assert err == ""
    return out


def files(folder):
    """Return the files of a folder, and when they were written."""
    return {x: (x.stat().st_size, x.stat().st_mtime_ns) for x in folder.rglob("*") if x.is_file()}


# About 20 seconds: the first process compiles all of both engines in single precision.
def test_a_second_process_compiles_nothing(tmp_path):
    pytest.importorskip("jax")
    first = compiled(BOTH_ENGINES, "compute()", NUMBA_CACHE_DIR=str(tmp_path))
    assert "'product'" in first
    assert "'product_float32'" in first
    written = files(tmp_path)
    assert compiled(BOTH_ENGINES, "compute()", NUMBA_CACHE_DIR=str(tmp_path)) == "[]"
    assert files(tmp_path) == written


def test_no_compiled_function_is_a_closure():
    # The key of Numba's cache depends on what it holds.
    pytest.importorskip("jax")
    from numba.core.dispatcher import Dispatcher

    found = 0
    package = importlib.import_module("rbgs.compiled")
    for module in pkgutil.iter_modules(package.__path__, "rbgs.compiled."):
        for x in vars(importlib.import_module(module.name)).values():
            if isinstance(x, Dispatcher):
                found += 1
                assert x.py_func.__closure__ is None, x
                assert "<locals>" not in x.py_func.__qualname__, x
    assert found > 20


@pytest.fixture
def copy(tmp_path):
    """Return the folder of a copy of the library, and the environment in which it is imported."""
    package = tmp_path / "copy" / "rbgs"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(rbgs.__file__).parent, package, ignore=ignore)
    path = os.pathsep.join([str(package.parent), os.environ.get("PYTHONPATH", "")])
    return package, {"PYTHONPATH": path, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}


AT = "import os, sys; sys.path.insert(0, os.environ['PYTHONPATH'].split(os.pathsep)[0])\n"
IMPORT = "import rbgs; assert rbgs.is_compiled()"


def test_a_change_in_another_file_compiles_anew(copy):
    package, environment = copy
    assert compiled(AT, IMPORT, **environment).startswith("['check'")
    assert compiled(AT, IMPORT, **environment) == "[]"
    kernels = package / "compiled" / "kernels.py"
    kernels.write_text(kernels.read_text() + "# changed\n")
    assert compiled(AT, IMPORT, **environment).startswith("['check'")
    assert compiled(AT, IMPORT, **environment) == "[]"


def test_broken_files_are_written_anew(tmp_path):
    environment = {"NUMBA_CACHE_DIR": str(tmp_path)}
    assert compiled("", IMPORT, **environment).startswith("['check'")
    for file in files(tmp_path):
        file.write_bytes(file.read_bytes()[:-100] if file.suffix == ".nbc" else b"")
    assert compiled("", IMPORT, **environment).startswith("['check'")
    assert compiled("", IMPORT, **environment) == "[]"


def test_where_the_folder_that_was_set_cannot_be_written_to_another_one_is_taken(copy, tmp_path):
    _, environment = copy
    (tmp_path / "cache").write_text("a file, no folder")
    assert compiled(AT, IMPORT, **environment).startswith("['check'")
    assert compiled(AT, IMPORT, **environment) == "[]"


# The folder is lost after the import, or there is no room left in it.
LOSS = {
    "gone": """
        shutil.rmtree(folder)
        folder.write_text("a file, no folder")
    """,
    "full": """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    """,
}
ENGINES = """
import os, shutil, warnings
from pathlib import Path
import numpy as np
import rbgs
from rbgs.arrays.engine import engine_for

folder = Path(os.environ["NUMBA_CACHE_DIR"])
logits = np.zeros((2, 3), "float32")
engine = engine_for(logits)
{}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("{}")
    try:
        engine.normalise(logits)
    except RuntimeWarning as warning:
        caught.append(warning)
    assert np.allclose(engine.normalise(logits)[0], -np.log(2))
    if "jax" in "{}":
        import jax
        assert engine_for(jax.numpy.asarray(logits)) is not None
warnings = [str(getattr(x, "message", x)) for x in caught]
print(*warnings, sep="\\n")
"""


@pytest.mark.parametrize("filter_", ["always", "error"])
@pytest.mark.parametrize("loss", LOSS)
def test_a_folder_that_is_lost_is_reported_once(loss, filter_, tmp_path):
    if loss == "full":
        pytest.importorskip("resource")
    other = "jax" if filter_ == "always" and importlib.util.find_spec("jax") else ""
    code = ENGINES.format(dedent(LOSS[loss]), filter_, other)
    out, _ = run(code, RBGS_COMPILED="", NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    (warning,) = out.splitlines()
    for word in ("NUMBA_CACHE_DIR", "RBGS_COMPILED=0", str(tmp_path / "cache")):
        assert word in warning
