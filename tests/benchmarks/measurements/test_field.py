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
    assert set(field.UNTUNED) < set(field.estimators(problem))


def test_what_each_asks_for(problem):
    found = {name: field.facts(x, problem) for name, x in field.estimators(problem).items()}
    inside = [name for name, facts in found.items() if facts["f inside the simplex"] == "yes"]
    assert inside == ["GS", "MuProp", "REBAR"]
    assert found["RLOO"] == {
        "derivative of f": "no",
        "f inside the simplex": "no",
        "state": "none",
    }
    assert found["NVIL"]["state"] == "RunningDeviation, RunningMean"


def test_only_what_is_known_to_be_is_measured_as_biased(problem):
    labels, comparison = field.measured(problem, 500, 100, lambda: None)
    assert labels[0].startswith("GS, τ ")
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
