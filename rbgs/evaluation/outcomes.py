"""The joint outcomes of the variables that share a loss."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from rbgs.arrays.devices import device
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.ordering import picked
from rbgs.arrays.rows import Rows
from rbgs.arrays.settings import with_own_settings
from rbgs.arrays.typing import Array
from rbgs.structures.categorical import Categorical
from rbgs.structures.given import LARGEST
from rbgs.structures.structure import Law, Structure


class Outcomes(NamedTuple):
    """Some joint outcomes, along the first axis.

    ``values (count, *batch, n)`` are 0 and 1 and ``scores`` the derivatives of the logarithms of
    their probabilities; ``chances`` are those of all variables that share a loss, of its shape.
    """

    values: Array
    chances: Array
    scores: Array


class JointOutcomes:
    """All outcomes of the variables along the last axes of a batch that share a loss.

    The digits of the number of a joint outcome, to the base of the count of outcomes that one
    variable has, are the numbers of their outcomes. Variables that share no loss have the same.
    """

    def __init__(self, structure: Structure, rows: Rows) -> None:
        self._structure, self._rows = structure, rows
        self._elements = structure.outcomes(rows.n)

    def first(self) -> Array:
        """Return the first outcome of each variable, in the layout of the logits."""
        return self.in_layout(self._between(0, 1, (), None).values)

    def blocks(self, shared: tuple[int, ...], size: int) -> Iterator[Outcomes]:
        """Yield the joint outcomes of variables along the axes ``shared``, at most size at once."""
        variables = math.prod(shared)
        law = None if variables == 1 else self._law(self._elements)
        count = len(self._elements) ** variables
        for start in range(0, count, size):
            yield self._between(start, min(start + size, count), shared, law)

    @with_own_settings
    def index(self, values: Array) -> Array:
        """Return outcomes in the layout of the logits as an estimator is given them."""
        return self._structure.index_of(values, self._rows.axis)

    @with_own_settings
    def in_layout(self, x: Array) -> Array:
        """Return an array with the elements last in the layout and dtype of the logits.

        It is a copy: an oracle may overwrite it.
        """
        xp = array_namespace(x)
        return xp.moveaxis(xp.astype(x, self._rows.dtype, copy=True), -1, self._rows.axis)

    @with_own_settings
    def _between(self, start: int, stop: int, shared: tuple[int, ...], law: Law | None) -> Outcomes:
        rows, xp = self._rows, array_namespace(self._rows.log_probs)
        base, variables, elements = len(self._elements), math.prod(shared), self._elements
        numbers = np.arange(start, stop)[:, None] // base ** np.arange(variables) % base
        if law is None:  # a single variable comes to each outcome once
            elements, numbers = elements[start:stop, :], numbers - start
            law = self._law(elements)
        axes = (stop - start, *(1,) * (len(rows.batch) - len(shared)), *shared)
        index = xp.asarray(numbers.reshape(axes), device=device(law.probs))
        values = xp.take(self._vectors(elements), xp.reshape(index, (-1,)), axis=0)
        values = xp.broadcast_to(
            xp.reshape(values, (*axes, rows.n)), (stop - start, *rows.batch, rows.n)
        )
        chances, drains = picked(law.probs, index), law.drains
        if drains.shape[0] > 1:
            drains = picked(drains, index[..., None])
        if shared:
            chances = xp.prod(chances, axis=tuple(range(-len(shared), 0)))
        return Outcomes(values, chances, values - drains)

    @with_own_settings
    def _law(self, elements: np.ndarray) -> Law:
        """Return the law of outcomes with the axes of the batch behind the first, n at the end."""
        rows = self._rows
        xp = array_namespace(rows.log_probs)

        def over_batch(x: Array) -> Array:
            x = xp.moveaxis(x, -1, 0)
            return xp.moveaxis(rows.split(x, *x.shape[1:]), len(rows.batch), 0)

        return Law(*map(over_batch, self._structure.law(rows.log_probs, elements)))

    def _vectors(self, elements: np.ndarray) -> Array:
        """Return 0/1 vectors ``(count, n)``."""
        log_probs = self._rows.log_probs
        xp, here = array_namespace(log_probs), device(log_probs)
        numbers = xp.arange(self._rows.n, device=here)
        found = xp.asarray(elements, device=here)
        taken = [found[:, j, None] == numbers for j in range(elements.shape[1])]
        return sum(xp.astype(each, log_probs.dtype) for each in taken)


def check_enumerable(structure: Structure, n: int, variables: int, samples: int, most: int) -> None:
    """Raise unless joint outcomes can be enumerated: as many as elements always can."""
    instead = "compare with an unbiased estimator instead: reference= of rbgs.compare"
    if not structure.has_law(n):
        raise ValueError(
            f"the outcomes of {structure} have more than {LARGEST} elements, and their law is "
            f"known from tables of all parts of each. Measure on smaller ones, or {instead}"
        )
    each = structure.count(n)
    joint = each ** (variables * samples)
    if joint <= max(most, n):
        return
    is_categorical = isinstance(structure, Categorical)
    if variables * samples == 1:
        found = f"{structure} has {_short(joint)} outcomes for {n} elements"
    else:
        of = f"{n} categories" if is_categorical else f"{_short(each)} outcomes, {structure},"
        draws = f", in {samples} draws," if samples > 1 else ""
        found = f"{variables} variables of {of} share a loss: that{draws} is {_short(joint)} "
        found += "joint outcomes"
    raise ValueError(
        f"{found}, more than max_outcomes={most}. Measure on fewer variables or "
        f"{'categories' if is_categorical else 'elements'}, raise the limit, or {instead}"
    )


def _short(count: int) -> str:
    return f"{count:.4g}" if count < 10**300 else "over 1e+300"
