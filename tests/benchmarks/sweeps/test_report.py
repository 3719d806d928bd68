"""Reports: what becomes of rows in tables and figures."""

import math
from pathlib import Path

import pytest

for module in ("optax", "typer", "matplotlib", "tabulate"):
    pytest.importorskip(module)
pytest.importorskip("pandas")

import numpy as np  # noqa: E402

from benchmarks.sweeps import drawings, layouts, report, results, summary, tables  # noqa: E402
from benchmarks.sweeps.store import Row, Store, cell_name, merge  # noqa: E402

RESULTS = Path(__file__).parents[3] / "docs/results"
SPECIFICATION = """
[[columns]]
{columns}

[search.fixed]
budget = 50

[search.ranges]
learning_rate = {{ low = 1e-4, high = 1e-2 }}
{ranges}
"""
TEMPERATURE = "temperature = { low = 0.1, high = 2.0 }"
DIVERGED = (
    "Traceback (most recent call last):\n  ...\nFloatingPointError: the loss is nan\nA hint.\n"
)
SHARED = {"batch": 20, "budget": 100, "knob": None, "clip": math.inf, "temperature": 0.314}


def row(sweep, stage, config, result=None, error=None, at="2026-01-01"):
    config = SHARED | {"learning_rate": 0.00123, "seed": 0} | config
    return Row(cell_name(sweep, stage, config), sweep, stage, config, result, error, "", at, 1.0)


def curve(level):
    moments = {"variance": 3 * level, "bias2": level, "mse": 4 * level, "norm2": 2.0}
    return [{"step": step, "score": level + 1 / step, **moments} for step in (50, 100)]


def seeds(sweep, config, *scores, at="2026-01-01"):
    """Return rows at test; a score that is None failed."""
    for seed, score in enumerate(scores, 1):
        result = {"curve": curve(1.0 if score is None else score)}
        result |= {} if score is None else {"test": score}
        error = DIVERGED if score is None else None
        yield row(sweep, "test", config | {"seed": seed}, result, error, at)


def trials(sweep, config, *scores):
    for number, score in enumerate(scores):
        found = {} if score is None else {"result": {"valid": score}}
        error = DIVERGED if score is None else None
        trial = config | {"learning_rate": 0.1 + number, "budget": 50}
        yield row(sweep, "search", trial, found.get("result"), error)


def store_of(path, *rows, **columns):
    """Return a file of rows, with specifications that have columns."""
    store = Store(path)
    for name, text in columns.items():
        ranges = "" if name == "listops" else TEMPERATURE
        store.add_sweep(name, SPECIFICATION.format(columns=text, ranges=ranges))
    store.add([x for some in rows for x in some])
    return store


WIDE, LONG = {"variables": 8, "arity": 64}, {"variables": 16, "arity": 8}


@pytest.fixture
def store(tmp_path):
    def of(name, column=WIDE, **config):
        return {"estimator": name, **column, **config}

    return store_of(
        tmp_path / "rows.sqlite",
        trials("mnist", of("ST-GS"), 100.0, 101.0),
        seeds("mnist", of("ST-GS"), 99.0, 101.0),
        trials("mnist", of("GR"), 97.0, None),
        seeds("mnist", of("GR", learning_rate=0.5), 50.0, 50.0),  # of a search before
        seeds("mnist", of("GR"), 96.0, 96.0, at="2026-01-02"),
        seeds("mnist", of("ReinMax"), 95.0, 98.0),
        seeds("mnist", of("RLOO", knob=4), 90.0, None),
        seeds("mnist", of("VIMCO", knob=2), None, None),
        trials("mnist", of("REINFORCE"), None, None),
        trials("mnist", of("ST"), 120.0, 130.0),  # has not been tested yet
        seeds("mnist", of("GR", LONG), 98.0),
        seeds("mnist", of("ST-GS", LONG), 98.0),
        mnist="variables = 8\narity = 64\nbudget = 100\nfurther = ['VIMCO']\n"
        "[[columns]]\nvariables = 16\narity = 8",
    )


SCORES = """\
**Bound at test in nats, lower is better**

| estimator   |                                           8 × 64 |    16 × 8 |
|:------------|-------------------------------------------------:|----------:|
| ST          |                                                – |         – |
| ST-GS       |                                    100.00 ± 1.00 | **98.00** |
| GR          |                                 **96.00 ± 0.00** | **98.00** |
| ReinMax     |                                 **96.50 ± 1.50** |         – |
| REINFORCE   |                                  failed (search) |         – |
| RLOO        |                            90.00 (1 of 2 failed) |         – |
| VIMCO       |                                 failed (2 seeds) |         – |
"""
CHOSEN = """\
**What the search chose**

| estimator   |                  8 × 64 |         16 × 8 |
|:------------|------------------------:|---------------:|
| ST          |                       – |              – |
| ST-GS       |          0.0012, τ 0.31 | 0.0012, τ 0.31 |
| GR          | 0.0012, τ 0.31 (1 of 2) | 0.0012, τ 0.31 |
| ReinMax     |          0.0012, τ 0.31 |              – |
| REINFORCE   |              – (2 of 2) |              – |
| RLOO        |          0.0012, τ –, 4 |              – |
| VIMCO       |          0.0012, τ –, 2 |              – |
"""


def cells(text):
    """Return what stands in a table, whatever the widths."""
    return [[x.strip(" :-") for x in line.split("|")] for line in text.splitlines() if line]


def test_scores_are_means_with_errors_and_what_failed_says_so(store):
    (table,) = tables.scores(results.read(store)["mnist"], layouts.LAYOUTS["mnist"])
    caption = table.caption
    table.caption = ""
    assert cells(str(table)) == cells(SCORES)
    assert "over 1 to 2 seeds" in caption
    assert "within 2 standard errors" in caption
    assert "never bold" in caption
    assert "failed: REINFORCE, RLOO, VIMCO, `FloatingPointError: the loss is nan`." in caption


def test_the_choice_of_the_search_is_shown(store):
    (table,) = tables.chosen(results.read(store)["mnist"], layouts.LAYOUTS["mnist"])
    caption = table.caption
    table.caption = ""
    assert cells(str(table)) == cells(CHOSEN)
    assert "of an estimator that has none" in caption
    assert "number of samples of RLOO" in caption


def test_ranks_share_ties_and_end_with_what_failed(store):
    sweep = results.read(store)["mnist"]
    wide, long = (summary.places(sweep.column(c), layouts.LAYOUTS["mnist"]) for c in sweep.columns)
    assert {name: place.rank for name, place in wide.items()} == {
        "GR": 1, "ReinMax": 2, "ST-GS": 3, "RLOO": 6, "VIMCO": 6, "REINFORCE": 6,
    }  # fmt: skip
    assert [wide[name].share for name in ("GR", "ReinMax", "RLOO")] == [0.0, 0.2, 1.0]
    # The distances are 0, 0.5 and 4.
    assert [wide[name].regret for name in ("GR", "ReinMax", "ST-GS")] == [0.0, 1.0, 8.0]
    assert math.isnan(wide["RLOO"].regret)
    assert [name for name, place in wide.items() if place.top] == ["GR", "ReinMax"]
    assert {name: place.rank for name, place in long.items()} == {"ST-GS": 1.5, "GR": 1.5}
    assert [place.regret for place in long.values()] == [0.0, 0.0]


def test_a_higher_accuracy_is_the_better_one():
    layout = layouts.LAYOUTS["listops"]
    config = {"estimator": "GR"}
    good, bad = (results.Result([], list(seeds("listops", config, x))) for x in (0.6, 0.5))
    assert tables.best({"ST-GS": bad, "GR": good}, layout) == {"GR"}
    assert summary.places({"ST-GS": bad, "GR": good}, layout)["GR"].rank == 1


def test_an_estimator_that_is_alone_in_a_column_is_not_ranked(tmp_path):
    alone = seeds("mnist", {"estimator": "GR", **WIDE}, 1.0, 2.0)
    store = store_of(tmp_path / "rows.sqlite", alone, mnist="variables = 8\narity = 64")
    assert not summary.standing(results.read(store))
    (page,) = report.write(store, tmp_path / "out")
    assert "1.50 ± 0.50" in page.read_text()
    assert "**1.50" not in page.read_text()


def test_the_summary_counts_each_task_the_same(store):
    standing = summary.standing(results.read(store))
    ranks, distances = summary.summary_tables(standing)
    assert list(standing)[:2] == ["ReinMax", "GR"]  # (0.2) and (0 + 0.5) / 2
    assert [list(x) for x in ranks.rows][:3] == [
        ["ReinMax", "0.20", "1 of 1", "2.0"],
        ["GR", "0.25", "2 of 2", "1.2"],
        ["ST-GS", "0.45", "1 of 2", "2.2"],
    ]
    assert ranks.columns[-1] == "VAE, MNIST (6)"
    shown = dict(distances.rows)
    assert shown["ST-GS"] == "4.00"
    assert shown["RLOO"] == "– (1 failed)"


def test_what_is_far_from_the_rest_is_cut_off():
    assert drawings.limit(np.asarray([96.0, 97.0, 98.0, 300.0])) == 96 + 4 * 1.5
    assert drawings.limit(np.asarray([96.0, 97.0, 98.0])) == 98


def everything(path):
    """Return rows of all tasks."""
    names = ("ST-GS", "GR", "REINFORCE")
    vae = [{"estimator": name, **WIDE} for name in names]
    paper = [{"estimator": name, "variables": 30, "arity": 16} for name in names]
    bound = [{"estimator": name, "samples": 5} for name in names]
    parse = [
        {"estimator": name, "longest": 10, "temperature": tau, "clip": clip}
        for name in names[:2]
        for tau in (0.01, 0.1)
        for clip in (1.0, math.inf)
    ]
    times = {"milliseconds": 2.5, "ratio": 1.234, "ratio_error": 0.0123, "evaluations": 2}
    return store_of(
        path,
        *(seeds("digits", x, 20.0, 21.0 + n) for n, x in enumerate(vae)),
        *(seeds("mnist", x, 90.0, 91.0 + 50 * n**3) for n, x in enumerate(vae)),
        *(seeds("shapes", x, 95.0, 96.0 + n) for n, x in enumerate(vae)),
        *(seeds("paper", x, 90.0, 91.0 + n) for n, x in enumerate(paper)),
        *(seeds("prediction", x, 60.0, 61.0 + n) for n, x in enumerate(bound)),
        *(seeds("listops", x, 0.5, 0.51 + 0.01 * n) for n, x in enumerate(parse)),
        [row("cost", "measure", vae[1] | {"batch": 100}, times)],
        [row("cost", "measure", vae[1] | {"estimator": "RLOO", "knob": 2, "batch": 100}, times)],
        digits="variables = 8\narity = 64",
        mnist="variables = 8\narity = 64",
        shapes="variables = 8\narity = 64",
        paper="variables = 30\narity = 16",
        prediction="samples = 5",
        listops="longest = 10\ntemperature = 0.1\nclip = inf",
    )


def test_every_task_has_a_fragment_and_the_same_rows_make_the_same_bytes(tmp_path):
    store = everything(tmp_path / "rows.sqlite")
    folders = [tmp_path / name for name in ("first", "second")]
    written = [report.write(store, folder) for folder in folders]
    assert [path.name for path in written[0]] == [
        f"{name}.md" for name in (*layouts.LAYOUTS, "cost", "summary")
    ]
    first, second = (
        {path.relative_to(x): path.read_bytes() for path in x.rglob("*.*")} for x in folders
    )
    assert first == second
    text = {path.stem: path.read_text() for path in written[0]}
    lines = {name: [",".join(x).strip(",") for x in cells(page)] for name, page in text.items()}
    for name, figures in report.FIGURES.items():
        for figure, _, _ in figures:
            assert Path(f"{figure}.png") in first
            assert f"](../{figure}.png)" in text[name]
    assert "RLOO, 2,1.23 ± 0.01" in lines["cost"]
    assert "RLOO, 2,0.62" in lines["cost"]
    assert "ST-GS,**90.50 ± 0.50** (98.8)" in lines["paper"]
    assert "GR-MC1000,– (96.8)" in lines["paper"]
    assert text["listops"].index("norm 1**") < text["listops"].index("no clipping**")
    assert "ST-GS,**50.5 ± 0.5**,**51.5 ± 1.5**" in lines["listops"]
    # Half, one and a half, and twice of 20 and 21.
    assert "ST-GS,10.25 ± 0.25,30.75 ± 0.75,41.0 ± 1.0" in lines["digits"]


def test_a_sweep_without_rows_is_left_out(tmp_path):
    store = store_of(tmp_path / "rows.sqlite", mnist="variables = 8\narity = 64")
    assert report.write(store, tmp_path / "out") == []


def test_a_sweep_that_has_only_failed_has_tables(tmp_path):
    rows = trials("mnist", {"estimator": "GR", **WIDE}, None, None)
    store = store_of(tmp_path / "rows.sqlite", rows, mnist="variables = 8\narity = 64")
    (page,) = report.write(store, tmp_path / "out")
    assert "failed (search)" in page.read_text()
    assert "`FloatingPointError: the loss is nan`" in page.read_text()
    assert ".png" not in page.read_text()


def test_files_are_merged_and_a_result_counts_more_than_a_failure(tmp_path):
    config = {"estimator": "GR", **WIDE}
    columns = "variables = 8\narity = 64"
    store_of(tmp_path / "a.sqlite", seeds("mnist", config, None, 2.0), mnist=columns)
    store_of(tmp_path / "b.sqlite", seeds("mnist", config, 1.0, 3.0, 4.0), mnist=columns)
    paths = [tmp_path / name for name in ("a.sqlite", "b.sqlite")]
    report.main(paths, tmp_path / "out", tmp_path / "joined.sqlite")
    joined = Store(tmp_path / "joined.sqlite")
    assert list(joined.sweeps()) == ["mnist"]
    scores = results.read(joined)["mnist"].column((8, 64))["GR"].scores
    assert scores.tolist() == [1.0, 2.0, 4.0]
    assert "2.33 ± 0.88" in (tmp_path / "out/tables/mnist.md").read_text()


def test_the_tables_in_the_documentation_are_those_of_the_rows(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.output.figures.save", lambda *_: None)
    store = merge([RESULTS / "rows.sqlite"], tmp_path / "rows.sqlite")
    written = {path.name: path.read_text() for path in report.write(store, tmp_path)}
    kept = {path.name: path.read_text() for path in (RESULTS / "tables").glob("*.md")}
    assert written == kept, "docs/results/tables is not up to date: run `nox -s report`"
