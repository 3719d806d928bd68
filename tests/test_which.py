"""The decision tree of docs/estimators.md: rows support it, the page and the picture show it."""

import importlib.util
import re
import shutil
from pathlib import Path

import pytest

for module in ("optax", "matplotlib", "tabulate", "pandas"):
    pytest.importorskip(module)

from benchmarks.sweeps import summary  # noqa: E402
from benchmarks.sweeps.layouts import LAYOUTS  # noqa: E402
from benchmarks.sweeps.results import read  # noqa: E402
from benchmarks.sweeps.store import Store  # noqa: E402

DOCS = Path(__file__).parents[1] / "docs"
_spec = importlib.util.spec_from_file_location("which", DOCS / "which.py")
which = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(which)
NUMBERED = dict(enumerate(which.BRANCHES, 1))
EVIDENCE = [(number, x) for number, branch in NUMBERED.items() for x in branch.evidence]
IDS = [f"{number}-{x.sweep}-{x.column}" for number, x in EVIDENCE]
PAGE = (DOCS / "estimators.md").read_text()
LINES = {
    int(number): " ".join(line.split())
    for number, line in re.findall(r"^(\d+)\. (.*?)(?=^\d+\. |^$)", PAGE, flags=re.M | re.S)
}


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory):
    rows = tmp_path_factory.mktemp("rows") / "rows.sqlite"
    return read(Store(Path(shutil.copyfile(DOCS / "results/rows.sqlite", rows))))


def behind(sweeps, evidence):
    """Return how far an estimator is behind each of those that it is compared with."""
    results, layout = sweeps[evidence.sweep].column(evidence.column), LAYOUTS[evidence.sweep]
    mine = results[evidence.estimator]
    assert mine.whole
    unit = layout.sign * layout.scale
    others = set(evidence.against) - {evidence.estimator}
    return {
        name: unit * (mine.mean - result.mean)
        for name, result in results.items()
        if name in others and len(result.scores)
    }


@pytest.mark.parametrize("evidence", [x for _, x in EVIDENCE], ids=IDS)
def test_no_other_estimator_is_better_by_more_than_is_stated(evidence, sweeps):
    found = behind(sweeps, evidence)
    assert found
    assert max(found.values()) <= evidence.within, found


def test_evidence_that_does_not_hold_would_be_found(sweeps):
    wrong = which.Evidence("paper", (120, 2), "GR", which.DISCRETE)
    assert max(behind(sweeps, wrong).values()) > 1


@pytest.mark.parametrize(("number", "evidence"), EVIDENCE, ids=IDS)
def test_the_line_of_the_page_states_the_score_and_links_to_it(number, evidence, sweeps):
    mean = sweeps[evidence.sweep].results[evidence.estimator, evidence.column].mean
    assert f"{mean * LAYOUTS[evidence.sweep].scale:.1f}" in LINES[number]
    page = "vae" if evidence.sweep in ("mnist", "shapes", "paper") else evidence.sweep
    assert f"(results/{page}.md)" in LINES[number]


def test_every_branch_has_its_line_with_what_it_takes():
    assert LINES.keys() == NUMBERED.keys()
    for number, branch in NUMBERED.items():
        code = "".join(branch.code.split("\n")).partition("=…")[0]
        assert f"`{code}" in LINES[number]
        assert ("**Otherwise**" in LINES[number]) == (not branch.question)


@pytest.mark.parametrize("branch", [x for x in which.BRANCHES if x.estimate], ids=lambda x: x.code)
def test_one_estimate_has_less_error_for_its_evaluations(branch):
    tables = PAGE.partition("## What they measure")[2]

    def by_evaluations(name):
        rows = re.findall(rf"^\| {name} +\|(.+)\|$", tables, flags=re.MULTILINE)
        return [float(row.split("|")[3]) for row in rows]

    better, worse = map(by_evaluations, branch.estimate)
    assert len(better) == len(worse) == 3
    assert all(x < y for x, y in zip(better, worse, strict=True))


def test_only_reinmax_ranks_as_well_as_the_default_with_discrete_values(sweeps):
    found = list(summary.standing({name: sweeps[name] for name in LAYOUTS if name in sweeps}))
    assert set(found[: found.index("GR")]) & set(which.DISCRETE) <= {"ReinMax"}
    assert "only `ReinMax()` has as good a [mean rank](results/summary.md)" in LINES[6]


@pytest.mark.parametrize("name", ["which", "which-tall"])
def test_the_picture_is_of_this_tree(name):
    picture = (DOCS / f"{name}.svg").read_text().replace("&quot;", '"')
    assert which.describe() in picture
    assert f"```{{figure}} {name}.svg" in PAGE
