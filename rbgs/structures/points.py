"""The operator of a structure: the mean Jacobian of its relaxation over points given the trace.

As for a categorical variable nothing of the size of the samples is stored: see
`rbgs.conditional.samples`.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from rbgs.arrays.devices import device
from rbgs.arrays.loops import over_samples, samples_per_block
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.ordering import picked
from rbgs.arrays.rows import nan_unless
from rbgs.arrays.simplex import clamp
from rbgs.arrays.typing import Array, Temperature
from rbgs.conditional.lattice import generators, lattice_exponentials
from rbgs.conditional.samples import product_by_rows
from rbgs.draw import matrix_of
from rbgs.random.noise import exponential
from rbgs.random.threefry import uniforms
from rbgs.structures.trace import Trace, log_times


class Relaxation(Protocol):
    """What points need of a structure: see `rbgs.structures.matroid.Matroid`."""

    def point(self, utilities: Array, trace: Trace) -> Array:
        """Return the relaxed structure."""

    def product(self, utilities: Array, trace: Trace, vector: Array) -> Array:
        """Return the derivative of `point` times a vector."""

    def log_totals(self, log_probs: Array, trace: Trace) -> Array:
        """Return the logarithms of the sums of the rates in the race."""

    def size(self, n: int) -> int:
        """Return how many numbers `product` needs for a point."""

    def compiled_product(self, points: "TraceSamples", vector: Array) -> Array | None:
        """Return the mean of `product` over points in one loop, None where there is none."""


@dataclass(frozen=True)
class TraceSamples:
    r"""The mean Jacobian of the relaxation over K points drawn given the trace.

    The first point uses the exponentials that the race left, so it is that of the race itself. The
    others are, without a key, the further points of a lattice that the first one shifts; with a
    key, independent draws of a counter-based generator.

    Attributes
    ----------
    structure : Matroid
        The structure.
    temperature : float or array ``(1,)`` or ``(rows,)``
        The temperature.
    samples : int
        The paper's K.
    log_probs : array ``(n, rows)``
        Normalised log-rates.
    order, step : arrays
        The trace.
    exponentials : array ``(n, rows)``
        Of the first point.
    key : int32 array ``(2, rows)`` or None
        A key for each row.
    """

    structure: Relaxation
    temperature: Temperature
    samples: int
    log_probs: Array
    order: Array
    step: Array
    exponentials: Array
    key: Array | None = None

    def product(self, vector: Array) -> Array:
        """Return the operator times a vector ``(n, rows)``."""
        compiled = self.structure.compiled_product(self, vector)
        if compiled is not None:
            return compiled
        return product_by_rows(_product, self, vector, self.structure.size(int(vector.shape[0])))

    def matrix(self) -> Array:
        """Return the operator as matrices ``(rows, n, n)``."""
        return matrix_of(self.product, self.log_probs)

    def first(self) -> Array:
        """Return the first point ``(n, rows)``."""
        drawn = _Drawn(self)
        point = self.structure.point(drawn.first(), drawn.trace)
        return point[:, 0, :] + _nan_where(self.log_probs)


def _product(points: TraceSamples, vector: Array) -> Array:
    """Return the product for rows that make one block."""
    xp, drawn, structure = array_namespace(vector), _Drawn(points), points.structure
    block = samples_per_block(vector, points.samples, structure.size(int(vector.shape[0])))

    def add(utilities: Array, total: Array) -> Array:
        product = structure.product(utilities, drawn.trace, vector[:, None, :])
        return total + xp.sum(product, axis=1)

    begun, utilities = min(block, points.samples), drawn.first()
    if begun > 1:
        utilities = xp.concat([utilities, drawn.further(1, begun - 1)], axis=1)
    total = over_samples(
        vector,
        begun,
        points.samples,
        block,
        lambda start, count, total: add(drawn.further(start, count), total),
        add(utilities, xp.zeros_like(vector)),
    )
    return total / (points.samples * points.temperature) + _nan_where(points.log_probs)


class _Drawn:
    """What the points of a block of rows have in common."""

    def __init__(self, points: TraceSamples) -> None:
        xp, n = array_namespace(points.log_probs), points.log_probs.shape[0]
        self.points = points
        self.trace = Trace(points.order, points.step)
        self.log_totals = points.structure.log_totals(points.log_probs, self.trace)
        self.taken = self.trace.taken
        self.shift: Array = None
        if points.key is None and points.samples > 1:
            # 1 - exp(-E): the uniforms that the first point was made of.
            self.shift = -xp.expm1(-points.exponentials)
            found = generators(points.samples)
            rank, here = points.order.shape[0], device(points.log_probs)
            # A taking has the generators from the first one on, which is 1; the others follow.
            of_taking = [(1, *found)[s % (len(found) + 1)] for s in range(rank)]
            of_other = [found[(j + rank - 1) % len(found)] for j in range(n)]
            of_taking, of_other = (
                xp.asarray(z, dtype=xp.int32, device=here)[:, None] for z in (of_taking, of_other)
            )
            self.generators = xp.where(self.taken, picked(of_taking, points.step), of_other)

    def first(self) -> Array:
        """Return the utilities of the first point, ``(n, 1, rows)``."""
        return self._utilities(self.points.exponentials[:, None, :])

    def further(self, start: Any, count: int) -> Array:
        """Return the utilities of some points by their numbers, ``(n, count, rows)``."""
        points, xp = self.points, array_namespace(self.points.log_probs)
        numbers = xp.arange(count, dtype=xp.int32, device=device(points.log_probs)) + start
        if self.shift is not None:
            return self._utilities(
                lattice_exponentials(self.generators, self.shift, numbers, points.samples)
            )
        n, dtype = points.log_probs.shape[0], points.log_probs.dtype
        return self._utilities(exponential(uniforms(points.key, numbers, n, dtype)))

    def _utilities(self, exponentials: Array) -> Array:
        r"""Return :math:`-\log T / \tau` less that of the last taking."""
        points, xp = self.points, array_namespace(exponentials)
        limits = xp.finfo(exponentials.dtype)
        # Nothing arrives at once, and an element that is forbidden never does.
        later = clamp(exponentials, low=limits.smallest_normal)
        taken = clamp(exponentials, low=limits.eps / 4)
        exponentials = xp.where(self.taken[:, None, :], taken, later)
        log_t, log_last = log_times(self.trace, points.log_probs, self.log_totals, exponentials)
        return (log_last - log_t) / points.temperature


def _nan_where(log_probs: Array) -> Array:
    """Return NaN in rows that are not valid, and 0 elsewhere."""
    xp = array_namespace(log_probs)
    return nan_unless(~xp.isnan(log_probs), log_probs)
