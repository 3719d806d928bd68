"""The comparison of all estimators: none is left out, and what each asks for is found out."""

import inspect

import pytest

pytest.importorskip("typer")
pytest.importorskip("sklearn")
import rbgs
from benchmarks.measurements import field


@pytest.fixture(scope="module")
def problem():
    return field.quadratic()


def test_every_estimator_of_the_library_is_compared(problem):
    public = {x for x in vars(rbgs).values() if inspect.isclass(x)}
    wanted = {x for x in public if issubclass(x, rbgs.Estimator) and not inspect.isabstract(x)}
    assert {type(x) for x in field.estimators(problem).values()} == wanted
    assert set(field.FIXED) < set(field.estimators(problem))


def test_what_each_asks_for(problem):
    found = {name: field.facts(x, problem) for name, x in field.estimators(problem).items()}
    inside = [name for name, facts in found.items() if facts["inside"] == "yes"]
    assert inside == ["GS", "MuProp", "REBAR"]
    assert found["RLOO"] == {"derivative": "no", "inside": "no", "state": "none"}
    assert found["NVIL"]["state"] == "RunningDeviation, RunningMean"


def test_only_what_is_known_to_be_is_measured_as_biased(problem):
    labels, comparison = field.measured(problem, 500, 100, lambda: None)
    assert labels[0].startswith("GS, τ ")
    temperatures = {
        x: m.estimator.temperature
        for x, m in zip(labels, comparison, strict=True)
        if x in field.FIXED
    }
    assert temperatures == {"GR, τ = 0.5": 0.5, "GR, τ = 0.1": 0.1, "GR, τ = 0": 0}
    biased = {type(m.estimator) for m in comparison if field.is_biased(m)}
    assert {rbgs.StraightThrough, rbgs.GumbelSoftmax} <= biased
    assert not any(field.is_biased(m) for m in comparison if m.estimator._unbiased)
    assert all(m.evaluations >= 1 for m in comparison)


def test_variables_that_share_a_loss_in_the_vae():
    problem = field.vae(count=2, steps=2)
    value = rbgs.StraightThrough().sample(problem.logits, rng=0).value
    losses, gradient = problem.oracle(value)
    assert (problem.logits.shape, losses.shape, gradient.shape) == ((2, 3, 4), (2,), (2, 3, 4))
    assert problem.linear(value)[0].shape == (2,)


def test_numbers_have_their_errors_in_units_of_the_last_digit():
    cells = {
        (0.18597, 0.00667): "0.186(7)",
        (0.18597, 0.0096): "0.19(1)",
        (738.84, 12.3): "739(12)",
        (-0.00008, 0.0006): "−0.0001(6)",
        (-0.00001, 0.0006): "0.0000(6)",
        (0.8521, 0.0): "0.8521",
    }
    assert [field.concise(*numbers) for numbers in cells] == list(cells.values())


def test_a_table_shows_squared_lengths_times_its_scale(problem):
    estimators = [rbgs.Reinforce(), rbgs.IndeCateR()]
    comparison = rbgs.compare(estimators, problem.oracle, problem.logits, draws=100, rng=0)
    found = field.rows(["one", "all"], comparison, [0.96, 2.0], 1e3)
    variance = f"{1e3 * float(comparison[0].variance):.4g}"
    by_evals = f"{1e3 * float(comparison[0].variance):.3g}"
    assert found == {
        "one": ["0", variance, variance, by_evals, "1.0"],
        "all": ["0", "0", "0", "0", "2.0"],
    }
    assert problem.scale == 1e3
