"""Sessions: `nox -l` lists them, `nox -s NAME -- ARGS` runs one."""

import re
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "venv"
nox.options.sessions = ["tests", "lint", "types"]

PROJECT = nox.project.load_toml("pyproject.toml")


def group(name):
    return nox.project.dependency_groups(PROJECT, name)


def install(session, *packages, constraints="constraints.txt"):
    session.install("-c", constraints, *packages)


def peers(session):
    """Install what tests compare with, without its dependencies: they are there."""
    install(session, "--no-deps", "reinmax")


def pytest(session, *arguments):
    session.run("pytest", "-n", "auto", "--dist", "worksteal", *arguments, *session.posargs)


def all_libraries(session):
    """Install what the tests need over all array libraries that run on a CPU."""
    extras = "torch,jax,autograd,dask,fast,pyro,numpyro,distrax"
    install(session, "-e", f".[{extras}]", "optax", *group("tests"))
    peers(session)


def benchmark(session, module, *default, extras="benchmarks,torch,jax,fast"):
    install(session, "-e", f".[{extras}]")
    session.run("python", "-m", f"benchmarks.{module}", *(session.posargs or default))


@nox.session
def demo(session):
    """The paper's quadratic programme: tables and a figure."""
    benchmark(session, "experiments.quadratic", extras="benchmarks")


@nox.session
def tests(session):
    """All tests over all array libraries that run on a CPU, and the doctests."""
    all_libraries(session)
    pytest(session, "--ignore", "tests/benchmarks")  # those have a session of their own


@nox.session
def tests_slow(session):
    """Those that take many seconds each: shardings, exports, compiled structures, large graphs."""
    all_libraries(session)
    pytest(session, "--slow", "-m", "slow", "--ignore", "tests/benchmarks")


@nox.session
def tests_numpy(session):
    """The core dependencies only, in the oldest versions supported."""
    packages = [p for p in group("tests") if not p.startswith("array-api-strict")]
    install(session, "-e", ".", *packages, constraints="constraints-oldest.txt")
    pytest(session, "--backend", "numpy")


@nox.session
def tests_strict(session):
    """array-api-strict, the judge of conformance."""
    install(session, "-e", ".", *group("tests"))
    pytest(session, "--backend", "array_api_strict")


@nox.session
def tests_torch(session):
    """PyTorch."""
    install(session, "-e", ".[torch,pyro]", *group("tests"))
    peers(session)
    pytest(session, "--backend", "torch")


@nox.session
def tests_jax(session):
    """JAX."""
    install(session, "-e", ".[jax,numpyro]", "optax", *group("tests"))
    pytest(session, "--backend", "jax")


@nox.session
def tests_tensorflow(session):
    """The recipe for TensorFlow, which goes through DLPack."""
    install(session, "-e", ".", "tensorflow-cpu", *group("tests"))
    pytest(session, "tests/test_tensorflow.py")


@nox.session
def tests_cupy(session):
    """CuPy; the tests skip where there is no GPU."""
    install(session, "-e", ".[cupy]", *group("tests"))
    pytest(session, "--backend", "cupy")


@nox.session
def tests_experiments(session):
    """The experiments: their tests and smoke runs."""
    install(session, "-e", ".[benchmarks,torch,jax,fast]", *group("tests"))
    pytest(session, "--slow", "tests/benchmarks")


@nox.session
def lint(session):
    """Lint and format check, and schemas of what is no Python."""
    install(session, *group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    github = Path(".github")
    for schema, *files in (
        ("citation-file-format", "CITATION.cff"),
        ("github-workflows", *github.glob("workflows/*.yml")),
        ("github-issue-config", github / "ISSUE_TEMPLATE/config.yml"),
        ("github-issue-forms", *github.glob("ISSUE_TEMPLATE/*_*.yml")),
    ):
        session.run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *files)


@nox.session
def types(session):
    """Strict type check."""
    install(session, "-e", ".", *group("types"))
    session.run("mypy")


@nox.session
def bench(session):
    """Speed and memory against PyTorch and JAX."""
    benchmark(session, "measurements.speed")


@nox.session
def compare(session):
    """Every estimator on three problems: bias, variance and cost, as tables and a picture."""
    benchmark(session, "measurements.field", extras="benchmarks,fast")


@nox.session
def variance(session):
    """Variance of the sampling schemes, and time × variance against PyTorch."""
    benchmark(session, "measurements.variance", extras="benchmarks,torch,fast")


@nox.session
def features(session):
    """Feature selection, k of the digits' pixels in every forward pass: a table and a figure."""
    benchmark(session, "experiments.feature_selection", extras="benchmarks,torch,fast")


@nox.session
def tree(session):
    """A latent tree, found with drawn spanning trees: a table and a figure."""
    benchmark(session, "experiments.latent_tree", extras="benchmarks,torch,fast")


@nox.session
def cost(session):
    """Time of a training step and of a loss evaluation of the VAE, with each estimator."""
    benchmark(session, "measurements.cost")


@nox.session
def sweep(session):
    """Studies of every estimator on a Dask cluster; by default the smallest specification."""
    benchmark(session, "sweeps.run", "benchmarks/sweeps/smoke.toml")


@nox.session
def report(session):
    """Tables and figures of the rows of sweeps, in docs/results."""
    benchmark(session, "sweeps.report", "docs/results/rows.sqlite", extras="benchmarks,jax")


@nox.session
def docs(session):
    """The documentation as HTML, in docs/_build/html; its tutorials are executed."""
    install(session, "-e", ".[docs,torch,jax,autograd,dask,fast,pyro,numpyro,distrax,benchmarks]")
    for made in ("docs/_build", "docs/reference/generated"):
        shutil.rmtree(made, ignore_errors=True)
    build = ("sphinx-build", "-W", "--keep-going", "-j", "auto", "-b", "html")
    session.run(*build, "docs", "docs/_build/html")


@nox.session(requires=["docs"])
def docs_check(session):
    """The site in a browser: links, layout, formulas, contrast, search; `-- --screenshots DIR`."""
    install(session, *group("site"))
    if not shutil.which("chromium"):
        session.run("playwright", "install", "chromium")
    pytest(session, "--confcutdir", "tests/site", "--site", "docs/_build/html", "tests/site")


@nox.session
def build(session):
    """Wheel and sdist in dist: their metadata, what they hold, and each at work by itself."""
    install(session, *group("release"))
    shutil.rmtree("dist", ignore_errors=True)
    session.run("validate-pyproject", "pyproject.toml")
    session.run("python", "-m", "build")
    packages = sorted(Path("dist").iterdir())
    session.run("twine", "check", "--strict", *packages)
    session.run("check-wheel-contents", "dist")
    session.run("python", "tests/release/contents.py", "dist")
    for package in packages:
        alone = ("uv", "run", "--isolated", "--no-project", "--with", package)
        session.run(*alone, "python", "-I", "tests/release/smoke.py")


@nox.session
def resolve(session):
    """All extras together have a solution for each Python supported: the versions chosen."""
    install(session, *group("release"))
    extras = PROJECT["project"]["optional-dependencies"].values()
    direct = [*PROJECT["project"]["dependencies"], *(x for extra in extras for x in extra)]
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in direct}
    for python in nox.project.python_versions(PROJECT):
        command = ("uv", "pip", "compile", "--all-extras", "--no-annotate", "--no-header")
        output = session.run(*command, "--python-version", python, "pyproject.toml", silent=True)
        chosen = [x for x in output.splitlines() if x.partition("==")[0] in names]
        session.log("Python %s: %s", python, ", ".join(chosen))
