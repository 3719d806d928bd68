"""The switch of the compiled engine, and Numba that is there but does not work."""

import os
import shutil
from pathlib import Path
from textwrap import dedent

import pytest
from processes import run

import rbgs

# What a process does: it prints the warnings, and whether results are right and is_compiled.
DRAW = """
import sys, warnings
import numpy as np
import rbgs
from concurrent.futures import ThreadPoolExecutor

logits = np.asarray([[0.0, 1.0, -2.0], [4.0, 0.0, 2.0]])

def oracle(value):
    return value[..., 1], value * 0

def is_right(_=None):
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    expected = p * (np.eye(3)[1] - p[:, 1:2])
    return np.allclose(rbgs.exact_gradient(oracle, logits), expected)

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    with ThreadPoolExecutor(4) as pool:
        right = all(pool.map(is_right, range(8)))
"""
REPORT = """
for warning in caught:
    print(warning.category.__name__, warning.message)
print(right, rbgs.is_compiled())
"""


def reported(code=DRAW, **environment):
    """Return the warnings and the last line that a process prints."""
    out, err = run(code + REPORT, **{"RBGS_COMPILED": "", **environment})
    assert err == ""
    *warnings, last = out.splitlines()
    return warnings, last


def check_warning(warnings, *words):
    """Assert that there is one warning, and that it says how to silence it."""
    (warning,) = warnings
    assert warning.startswith("RuntimeWarning")
    for word in ("RBGS_COMPILED=0", *words):
        assert word in warning


@pytest.fixture
def broken(tmp_path):
    """Return a function that makes the environment in which a package fails with an error."""

    def make(package, source):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(source)
        return {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}

    return make


@pytest.mark.parametrize(
    ("package", "source", "word"),
    [
        ("numba", "raise ImportError('Numba needs NumPy 2.3 or less')", "NumPy 2.3"),
        ("numba", "raise AttributeError('_ARRAY_API not found')", "AttributeError"),
        ("numba", "import llvmlite.not_there", "llvmlite"),
        ("numba", "", "numba"),
        ("llvmlite", "raise OSError('libLLVM.so: cannot open')", "libLLVM.so"),
    ],
    ids=["wrong NumPy", "binary interface", "dependency", "empty", "broken llvmlite"],
)
def test_numba_that_cannot_be_imported(broken, package, source, word):
    if package != "numba":
        pytest.importorskip("numba")
    warnings, last = reported(**broken(package, source))
    check_warning(warnings, "NumPy computes alone", word)
    assert last == "True False"


def test_numba_whose_compiler_is_switched_off():
    pytest.importorskip("numba")
    warnings, last = reported(NUMBA_DISABLE_JIT="1")
    check_warning(warnings, "NUMBA_DISABLE_JIT")
    assert last == "True False"


def test_numba_that_cannot_compile():
    pytest.importorskip("numba")
    code = """
    import numba.core.codegen
    def fail(*_):
        raise RuntimeError("no memory may be executed")
    numba.core.codegen.CPUCodeLibrary.finalize = fail
    """
    warnings, last = reported(dedent(code) + DRAW)
    check_warning(warnings, "no memory may be executed")
    assert last == "True False"


def test_no_numba():
    assert reported("import sys; sys.modules['numba'] = None" + DRAW) == ([], "True False")


def test_switched_off_there_is_no_warning(broken):
    off = {**broken("numba", "raise ImportError"), "RBGS_COMPILED": "0"}
    assert reported(**off) == ([], "True False")


def test_a_warning_that_is_an_error_is_raised_once(broken):
    code = """
    import warnings
    warnings.simplefilter("error")
    import numpy as np, rbgs
    try:
        rbgs.is_compiled()
    except RuntimeWarning:
        print("warned")
    print(rbgs.is_compiled(), rbgs.GumbelRao(0.5).sample(np.zeros((2, 3)), index=0, rng=0).index)
    """
    out, _ = run(code, RBGS_COMPILED="", **broken("numba", "raise ImportError"))
    assert out.splitlines() == ["warned", "False [0 0]"]


@pytest.fixture
def no_cache(tmp_path):
    """Return the environment of a copy of the library where Numba finds no folder to write to."""
    package = tmp_path / "rbgs"
    shutil.copytree(Path(rbgs.__file__).parent, package, ignore=lambda *_: ["__pycache__"])
    (package / "compiled" / "__pycache__").write_text("a file, no folder")
    file = str(package / "compiled" / "__pycache__" / "below")
    return {
        **dict.fromkeys(("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA", "NUMBA_CACHE_DIR"), file),
        "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
    }


AT = "import os, sys; sys.path.insert(0, os.environ['PYTHONPATH'].split(os.pathsep)[0])\n"


def test_no_folder_for_the_cache(no_cache):
    pytest.importorskip("numba")
    warnings, last = reported(AT + DRAW, **no_cache)
    check_warning(warnings, "NUMBA_CACHE_DIR")
    assert last == "True True"


JAX = """
import warnings
import jax, numpy as np
import rbgs, rbgs.jax

logits = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
noise = rbgs.GumbelRao(0.5).noise(logits, 0)

@jax.jit
def gradient(logits):
    def value(x):
        return rbgs.jax.sample(rbgs.GumbelRao(0.5), None, x, noise=jax.numpy.asarray(noise))
    return jax.vjp(value, logits)[1](logits)[0]

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    program = gradient.lower(logits).as_text()
    expected = rbgs.GumbelRao(0.5).sample(logits, noise=noise).vjp(logits)
    right = np.allclose(gradient(logits), expected, atol=1e-4), "rbgs_product" in program
"""


@pytest.mark.parametrize(
    ("package", "source"), [("numba", "raise ImportError"), ("llvmlite", "raise OSError")]
)
def test_jax_with_numba_that_does_not_work(broken, package, source):
    pytest.importorskip("jax")
    pytest.importorskip("numba")
    warnings, last = reported(JAX, **broken(package, source))
    check_warning(warnings, "NumPy computes alone")
    assert last == "(True, False) False"


def test_an_engine_for_jax_alone_that_does_not_work():
    pytest.importorskip("jax")
    pytest.importorskip("numba")
    warnings, last = reported("import sys; sys.modules['rbgs.compiled.xla'] = None" + JAX)
    check_warning(warnings, "XLA computes alone")
    assert last == "(True, False) True"


def test_jax_whose_foreign_functions_have_another_major_version(tmp_path):
    pytest.importorskip("jax")
    pytest.importorskip("numba")
    code = f"""
    import rbgs
    rbgs.is_compiled()
    import numba
    numba.config.CACHE_DIR = {str(tmp_path)!r}
    from rbgs.compiled import xla
    xla.MAJOR = 1  # that of the engine: XLA refuses it
    """
    warnings, last = reported(dedent(code) + JAX)
    check_warning(warnings, "XLA computes alone", "API version (1.")
    assert last == "(True, False) True"


@pytest.mark.slow
def test_jax_without_a_folder_for_the_cache(no_cache):
    pytest.importorskip("jax")
    pytest.importorskip("numba")
    warnings, last = reported(AT + JAX, **no_cache)
    check_warning(warnings, "NUMBA_CACHE_DIR")
    assert last == "(True, True) True"


@pytest.mark.parametrize("given", ["0", "false", "No", "OFF", " 0 "])
def test_spellings_of_off(given):
    assert run("import rbgs; print(rbgs.is_compiled())", RBGS_COMPILED=given) == ("False", "")


@pytest.mark.parametrize("given", ["", "1", "true", "Yes", "ON"])
def test_spellings_of_on(given):
    pytest.importorskip("numba")
    assert run("import rbgs; print(rbgs.is_compiled())", RBGS_COMPILED=given) == ("True", "")


@pytest.mark.parametrize("given", ["2", "none", "-", "disable"])
def test_what_is_neither_on_nor_off(given):
    code = """
    try:
        import rbgs
    except ValueError as error:
        print(error)
    """
    out, _ = run(code, RBGS_COMPILED=given)
    assert "RBGS_COMPILED" in out
    assert repr(given) in out


@pytest.mark.parametrize("flag", ["0", "false", None, 2, 0.5])
def test_the_switch_takes_truth_values(flag):
    with pytest.raises(TypeError, match="True or False"):
        rbgs.set_compiled(flag)


def test_numba_is_not_imported_before_it_is_used():
    pytest.importorskip("numba")
    code = """
    import sys, rbgs
    rbgs.set_compiled(True)
    rbgs.GumbelRao(0.5)
    print("numba" in sys.modules, rbgs.is_compiled(), "numba" in sys.modules)
    """
    assert run(code, RBGS_COMPILED="")[0] == "False True True"
