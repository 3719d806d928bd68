"""What an estimator asks of a structure: how a race ends, and what is known once it has."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from rbgs.arrays.devices import device
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.rows import Rows
from rbgs.arrays.typing import Array, Temperature
from rbgs.draw import Operator


@dataclass(frozen=True)
class Outcome:
    """What is known once the discrete outcome is: everything a set of points depends on.

    ``temperature`` is a float or an array ``(1,)`` or ``(rows,)``; 1 if the estimator has none.
    ``index`` says what came out, anything in rows that are not valid: the winner ``(rows,)``, or
    the :class:`~rbgs.structures.trace.Trace` of another structure (None where it was given and
    nothing hangs on its order). ``winner`` is its 0/1 vector ``(n, rows)``; ``exponentials`` are
    standard ones independent of it, and ``key`` seeds further ones (both None if they are not
    needed).
    """

    rows: Rows
    temperature: Temperature
    index: Any
    winner: Array
    exponentials: Array | None
    key: Array | None


class Relaxed(Operator, Protocol):
    """The operator of a relaxation at a point, or the mean over several ones."""

    def first(self) -> Array:
        """Return the first point ``(n, rows)``."""


@dataclass(frozen=True)
class Race:
    """How a race of exponentials ended: see `Outcome` for the fields."""

    rows: Rows
    index: Any
    winner: Array
    exponentials: Array | None


class Law(NamedTuple):
    r"""Of some outcomes: their probabilities, and their score :math:`\nabla \log p(S) = S - d_S`.

    ``probs (count, rows)``; ``drains (count, n, rows)``, or of one that all of them share.
    """

    probs: Array
    drains: Array


@dataclass(frozen=True)
class Structure(ABC):
    """Which sets of elements may come out, how they are drawn, and how they are relaxed.

    A frozen dataclass, hashable: a part of an estimator, and so a static argument under
    ``jax.jit``. Everything inside is ``(n, rows)``: the elements are the first axis.
    """

    @abstractmethod
    def check(self, n: int) -> None:
        """Raise unless logits with n elements fit."""

    @abstractmethod
    def check_number(self, index: int, n: int) -> int:
        """Return a number that is an outcome given for all rows; raise if it is none."""

    @abstractmethod
    def race(self, rows: Rows, uniforms: Array) -> Race:
        """Draw an outcome; rows that have none are no longer valid."""

    @abstractmethod
    def given(self, rows: Rows, index: Array | int, exponentials: Array | None) -> Race:
        """Return a given outcome; ``exponentials`` are iid standard ones, None if not needed."""

    @abstractmethod
    def restored_index(self, rows: Rows, outcome: Outcome) -> Array:
        """Return what came out as users see it, -1 in rows that are not valid."""

    @abstractmethod
    def relaxed(self, rows: Rows, temperature: Temperature) -> Operator:
        """Return the Jacobian of the relaxation at the logits themselves."""

    @abstractmethod
    def drawn(self, outcome: Outcome) -> Relaxed:
        """Return the Jacobian at the perturbed logits of the race."""

    @abstractmethod
    def samples(
        self, outcome: Outcome, samples: int | None, control_variate: bool | None
    ) -> Operator:
        """Return the mean Jacobian over points drawn given the outcome.

        For None as many, and with the control variate, as pays; only a category has one.
        """

    @abstractmethod
    def score(self, outcome: Outcome) -> Array:
        """Return the derivative ``(n, rows)`` of the log-probability of what the race showed."""

    @abstractmethod
    def count(self, n: int) -> int:
        """Return how many outcomes there are."""

    def has_law(self, n: int) -> bool:
        """Tell whether the probabilities of outcomes can be computed."""
        return True

    @abstractmethod
    def outcomes(self, n: int) -> np.ndarray:
        """Return the elements of all outcomes, numbers ``(count, r)``."""

    @abstractmethod
    def law(self, log_probs: Array, elements: np.ndarray) -> Law:
        """Return the law of outcomes, given by their elements ``(count, r)``.

        In rows that are not valid the probabilities are anything that is not above 0.
        """

    @property
    def unrelaxed(self) -> Self:
        """What decides which outcomes there are and their law: the same for all relaxations."""
        return self

    def index_of(self, value: Array, axis: int) -> Array:
        """Return the index of outcomes by their 0/1 vectors, as users give it."""
        xp = array_namespace(value)
        return xp.astype(value, xp.arange(1, device=device(value)).dtype)

    def index_axes(self, ndim: int, axis: int) -> tuple[int, ...]:
        """Return which axes of logits, with the elements along one, the index has too."""
        return tuple(range(ndim))


def check_structure(name: str, structure: Any) -> None:
    """Raise unless ``structure`` is one, or None for a category."""
    if not isinstance(structure, Structure | None):
        is_class = isinstance(structure, type)
        given = f"the class {structure.__name__}" if is_class else f"a {type(structure).__name__}"
        raise TypeError(
            f"{name} is {given}; one such as rbgs.Subset(3) or rbgs.SpanningTree(edges) is wanted"
        )
