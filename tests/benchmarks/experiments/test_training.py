"""Runs that are trained together: what each gets, and what they must share."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from backends import Backend

pytest.importorskip("optax")
jax = pytest.importorskip("jax")
Backend.JAX.load()

import rbgs  # noqa: E402
import rbgs.jax  # noqa: E402
from benchmarks.experiments import training  # noqa: E402

pytestmark = pytest.mark.usefixtures("single_precision", "without_the_engine")


@dataclass(frozen=True)
class Config(training.Config):
    """Two variables of three categories."""

    @property
    def shape(self):
        return 2, 3


def matching():
    """Logits whose outcomes are to match noisy targets."""

    def loss(logits, batch, estimator, key):
        losses = rbgs.jax.expectation(
            estimator, key, lambda value: jax.numpy.sum((value - batch) ** 2, (-2, -1)), logits
        )
        return losses, losses

    def distance(logits, _key, data):
        return jax.numpy.sum((jax.nn.softmax(logits) - data) ** 2)

    return training.Problem(
        data=jax.numpy.eye(3)[:2],
        initialise=lambda key: jax.random.normal(key, (2, 3)),
        batch=lambda key, data: data + 0.1 * jax.random.normal(key, (2, 3)),
        loss=loss,
        score=distance,
        test=lambda *given: {"test": distance(*given)},
    )


def downhill(score=lambda weight: weight):
    """A weight that falls: its derivative is 3 throughout."""
    return training.Problem(
        data=jax.numpy.zeros(()),
        initialise=lambda _: jax.numpy.zeros(()),
        batch=lambda _, data: data,
        loss=lambda weight, *_: (3 * weight, weight),
        score=lambda weight, *_: score(weight),
        test=lambda weight, *_: {"test": weight},
    )


RUNS = [
    Config("ST-GS", seed=0, budget=30, evaluations=3),
    Config("ST-GS", seed=1, budget=30, evaluations=3, learning_rate=0.1),
    Config("ST-GS", seed=2, budget=30, evaluations=3, temperature=0.1, clip=0.5),
]


def test_together_runs_are_what_they_are_alone():
    together, weights = training.train(matching(), RUNS)
    assert len({row["valid"] for row in together}) == 3
    for number, config in enumerate(RUNS):
        (alone,), own = training.train(matching(), [config])
        assert [point["step"] for point in alone["curve"]] == [10, 20, 30]
        np.testing.assert_allclose(weights[number], own[0], rtol=1e-4, atol=1e-6)
        assert together[number]["valid"] == pytest.approx(alone["valid"], rel=1e-4)
        for ours, theirs in zip(together[number]["curve"], alone["curve"], strict=True):
            assert ours == pytest.approx(theirs, rel=1e-4)


def test_a_run_that_diverges_leaves_the_others_alone():
    diverging = replace(RUNS[1], learning_rate=math.nan)
    rows, _ = training.train(matching(), [RUNS[0], diverging, RUNS[2]])
    sound, _ = training.train(matching(), RUNS)
    assert rows[1]["error"].startswith("FloatingPointError: the loss is nan")
    assert "valid" not in rows[1]
    for number in (0, 2):
        assert rows[number]["valid"] == pytest.approx(sound[number]["valid"], rel=1e-5)


def test_runs_of_one_program_differ_in_numbers_alone():
    for change in ({"budget": 40}, {"estimator": "GS"}, {"optimiser": "sgd"}, {"knob": 3}):
        with pytest.raises(ValueError, match="seed, learning_rate, temperature, clip"):
            training.train(matching(), [RUNS[0], replace(RUNS[1], **change)])


@pytest.mark.parametrize(
    ("name", "knob", "steps"),
    [("GR", None, 70), ("RLOO", 4, 17), ("REBAR", None, 35), ("IndeCateR", None, 10)],
)
def test_a_budget_counts_evaluations_of_the_loss(name, knob, steps):
    assert Config(name, knob, budget=70).steps == steps
    assert Config(name, knob, budget=1).steps == 1


def test_no_more_evaluations_than_steps():
    (row,), _ = training.train(downhill(), [Config(budget=2, evaluations=10)])
    assert [point["step"] for point in row["curve"]] == [1, 2]
    assert "error" not in row


def test_progress_is_told():
    taken = []
    training.train(downhill(), [Config(budget=10, evaluations=3)], taken.append)
    assert taken == [3, 4, 3]


def test_the_gradient_is_clipped():
    runs = [Config(optimiser="sgd", learning_rate=1.0, budget=4, clip=x) for x in (math.inf, 1.0)]
    rows, weights = training.train(downhill(), runs)
    np.testing.assert_allclose(weights, [-12, -4])
    assert [row["valid"] for row in rows] == [-12, -4]


def test_a_run_is_tested_with_the_weights_of_its_best_evaluation():
    problem = downhill(score=lambda weight: jax.numpy.abs(weight + 6))
    config = Config(optimiser="sgd", learning_rate=1.0, budget=4, evaluations=4)
    (row,), weights = training.train(problem, [config])
    assert [point["score"] for point in row["curve"]] == [3, 0, 3, 6]
    assert row["valid"] == 0
    assert training.test(problem, training.one_of(weights, 0)) == {"test": -6}


def test_the_baseline_of_reinforce_is_a_running_mean():
    # A step's losses are the baseline that it was given, and 1 more: 1, 2, 3 without forgetting.
    def loss(_weight, _batch, estimator, _key):
        return estimator.baseline, estimator.baseline + 1

    problem = downhill()._replace(loss=loss)
    (row,), _ = training.train(problem, [Config("REINFORCE", budget=3, evaluations=3)])
    first, second = 1.0, (0.9 * 1 + 2) / 1.9
    assert [point["loss"] for point in row["curve"]] == pytest.approx([0, first, second])


def test_no_other_estimator_gets_a_baseline():
    for estimator in (rbgs.Reinforce("leave_one_out", 2), rbgs.StraightThrough()):
        assert training.with_baseline(estimator, jax.numpy.ones(())) is estimator
