"""The result of a comparison: a sequence, a table, a data frame and a picture."""

import importlib
from html.parser import HTMLParser

import numpy as np
import pytest
from backends import to_numpy
from cases import CASES, exp_oracle, quadratic

import rbgs
from rbgs.evaluation.comparison import overall
from rbgs.evaluation.text import label, with_error

LOGITS = np.random.default_rng(0).normal(size=(5, 3))
ESTIMATORS = [
    rbgs.StraightThrough(),
    rbgs.StraightThroughGumbelSoftmax(0.5),
    rbgs.Reinforce("leave_one_out", samples=3),
]


def compared(xp=np, logits=LOGITS, estimators=ESTIMATORS):
    target, weights = np.asarray([0.1, 0.7, 0.2]), np.asarray([1.0, 3.0, -2.0])
    oracle = quadratic(xp, target, weights)
    return rbgs.compare(estimators, oracle, xp.asarray(logits), draws=128, rng=0)


def test_it_is_a_sequence():
    comparison = compared()
    first, *_, last = comparison
    assert (len(comparison), comparison[0], comparison[-1]) == (3, first, last)
    assert [m.estimator for m in comparison[:2]] == ESTIMATORS[:2]
    assert isinstance(comparison[1:], rbgs.Comparison)


def test_the_table_has_means_over_the_losses_and_the_price_of_an_evaluation(xp):
    comparison = compared(xp)
    heading, *rows, caption = repr(comparison).splitlines()
    assert heading.split()[0] == "estimator"
    assert caption.startswith("Means over 5 losses")
    assert "±" not in rows[0]
    assert rows[1].count("±") == rows[2].count("±") == 3
    for moments, row in zip(comparison, rows, strict=True):
        means = overall(moments)
        assert row.startswith(label(moments.estimator))
        for statistic in ("bias2", "variance", "mse"):
            value = to_numpy(getattr(moments, statistic))
            error = to_numpy(getattr(moments, statistic + "_se"))
            assert getattr(means, statistic) == pytest.approx(value.mean())
            together = np.sqrt(np.sum(error**2)) / 5
            assert getattr(means, statistic + "_se") == pytest.approx(together)
        assert means.mse_per_evaluation == pytest.approx(
            means.bias2 + means.variance * moments.evaluations
        )
        assert row.split()[-1] == f"{means.mse_per_evaluation:.4g}"


def test_tables_of_one_loss_of_none_and_of_no_estimator():
    assert "One loss" in repr(compared(logits=LOGITS[0]))
    for logits in (LOGITS[:0], LOGITS * np.nan):
        means = overall(compared(logits=logits)[0])
        assert np.isnan([means.bias2, means.variance, means.mse]).all()
    assert repr(compared(estimators=[])).startswith("estimator")


def test_estimators_are_shown_as_they_are_made():
    assert label(rbgs.GumbelRao(0.5)) == "GumbelRao(0.5)"
    assert label(rbgs.GumbelRao(np.sqrt(2), samples=4)) == "GumbelRao(1.414, samples=4)"
    assert label(rbgs.StraightThrough()) == "StraightThrough()"
    assert label(rbgs.Relax(control_variate=exp_oracle)) == "Relax(control_variate=exp_oracle)"
    assert label(rbgs.Relax(control_variate=Nameless())) == "Relax(control_variate=Nameless())"
    assert len(label(rbgs.GumbelSoftmax(np.ones(1000)))) < 100
    assert len({label(estimator) for estimator in CASES}) == len(CASES)


def test_numbers_have_the_digits_that_their_errors_allow():
    shown = [with_error(*x) for x in ((0.12345, 0.0234), (1234.5, 45.6), (0.5, 0.0), (2e-9, 1e-9))]
    assert shown == ["0.123 ± 0.023", "1234 ± 46", "0.5", "2e-09 ± 1e-09"]
    assert with_error(float("nan"), float("nan")) == "nan ± nan"


def test_the_table_of_notebooks_is_escaped():
    found = compared(estimators=[rbgs.Relax(control_variate=Named())])._repr_html_()
    assert "&lt;b&gt;" in found
    assert "<b>" not in found
    HTMLParser().feed(found)
    assert found.count("<tr>") == 2


class Nameless:
    """A control variate that has no name."""

    def __call__(self, value):
        return value.sum(axis=-1), np.ones_like(value)


class Named(Nameless):
    """One whose name is markup."""

    def __repr__(self):
        return "f<b>"


def test_the_data_frame_has_the_numbers_of_the_table():
    pytest.importorskip("pandas")
    frame = compared().to_dataframe()
    assert list(frame["evaluations"]) == [1, 1, 3]
    np.testing.assert_allclose(
        frame["mse_per_evaluation"], frame["bias2"] + frame["variance"] * frame["evaluations"]
    )


def test_the_picture_has_a_name_beside_every_point():
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    comparison = compared()
    ax = Figure().subplots()
    assert comparison.plot(ax) is ax
    assert [text.get_text() for text in ax.texts] == [label(m.estimator) for m in comparison]
    ax = comparison.plot(Figure().subplots(), labels=["a", "b", "c"])
    boxes = [text.get_window_extent() for text in ax.texts]
    assert [text.get_text() for text in ax.texts] == ["a", "b", "c"]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    compared(logits=LOGITS[:0]).plot(Figure().subplots())  # of nothing
    with pytest.raises(ValueError, match="there are 2 labels for 3 estimators"):
        comparison.plot(ax, labels=["a", "b"])


def test_without_an_axis_the_picture_is_a_new_figure():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    ax = compared().plot()
    pyplot.close(ax.get_figure())


@pytest.mark.parametrize(
    ("method", "package"), [("plot", "matplotlib"), ("to_dataframe", "pandas")]
)
def test_what_is_not_installed_is_named(monkeypatch, method, package):
    def missing(module):
        raise ModuleNotFoundError(name=module)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ModuleNotFoundError, match=rf"{method}\(\) needs {package}: pip install"):
        getattr(compared(), method)()
