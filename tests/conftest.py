import importlib.util
import re

import pytest
from backends import Backend
from hypothesis import HealthCheck, settings
from memory import Programs

import rbgs

settings.register_profile(
    "rbgs",
    deadline=None,
    derandomize=True,
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("rbgs")
programs = Programs()


def pytest_addoption(parser):
    parser.addoption(
        "--backend",
        action="append",
        choices=[backend.value for backend in Backend],
        help="run over this array library; may be repeated (default: all)",
    )
    parser.addoption("--slow", action="store_true", help="also run tests marked slow")


def pytest_collection_modifyitems(config, items):
    for item in items:
        for name in imports(item.dtest) if isinstance(item, pytest.DoctestItem) else ():
            if importlib.util.find_spec(name) is None:
                item.add_marker(pytest.mark.skip(reason=f"its example needs {name}"))
    for item in items:
        if is_quadrature_in_jax(item):
            item.add_marker(pytest.mark.slow)
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


def is_quadrature_in_jax(item):
    """Tell whether JAX compiles the long program of the exact estimator, for each shape anew."""
    values = item.callspec.params.values() if hasattr(item, "callspec") else ()
    is_exact = any(getattr(value, "sampling", None) == "exact" for value in values)
    return is_exact and (Backend.JAX in values or item.path.parent.name == "jax")


def imports(doctest):
    """Return the top modules that an example imports by name."""
    found = re.findall(
        r"^import (.+)", "".join(x.source for x in doctest.examples), flags=re.MULTILINE
    )
    return {part.split()[0].split(".")[0] for names in found for part in names.split(",")}


def pytest_generate_tests(metafunc):
    if "backend" in metafunc.fixturenames:
        names = metafunc.config.getoption("--backend")
        chosen = [b for b in Backend if names is None or b.value in names]
        metafunc.parametrize("backend", chosen, ids=[b.value for b in chosen])


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown():
    programs.forget_if_many()


@pytest.fixture
def xp(backend):
    return backend.load()


@pytest.fixture(params=["numpy", "compiled"])
def engine(request):
    """Name the engine for NumPy arrays that is in use."""
    was = rbgs.is_compiled()
    if request.param == "compiled":
        pytest.importorskip("numba")
    rbgs.set_compiled(request.param == "compiled")
    yield request.param
    rbgs.set_compiled(was)


@pytest.fixture
def compiled():
    """Have NumPy arrays go through the compiled engine."""
    pytest.importorskip("numba")
    was = rbgs.is_compiled()
    rbgs.set_compiled(True)
    yield
    rbgs.set_compiled(was)
