"""Train networks that differ only in their numbers together: one compiled program for all.

A run is one network. Those of a call share the estimator and everything that fixes a shape; the
learning rate, the temperature, the clipping and the seed may differ between them.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import rbgs
from benchmarks.experiments import estimators

Tree = Any  # arrays in tuples, lists and dicts
_FORGET = 0.1  # the weight of a new loss in the running mean
OPTIMISERS = {
    "adam": optax.scale_by_adam,
    "momentum": partial(optax.trace, 0.9),
    "sgd": optax.identity,
}


class Problem(NamedTuple):
    """What is trained, on what. All functions can be traced; ``data`` is what they read.

    Attributes
    ----------
    data : tree of arrays
        Handed to the functions.
    initialise : callable
        ``initialise(key)`` draws the weights.
    batch : callable
        ``batch(key, data)`` draws a minibatch.
    loss : callable
        ``loss(weights, batch, estimator, key)`` returns the mean loss, whose derivative trains, and
        the mean of what the estimator is asked about, which is the baseline of REINFORCE.
    score : callable
        ``score(weights, key, data)`` on validation data; the lower the better.
    test : callable
        ``test(weights, key, data)``, a dict of numbers, for one network at a time.
    probe : callable, optional
        ``probe(weights, estimator, key, data)``, a dict of numbers measured along training.
    """

    data: Tree
    initialise: Callable[[jax.Array], Tree]
    batch: Callable[[jax.Array, Tree], Tree]
    loss: Callable[[Tree, Tree, rbgs.Estimator, jax.Array], tuple[jax.Array, jax.Array]]
    score: Callable[[Tree, jax.Array, Tree], jax.Array]
    test: Callable[[Tree, jax.Array, Tree], dict[str, jax.Array]]
    probe: Callable[[Tree, rbgs.Estimator, jax.Array, Tree], dict[str, jax.Array]] | None = None


@dataclass(frozen=True)
class Config:
    """What a run depends on, whatever is trained.

    ``budget`` counts evaluations of the loss, each for a minibatch: an estimator that needs several
    for an estimate takes so many times fewer steps. ``evaluations`` are those in validation.
    """

    estimator: str = "GR"
    knob: float | str | None = None
    temperature: float = 0.5
    learning_rate: float = 1e-3
    clip: float = math.inf  # of the gradient's norm
    optimiser: str = "adam"
    batch: int = 100
    budget: int = 2000
    evaluations: int = 10
    seed: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """The number of choices, and of their categories."""
        raise NotImplementedError

    @property
    def steps(self) -> int:
        """Training steps within the budget."""
        per_step = estimators.evaluations(self.estimator, self.knob, *self.shape)
        return max(1, self.budget // per_step)


class Run(NamedTuple):
    """The numbers of a run: those entries of its configuration that are traced."""

    seed: int
    learning_rate: float
    temperature: float
    clip: float


class Mean(NamedTuple):
    """A running mean; the first value counts in full."""

    total: jax.Array
    weight: jax.Array

    def __call__(self) -> jax.Array:
        """Return it; 0 without a value."""
        return self.total / jnp.maximum(self.weight, _FORGET)

    def updated(self, value: jax.Array) -> "Mean":
        """Return the mean with one more value."""
        keep = 1 - _FORGET
        return Mean(keep * self.total + _FORGET * value, keep * self.weight + _FORGET)


class State(NamedTuple):
    """What a training step changes, and the weights of the best evaluation so far."""

    weights: Tree
    optimiser: optax.OptState
    baseline: Mean
    key: jax.Array
    best: Tree
    score: jax.Array


def with_baseline(estimator: rbgs.Estimator, baseline: jax.Array) -> rbgs.Estimator:
    """Give REINFORCE a running mean as its baseline, unless it has another one."""
    if isinstance(estimator, rbgs.Reinforce) and estimator.baseline is None:
        return replace(estimator, baseline=baseline)
    return estimator


def shared(config: Config) -> Config:
    """Return what configurations have in common whose runs share a program."""
    return replace(config, **Run(0, 1.0, 1.0, 1.0)._asdict())


def first_state(problem: Problem, config: Config, run: Run) -> State:
    """Draw the weights of a run."""
    of_weights, key = jax.random.split(jax.random.key(run.seed))
    weights = problem.initialise(of_weights)
    memory = OPTIMISERS[config.optimiser]().init(weights)
    zero = jnp.zeros((), jnp.float32)
    return State(weights, memory, Mean(zero, zero), key, weights, zero + jnp.inf)


def step(
    problem: Problem, config: Config, run: Run, data: Tree, state: State
) -> tuple[State, jax.Array]:
    """Take a training step; return the state after it and the loss before it."""
    key, of_batch, of_sample = jax.random.split(state.key, 3)
    batch = problem.batch(of_batch, data)
    estimator = _estimator(config, run, state)
    (value, losses), gradient = jax.value_and_grad(problem.loss, has_aux=True)(
        state.weights, batch, estimator, of_sample
    )
    kept = jnp.minimum(1.0, run.clip / jnp.maximum(optax.tree.norm(gradient), 1e-12))
    gradient = jax.tree.map(lambda x: x * kept, gradient)
    updates, memory = OPTIMISERS[config.optimiser]().update(gradient, state.optimiser)
    weights = jax.tree.map(lambda w, u: w - run.learning_rate * u, state.weights, updates)
    baseline = state.baseline.updated(losses)
    return State(weights, memory, baseline, key, state.best, state.score), value


def _estimator(config: Config, run: Run, state: State) -> rbgs.Estimator:
    estimator = estimators.make(config.estimator, run.temperature, config.knob)
    return with_baseline(estimator, state.baseline())


def _evaluate(
    problem: Problem, config: Config, run: Run, data: Tree, state: State
) -> tuple[State, dict[str, jax.Array]]:
    """Score the weights and keep the best; return also what was measured."""
    of_score, of_probe = jax.random.split(jax.random.key(2))
    score = problem.score(state.weights, of_score, data)
    better = score < state.score
    best = jax.tree.map(lambda new, old: jnp.where(better, new, old), state.weights, state.best)
    point = {"score": score}
    if problem.probe is not None:
        estimator = _estimator(config, run, state)
        point |= problem.probe(state.weights, estimator, of_probe, data)
    return state._replace(best=best, score=jnp.where(better, score, state.score)), point


def train(
    problem: Problem, configs: Sequence[Config], advance: Callable[[int], Any] = lambda _: None
) -> tuple[list[dict[str, Any]], Tree]:
    """Train runs together.

    Parameters
    ----------
    problem : Problem
        What is trained.
    configs : sequence of Config
        One network each. They differ in entries of `Run` alone.
    advance : callable
        Called with the number of further steps taken.

    Returns
    -------
    list of dict
        For each run ``valid``, the score of the best evaluation; ``seconds``, its share of the
        time; and ``curve``, a dict for each evaluation. One that diverged has ``error`` instead.
    tree of arrays
        The weights of the best evaluations, with a leading axis of runs.
    """
    config, steps = configs[0], configs[0].steps
    if len({shared(x) for x in configs}) > 1:
        raise ValueError(f"the runs of one program differ in no more than {', '.join(Run._fields)}")
    numbers = Run(*(jnp.asarray([getattr(x, name) for x in configs]) for name in Run._fields))

    @partial(jax.jit, static_argnames="count", donate_argnames="states")
    def block(states: State, data: Tree, count: int) -> tuple[State, dict[str, jax.Array]]:
        def one(run: Run, state: State) -> tuple[State, dict[str, jax.Array]]:
            state, losses = jax.lax.scan(
                lambda state, _: step(problem, config, run, data, state), state, length=count
            )
            state, point = _evaluate(problem, config, run, data, state)
            return state, point | {"loss": losses.mean()}

        return jax.vmap(one)(numbers, states)

    states = jax.jit(jax.vmap(partial(first_state, problem, config)))(numbers)
    curves: list[list[dict[str, float]]] = [[] for _ in configs]
    done, start = 0, time.perf_counter()
    targets = np.linspace(0, steps, config.evaluations + 1).round().astype(int)
    for target in np.unique(targets)[1:].tolist():
        states, points = block(states, problem.data, target - done)
        points = {name: np.asarray(values) for name, values in points.items()}
        for number, curve in enumerate(curves):
            curve.append({"step": target, **{k: float(v[number]) for k, v in points.items()}})
        advance(target - done)
        done = target
    seconds = time.perf_counter() - start

    results: list[dict[str, Any]] = []
    for curve, score in zip(curves, states.score.tolist(), strict=True):
        if math.isfinite(curve[-1]["loss"]) and math.isfinite(score):
            results.append({"valid": score, "seconds": seconds / len(configs), "curve": curve})
        else:
            loss = next(p["loss"] for p in curve if not math.isfinite(p["loss"] + p["score"]))
            results.append({"error": f"FloatingPointError: the loss is {loss}", "curve": curve})
    return results, states.best


def test(problem: Problem, weights: Tree) -> dict[str, float]:
    """Test one network."""
    measured = jax.jit(problem.test)(weights, jax.random.key(1), problem.data)
    return {name: float(value) for name, value in measured.items()}


def one_of(weights: Tree, number: int) -> Tree:
    """Return the weights of one run of those that were trained together."""
    return jax.tree.map(lambda x: x[number], weights)
