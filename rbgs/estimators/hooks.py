"""What an estimator says of itself: its hyperparameters, and what the base class asks it."""

from abc import ABC, abstractmethod
from copy import copy
from dataclasses import fields
from types import FunctionType
from typing import Any, Self, cast

from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.rows import Rows
from rbgs.arrays.scalars import are_equal, is_array
from rbgs.arrays.typing import Array, Temperature
from rbgs.draw import Operator
from rbgs.estimators.loss import Loss
from rbgs.structures.categorical import CATEGORICAL
from rbgs.structures.structure import Outcome, Race, Structure


class Hooks(ABC):
    """A frozen dataclass of hyperparameters, and what may be said of an estimator beside them.

    Of all this an estimator overrides what differs: mostly `_operator` alone.
    """

    # Whether the draw has a Jacobian.
    _pathwise = True

    def _hyperparameters(self) -> dict[str, Any]:
        """Return those that matter, by name."""
        known = {field.name: getattr(self, field.name) for field in fields(cast(Any, self))}
        if known.get("structure") is None:
            known.pop("structure", None)
        return known

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{name}={x.__qualname__ if isinstance(x, FunctionType) else repr(x)}"
            for name, x in self._hyperparameters().items()
        )
        return f"{type(self).__name__}({shown})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        ours, theirs = self._hyperparameters(), other._hyperparameters()
        return ours.keys() == theirs.keys() and all(
            are_equal(x, theirs[name]) for name, x in ours.items()
        )

    def __hash__(self) -> int:
        values = tuple(self._hyperparameters().values())
        if any(map(is_array, values)):
            raise TypeError(f"{type(self).__name__} holds an array, so it is unhashable")
        return hash((type(self), *values))

    def _at_temperature(self, temperature: Temperature) -> Self:
        """Return the same at a temperature that is not checked: a compiler may trace it."""
        return self._with("temperature", temperature)

    def _with(self, name: str, value: Any) -> Self:
        changed = copy(self)
        object.__setattr__(changed, name, value)
        return changed

    @property
    def _structure(self) -> Structure:
        """What may come out."""
        structure: Structure | None = getattr(self, "structure", None)
        return CATEGORICAL if structure is None else structure

    @abstractmethod
    def _operator(self, outcome: Outcome) -> Operator | None:
        """Return the derivative; None if there is none."""

    def _estimate(self, outcome: Outcome, operator: Operator | None, loss: Loss) -> Array:
        """Return the gradient estimate ``(n, rows)``, one for each draw."""
        assert operator is not None
        cotangent = outcome.rows.adopt("cotangent", loss.answer.cotangent, outcome.rows.n)
        return operator.product(cotangent)

    def _combined(self, losses: Array) -> Array:
        """Return what the losses of several draws, along the first axis, estimate together."""
        return array_namespace(losses).mean(losses, axis=0)

    def _weights(self, losses: Array) -> Array | None:
        """Return the derivative of `_combined` for each loss, times their number; None: all 1."""
        return None

    @property
    def _needs_derivative(self) -> bool:
        """Whether the derivative of the loss at the outcome is needed: else values suffice."""
        return True

    def _value(self, outcome: Outcome, operator: Operator | None) -> Array:
        """Return the forward value ``(n, rows)``: the one-hot vector of the winner."""
        return outcome.winner

    @property
    def _random_given_outcome(self) -> bool:
        """Whether the derivative needs noise of its own when the outcome is given."""
        return False

    @property
    def _generator_words(self) -> int:
        """How many uniforms behind those of the categories seed a counter-based generator."""
        return 0

    @property
    def _draws(self) -> int:
        """How many outcomes one sample has; above 1 they lie along a new leading axis."""
        return 1

    @property
    def _learned(self) -> bool:
        """Whether a part of it is trained by the squared norm of its estimates."""
        return False

    @property
    def _noise_draws(self) -> int:
        """How many of the draws have noise of their own."""
        return self._draws

    @property
    def _function_of_outcome(self) -> bool:
        """Whether the gradient estimate is a function of logits and outcome, so enumerable."""
        return self._draws == 1 and not self._random_given_outcome

    @property
    def _bound_samples(self) -> int:
        """Of how many draws the bound is whose gradient is estimated; 1 for that of E[f]."""
        return 1

    def _drawn_outcome(self, rows: Rows, uniforms: Array) -> Race:
        """Draw an outcome, given all uniforms of the noise."""
        return self._structure.race(rows, uniforms[: rows.n, :])

    @property
    def _unbiased(self) -> bool:
        """Whether the mean of the estimates is that gradient, whatever the loss."""
        return not self._pathwise

    def _needs_noise(self, index: Array | int | None) -> bool:
        return index is None or self._random_given_outcome
