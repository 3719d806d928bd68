"""Measuring an estimator: draws or all outcomes, against what it is to estimate."""

import math
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from rbgs.arrays.devices import device
from rbgs.arrays.inputs import check_count, detached
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.oracle import Answer, evaluate
from rbgs.arrays.rows import read_logits
from rbgs.arrays.settings import own_settings
from rbgs.arrays.typing import Array, Generator, Namespace, Oracle
from rbgs.estimators.base import Estimator, check_estimator
from rbgs.evaluation.comparison import Moments
from rbgs.evaluation.exact import exact_gradient
from rbgs.evaluation.outcomes import JointOutcomes
from rbgs.evaluation.statistics import (
    Known,
    Measured,
    enumerated,
    error_moments,
    sampled,
    summarise,
)
from rbgs.random.noise import split
from rbgs.random.source import check_source
from rbgs.structures.categorical import CATEGORICAL
from rbgs.structures.structure import Structure

# Draws are dealt to groups, whose spread gives the standard errors; within a group they are taken
# in chunks of this many elements.
_GROUPS = 64
_CHUNK = 2**16


class Measurement:
    """What `compare` is given, checked; the arguments are its."""

    def __init__(
        self,
        estimators: Sequence[Estimator],
        oracle: Oracle,
        logits: Array,
        draws: int,
        rng: Generator,
        mask: Array | None,
        axis: int,
        reference: Estimator | None,
        reference_draws: int | None,
        max_outcomes: int,
    ) -> None:
        draws = check_count("draws", draws, 4)
        max_outcomes = check_count("max_outcomes", max_outcomes)
        reference_draws = _check_reference(reference, reference_draws, draws)
        self._structure = _common_structure([*estimators, *([reference] if reference else [])])
        with own_settings():
            self._rows = read_logits(logits, mask, axis)
        self._loss = _Counted(oracle, logits.ndim, self._rows.axis)
        self._logits, self._mask, self._most = logits, mask, max_outcomes
        self._rng, self._reference = check_source("rng", rng, logits), reference
        groups = min(_GROUPS, draws // 2, reference_draws // 2)
        self._draws, self._sizes = draws, _dealt(draws, groups)
        self._reference_sizes = _dealt(reference_draws, groups) if reference else []
        self._chunk = max(1, _CHUNK // max(1, math.prod(logits.shape)))
        self._targets: dict[int, Measured] = {}

    def moments(self, estimator: Estimator) -> Moments:
        """Measure an estimator."""
        target = self._target(estimator)
        self._loss.points = 0
        structure, n = self._structure, self._rows.n
        outcomes = structure.count(n) ** math.prod(self._shared)
        is_enumerated = estimator._function_of_outcome and structure.has_law(n)
        if is_enumerated and outcomes <= self._draws:
            drawn, estimates = 0, outcomes
            found = enumerated(summarise(self._outcomes(estimator)))
        else:
            drawn = estimates = self._draws
            found = self._sampled(estimator, self._sizes, self._sources()[0])
        evaluations = self._loss.points // estimates
        return Moments(estimator, drawn, *error_moments(found, target), evaluations=evaluations)

    def _target(self, estimator: Estimator) -> Measured:
        """Return what an estimator is to estimate."""
        samples = estimator._bound_samples
        if self._reference and self._reference._bound_samples != samples:
            raise ValueError(
                f"the reference {self._reference} estimates the gradient of "
                f"{_objective(self._reference)}, but {estimator} that of {_objective(estimator)}: "
                "compare them in another call, with a reference of the same"
            )
        if samples not in self._targets:
            self._targets[samples] = self._measured_target(samples)
        return self._targets[samples]

    def _measured_target(self, samples: int) -> Measured:
        if self._reference:
            return self._sampled(self._reference, self._reference_sizes, self._sources()[1])
        gradient = exact_gradient(
            self._loss,
            self._logits,
            structure=self._structure,
            mask=self._mask,
            axis=self._rows.axis,
            samples=samples,
            max_outcomes=self._most,
        )
        with own_settings():
            return Measured(Known(self._for_losses(gradient[None, ...])[0, ...], 0.0, 0.0))

    def _sources(self) -> tuple[Iterator[Generator], Iterator[Generator]]:
        """Return sources of independent randomness for the chunks of estimates and reference."""
        calls, others = (
            sum(math.ceil(size / self._chunk) for size in sizes)
            for sizes in (self._sizes, self._reference_sizes)
        )
        if isinstance(self._rng, (int, np.random.SeedSequence)):
            first, second = (np.random.PCG64(self._rng).jumped(times) for times in (0, 1))
            return iter([np.random.Generator(first)] * calls), iter(
                [np.random.Generator(second)] * others
            )
        sources = split(self._rng, calls + others)
        return islice(sources, calls), islice(sources, calls, None)

    def _sampled(
        self, estimator: Estimator, sizes: list[int], sources: Iterator[Generator]
    ) -> Measured:
        def chunks(count: int) -> Iterator[tuple[Array, Array]]:
            for start in range(0, count, self._chunk):
                size = min(self._chunk, count - start)
                found = self._gradient(estimator, size, rng=next(sources))
                yield found, _ones(found)

        return sampled([summarise(chunks(size)) for size in sizes])

    def _outcomes(self, estimator: Estimator) -> Iterator[tuple[Array, Array]]:
        """Yield the estimates of joint outcomes in chunks, and their probabilities."""
        xp = array_namespace(self._rows.log_probs)
        outcomes = JointOutcomes(self._structure, self._rows)
        for values, chances, _ in outcomes.blocks(self._shared, self._chunk):
            index = outcomes.index(outcomes.in_layout(values))
            with own_settings():
                chances = xp.astype(chances, _widest(xp, chances), copy=False)
            yield self._gradient(estimator, index.shape[0], index=index), chances

    def _gradient(self, estimator: Estimator, count: int, **options: Array) -> Array:
        logits, mask, axis = self._logits, self._mask, self._rows.axis
        many = array_namespace(logits).broadcast_to(logits, (count, *logits.shape))
        found = estimator.gradient(self._loss, many, mask=mask, axis=axis, **options)
        with own_settings():
            return self._for_losses(found)

    def _for_losses(self, gradient: Array) -> Array:
        """Return gradients ``(count, ...)`` wide, as vectors of what shares a loss."""
        xp, rows = array_namespace(gradient), self._rows
        gradient = xp.moveaxis(gradient, rows.axis, -1)
        gradient = xp.astype(gradient, _widest(xp, gradient), copy=False)
        losses = rows.batch[: self._loss.axes]
        return xp.reshape(gradient, (gradient.shape[0], *losses, math.prod(self._shared) * rows.n))

    @property
    def _shared(self) -> tuple[int, ...]:
        """The axes of the batch along which variables share a loss."""
        return self._rows.batch[self._loss.axes :]


class _Counted:
    """An oracle that counts the points it is asked about, and drops PyTorch's record.

    ``axes`` is how many axes a loss has behind those of draws, known once it was asked.
    """

    def __init__(self, oracle: Oracle, ndim: int, axis: int) -> None:
        self._oracle, self._ndim, self._axis = oracle, ndim, axis
        self.points = self.axes = 0

    def __call__(self, value: Array) -> Answer:
        leading = value.ndim - self._ndim
        answer = evaluate(self._oracle, value, self._axis, leading=leading)
        self.points += math.prod(value.shape[:leading])
        self.axes = answer.loss.ndim - leading
        return Answer(*map(detached, answer))


def _common_structure(estimators: Sequence[Estimator]) -> Structure:
    """Return what all estimators draw; raise unless it is the same."""
    structures = {estimator._structure.unrelaxed: estimator for estimator in estimators}
    if len(structures) > 1:
        one, other = list(structures.values())[:2]
        raise ValueError(
            f"{one} and {other} draw different outcomes, so they estimate different gradients: "
            "give all estimators of a comparison, and the reference, the same structure="
        )
    return next(iter(structures), CATEGORICAL)


def _check_reference(reference: Estimator | None, reference_draws: int | None, draws: int) -> int:
    if reference is None:
        if reference_draws is not None:
            raise ValueError(
                "reference_draws is given without a reference: pass reference=rbgs.Reinforce("
                '"leave_one_out", samples=8) or another unbiased estimator, or leave it out'
            )
        return draws
    check_estimator("reference", reference)
    if not reference._unbiased:
        raise ValueError(
            f"the reference {reference} is biased: pass an unbiased estimator, such as "
            'rbgs.Reinforce("leave_one_out", samples=8)'
        )
    return draws if reference_draws is None else check_count("reference_draws", reference_draws, 4)


def _objective(estimator: Estimator) -> str:
    samples = estimator._bound_samples
    return "E[f]" if samples == 1 else f"the bound of {samples} samples"


def _dealt(draws: int, groups: int) -> list[int]:
    """Return the sizes of groups of draws."""
    return [draws // groups + (group < draws % groups) for group in range(groups)]


def _ones(estimates: Array) -> Array:
    """Return the weights of draws, of as many axes as their losses."""
    xp = array_namespace(estimates)
    shape = (estimates.shape[0], *(1,) * (estimates.ndim - 2))
    return xp.ones(shape, dtype=estimates.dtype, device=device(estimates))


def _widest(xp: Namespace, x: Array) -> object:
    known = xp.__array_namespace_info__().dtypes(device=device(x), kind="real floating")
    return known.get("float64", xp.float32)
