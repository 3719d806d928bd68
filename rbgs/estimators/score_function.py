r"""What the score-function estimators share: :math:`\nabla \log p(D) = D - p`, times a signal."""

from abc import abstractmethod

from rbgs.arrays.reuse import copied
from rbgs.arrays.typing import Array
from rbgs.draw import Operator
from rbgs.estimators.base import Estimator
from rbgs.estimators.loss import Loss
from rbgs.structures.structure import Outcome


class ScoreFunctionEstimator(Estimator):
    """An estimator from values of the loss: its draw has no Jacobian."""

    _pathwise = False

    def _operator(self, outcome: Outcome) -> None:
        return None

    def _value(self, outcome: Outcome, operator: Operator | None) -> Array:
        return copied(outcome.winner)  # which the estimate is made of

    @property
    def _needs_derivative(self) -> bool:
        return False

    @abstractmethod
    def _estimate(self, outcome: Outcome, operator: Operator | None, loss: Loss) -> Array:
        """Return the gradient estimate ``(n, rows)``, one for each draw."""

    def _score(self, outcome: Outcome, signal: Array) -> Array:
        """Return the score ``(n, rows)`` times a signal that has the shape of the loss."""
        return outcome.rows.spread(signal) * self._structure.score(outcome)
