"""The loss as an estimator sees it: known at the outcomes, and evaluated elsewhere on demand."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from rbgs.arrays.inputs import check_broadcast, check_like
from rbgs.arrays.oracle import Answer
from rbgs.arrays.reuse import copied
from rbgs.arrays.rows import Rows
from rbgs.arrays.scalars import float_beside
from rbgs.arrays.typing import Array


class Ask(Protocol):
    """Whoever evaluates the loss: an oracle, or a function that a framework differentiates."""

    def __call__(
        self, value: Array, leading: int, derivative: bool = False, function: Any = None
    ) -> Answer:
        """Answer for a value shaped like the logits, behind so many leading axes.

        With ``derivative`` the answer has that for the value; ``function`` is asked instead of the
        loss, if there is one.
        """


@dataclass(frozen=True)
class Loss:
    """The loss of each row; rows share one along the axes of the batch that the loss lacks.

    Attributes
    ----------
    rows : Rows
        Of the draws: a loss has the shape of their batch, without the last axes if variables along
        them share it.
    answer : Answer
        What is known of the loss at the outcomes.
    """

    rows: Rows
    answer: Answer
    _ask: Ask
    _settings: Callable[[], AbstractContextManager[Any]]

    def at(self, points: Array, *, derivative: bool = False, function: Any = None) -> Answer:
        """Evaluate the loss, or another function, at points ``(n, rows)``.

        The loss has its own shape, the derivative is ``(n, rows)``.
        """
        answer = self._answer(self.rows.restore(copied(points)), 0, derivative, function)
        if answer.cotangent is None:
            return answer
        return answer._replace(
            cotangent=self.rows.adopt("cotangent", answer.cotangent, self.rows.n)
        )

    def at_many(self, points: Array) -> Array:
        """Return the losses at points ``(n, count, rows)``, along a new leading axis."""
        n, count, _ = points.shape
        many = self.rows.repeat(count)
        return self._answer(many.restore(many.merge(points, n)), 1, False).loss

    def _answer(self, *arguments: Any) -> Answer:
        with self._settings():
            return self._ask(*arguments)


def beside(name: str, x: Array | float, losses: Array) -> Array | float:
    """Return a hyperparameter that is a number, or an array that broadcasts against the losses."""
    if not isinstance(x, float):
        x = float_beside(name, x, losses)
    if not isinstance(x, float):
        check_like(name, x, losses, "real floating")
        check_broadcast(name, tuple(x.shape), tuple(losses.shape))
    return x
