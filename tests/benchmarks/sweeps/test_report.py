"""Reports: which runs make a table's entry, and how it is written."""

import pytest

for module in ("optax", "torch", "typer", "matplotlib"):
    pytest.importorskip(module)
pd = pytest.importorskip("pandas")

from benchmarks.experiments import paper, runs, vae  # noqa: E402
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
    text = report.text(report.score_table(kept, report.LAYOUTS["vae"], paper.VAE))
    header, _, single, rao = text.splitlines()[2:]
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
