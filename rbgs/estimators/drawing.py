"""How an estimator draws: noise, an outcome with its derivative, and an estimate from the loss."""

from typing import Any

from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.oracle import Answer
from rbgs.arrays.rows import Rows, categories_first, rows_of_logits
from rbgs.arrays.settings import callers_settings, own_settings, with_own_settings
from rbgs.arrays.typing import Array, Generator
from rbgs.draw import Operator
from rbgs.estimators.hooks import Hooks
from rbgs.estimators.loss import Ask, Loss
from rbgs.random.key import Key
from rbgs.random.noise import exponential, generator_key, uniform
from rbgs.random.source import check_source
from rbgs.structures.structure import Outcome


class Drawing(Hooks):
    """What the public methods of an estimator are made of, and the frameworks call."""

    def _outcome(
        self,
        logits: Array,
        rng: Generator,
        noise: Array | None,
        index: Array | int | None,
        mask: Array | None,
        axis: int,
    ) -> Outcome:
        """Draw an outcome for each row of logits that `check_logits` has seen."""
        rows = rows_of_logits(logits, mask, axis)
        self._structure.check(rows.n)
        if self._noise_draws > 1:
            rows = rows.repeat(self._noise_draws)
        xp = array_namespace(rows.log_probs)
        temperature = rows.temperature(getattr(self, "temperature", 1.0))
        if not isinstance(temperature, float):
            rows = rows.only(temperature > 0)  # a branch on its values could not be traced
        uniforms: Array = None
        key = None
        if self._needs_noise(index):
            uniforms = self._uniforms(rows, rng, noise)
            if noise is not None:
                fine = xp.all((uniforms >= 0) & (uniforms <= 1), axis=0)
                uniforms = xp.where(fine, uniforms, 0.5)
                rows = rows.only(fine)
            key = generator_key(uniforms[rows.n :, :]) if self._generator_words else None
        if index is None:
            race = self._drawn_outcome(rows, uniforms)
        else:
            exponentials = None
            if self._random_given_outcome:
                exponentials = exponential(uniforms[: rows.n, :])
            if self._noise_draws < self._draws:
                rows = rows.repeat(self._draws)
            race = self._structure.given(rows, index, exponentials)
        return Outcome(race.rows, temperature, race.index, race.winner, race.exponentials, key)

    def _restored_value(self, outcome: Outcome, operator: Operator | None) -> Array:
        """Return the forward value in the shape and dtype of the logits."""
        rows, value = outcome.rows, self._value(outcome, operator)
        return rows.restore(value)

    @with_own_settings
    def _drawing(self, *arguments: Any) -> tuple[Outcome, Operator | None, Array]:
        """Return what `_outcome` does, the derivative, and the value shaped like the logits."""
        outcome = self._outcome(*arguments)
        operator = self._operator(outcome)
        return outcome, operator, self._restored_value(outcome, operator)

    def _gradient(
        self, outcome: Outcome, operator: Operator | None, answer: Answer, ask: Ask
    ) -> Array:
        """Return the gradient estimate for the logits, from what is known of the loss.

        That is its answer at the outcomes, and a function that asks for its answer elsewhere.
        """
        rows = outcome.rows
        loss = Loss(rows, answer, ask, callers_settings())
        with own_settings():
            estimate = rows.restore(self._estimate(outcome, operator, loss))
            if answer.direct is not None:
                weights = self._weights(answer.loss)
                direct = answer.direct
                if weights is not None:
                    direct = direct * rows.restore(rows.spread(weights)[None, :])
                estimate = estimate + direct
            if self._draws > 1:
                xp = array_namespace(estimate)
                # In NumPy a mean is in the byte order of the processor.
                estimate = xp.astype(xp.mean(estimate, axis=0), rows.dtype, copy=False)
            return estimate

    def _noise_shape(self, shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
        """Return the shape of the noise for logits of a shape with ``axis`` below 0."""
        sizes = list(shape)
        sizes[axis] += self._generator_words
        return tuple(sizes) if self._noise_draws == 1 else (self._noise_draws, *sizes)

    def _uniforms(self, rows: Rows, rng: Generator, noise: Array | None) -> Array:
        if noise is None:
            shape = rows.shape(rows.n + self._generator_words)
            drawn = self._drawn(rng, shape, rows.log_probs)
            return categories_first(drawn, rows.axis, rows.sharding)
        if rng is not None:
            raise ValueError("both rng and noise are given: pass one of them")
        return rows.adopt("noise", noise, rows.n + self._generator_words)

    def _drawn(self, rng: Generator, shape: tuple[int, ...], like: Array) -> Array:
        draws = self._noise_draws
        if draws > 1 and isinstance(rng, Key) and rng.start and rng.shape is None:
            raise ValueError(
                f"the noise of {self} has a leading axis of {draws} draws, before the axes "
                "of the logits: pass key.at(0, *start, shape=shape) with the shape of all of it"
            )
        return uniform(check_source("rng", rng, like), shape, like)
