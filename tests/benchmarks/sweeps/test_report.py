"""Reports: which runs make a table's entry, and how it is written."""

import math

import pytest

for module in ("optax", "torch", "typer", "matplotlib"):
    pytest.importorskip(module)
pd = pytest.importorskip("pandas")

from benchmarks.experiments import listops, paper, runs, vae  # noqa: E402
from benchmarks.sweeps import report  # noqa: E402


def rows(scores, **config):
    for seed, score in enumerate(scores):
        result = {"valid": score, "test": score + 1, "milliseconds": 2.0, "moments": []}
        yield runs.row(vae.Config(seed=seed, **config), result | {"curve": []})


FRAME = pd.DataFrame(
    [
        *rows([90, 92, 94], estimator="GR", learning_rate=1e-3),
        *rows([80, 95, 104], estimator="GR", learning_rate=1e-2),
        *rows([70, 70], estimator="GR", learning_rate=1e-1),  # not all seeds
        *rows([99, 99, 99], estimator="ST-GS", learning_rate=1e-2),
        *rows([98, 98, 98], estimator="ST-GS", learning_rate=1e-2, arity=16),
    ]
)


def test_the_best_mean_validation_score_over_all_seeds_is_taken():
    kept = report.best(FRAME, report.LAYOUTS["vae"])
    rao = kept[kept["estimator"] == "GR"]
    assert rao["learning_rate"].tolist() == [1e-3] * 3
    assert len(kept) == 9


def test_the_table_sets_ours_beside_the_papers():
    kept = report.best(FRAME, report.LAYOUTS["vae"])
    text = str(report.score_table(kept, report.LAYOUTS["vae"], paper.VAE))
    header, _, single, rao = text.splitlines()[2:6]
    assert [x.strip() for x in header.split("|")[1:-1]] == [
        "estimator",
        "4-ary, B = 20",
        "16-ary, B = 20",
    ]
    assert [x.strip() for x in single.split("|")[1:-1]] == [
        "ST-GS",
        "100.0 ± 0.0 (99.1)",
        "99.0 ± 0.0 (98.8)",
    ]
    # sqrt(4 / 3) = 1.2
    assert [x.strip() for x in rao.split("|")[1:-1]] == ["GR", "93.0 ± 1.2", "–"]


def test_a_page_has_words_for_headings_and_says_what_it_shows(tmp_path):
    scores = {"valid": 0.6, "test": 0.5, "milliseconds": 2.0, "moments": [], "curve": []}
    configs = [listops.Config(seed=seed, clip=clip) for seed in (0, 1) for clip in (1.0, math.inf)]
    frame = pd.DataFrame([runs.row(config, scores) for config in configs])
    page = report.write(frame, "listops", ["listops.toml"], tmp_path)
    assert page == tmp_path.joinpath("listops.md").read_text()
    assert page.startswith("---\nmyst:\n  html_meta:\n    description: ")
    assert "\n## Without clipping\n" in page
    assert "\n## Gradient clipped to norm 1\n" in page
    assert "benchmarks/sweeps/listops.toml" in page
    assert report.LAYOUTS["vae"].section("idx", 120) == "MNIST, 120 bits"
