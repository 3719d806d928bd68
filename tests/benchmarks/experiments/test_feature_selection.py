"""Feature selection: the data, what is shown, and that learning finds pixels and not copies."""

import commands
import numpy as np
import pytest

torch = pytest.importorskip("torch")
for module in ("matplotlib", "rich", "sklearn", "typer"):
    pytest.importorskip(module)

from benchmarks.experiments import feature_selection as fs  # noqa: E402


@pytest.fixture(scope="module")
def data():
    return fs.Data.load(0)


def test_copies_have_the_values_of_their_pixels_in_another_order(data):
    images = np.concatenate([data.train, data.test])
    pixels, copies = images[:, : fs.PIXELS], images[:, fs.PIXELS :]
    assert pixels.shape == (1797, 64)
    varying = pixels.std(axis=0) > 0.5
    pairs = zip(pixels.T[varying], copies.T[varying], strict=True)
    same = [np.corrcoef(a, b)[0, 1] for a, b in pairs]
    assert np.abs(same).max() < 0.15


@pytest.mark.parametrize("name", [fs.OURS, "ST-GS", fs.PEER])
def test_k_features_are_shown(name):
    torch.manual_seed(0)
    logits = torch.randn(12, requires_grad=True)
    masks = fs.draws(3, 0.5)[name](logits.expand(50, 12))
    torch.testing.assert_close(masks.sum(dim=-1), torch.full((50,), 3.0))
    if name != fs.PEER:
        assert set(masks.unique().tolist()) == {0.0, 1.0}
    (gradient,) = torch.autograd.grad(masks.sum(dim=0) @ torch.arange(12.0), logits)
    assert gradient[-1] > 0


def test_a_short_run_chooses_k_features(data):
    found = fs.learn(data, fs.draws(4, 0.5)[fs.OURS], 4, steps=10, seed=0, points=5)
    assert len(set(found.features.tolist())) == 4
    np.testing.assert_allclose(found.course.sum(axis=1), 4, rtol=1e-5)


def test_classical_selectors_leave_out_what_is_constant(data):
    constant = np.flatnonzero(data.train.std(axis=0) == 0)
    assert len(constant)
    select = fs.classical(data, 10, seed=0)["each feature by its F-test"]
    features = select()
    assert len(features) == 10
    assert not set(features) & set(constant)


def test_the_table_counts_copies():
    selection = fs.Selection(np.asarray([0, 63, 64]), 1.0)
    table = fs.as_table(3, {"x": [(selection, 0.5), (selection, 0.7)]})
    assert table.rows == [("x", "60.0 ± 10.0", "1.0 ± 0.0", "1.00")]


@pytest.mark.slow
def test_smoke(tmp_path):
    figure = tmp_path / "features.png"
    commands.run("experiments.feature_selection", "--smoke", "--figure", figure)
    assert figure.stat().st_size > 10_000
