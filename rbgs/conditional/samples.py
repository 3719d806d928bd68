r"""The operator of Gumbel-Rao by sampling: the mean softmax Jacobian over points drawn given D.

Nothing of the size of the samples is stored: the points are computed again for each product, block
by block, from arrays of the size of the logits.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from operator import mul, truediv
from typing import Any, TypeAlias, TypeVar

from array_api_compat import is_jax_namespace

from rbgs.arrays.devices import device
from rbgs.arrays.engine import engine_for
from rbgs.arrays.loops import over_rows, over_samples, rows_per_block, samples_per_block
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.reuse import in_place
from rbgs.arrays.scalars import is_array
from rbgs.arrays.simplex import clamp, one_hot
from rbgs.arrays.tracing import is_traced
from rbgs.arrays.typing import Array, Temperature
from rbgs.conditional import control_variate
from rbgs.conditional.lattice import generators, lattice_exponentials, minus_coordinates
from rbgs.conditional.race import race_rates, relative_weights
from rbgs.draw import matrix_of
from rbgs.random.noise import exponential
from rbgs.random.threefry import uniforms

_Sums: TypeAlias = tuple[Array, Array, Array]
Points = TypeVar("Points", bound=Any)


@dataclass(frozen=True)
class ConditionalSamples:
    r"""The K points :math:`s^k = \operatorname{softmax}((\theta + G^k) / \tau)` drawn given D.

    The first point uses the exponentials that the race left, so with one sample it is that of the
    straight-through Gumbel-softmax. The others are, without a key, the further points of a lattice
    that the first one shifts; with a key, independent draws of a counter-based generator.

    Attributes
    ----------
    temperature : float or array ``(1,)`` or ``(rows,)``
        The temperature.
    samples : int
        The paper's K.
    log_probs : array ``(n, rows)``
        Normalised log-probabilities.
    index : integer array ``(rows,)``
        The outcome; anything where the log-probabilities are NaN.
    exponentials : array ``(n, rows)``
        Of the first point.
    key : int32 array ``(2, rows)`` or None
        A key for each row.
    control_variate : bool
        Whether the pairwise control variate is used.
    """

    temperature: Temperature
    samples: int
    log_probs: Array
    index: Array
    exponentials: Array
    key: Array | None = None
    control_variate: bool = False

    def product(self, vector: Array) -> Array:
        """Return the operator times a vector ``(n, rows)``."""
        engine = engine_for(self.log_probs)
        if engine is not None:
            return engine.product(self, vector)
        return product_by_rows(_product, self, vector, int(vector.shape[0]))

    def matrix(self) -> Array:
        """Return the operator as matrices ``(rows, n, n)``."""
        return matrix_of(self.product, self.log_probs)

    def points(self) -> Array:
        """Return all points ``(n, K, rows)``: for a look at them, not for the product."""
        xp = array_namespace(self.log_probs)
        sampler = _Sampler.of(self)
        blocks = [sampler.first()] if sampler.generators is None else []
        if len(blocks) < self.samples:
            blocks.append(sampler.relative(len(blocks), self.samples - len(blocks)))
        weights = xp.concat(blocks, axis=1)
        return weights / xp.sum(weights, axis=0)


def product_by_rows(
    product: Callable[[Points, Array], Array], points: Points, vector: Array, size: int
) -> Array:
    """Return the product of points with a vector, rows block by block.

    A row has ``size`` numbers a sample; the arrays of the points have rows along the last axis.
    """
    xp = array_namespace(vector)
    if is_traced(points.log_probs) or is_traced(vector) or is_jax_namespace(xp):
        return product(points, vector)  # the compiler divides the work
    return over_rows(
        xp,
        vector.shape[1],
        rows_per_block(vector, points.samples, size),
        lambda rows: product(_of_rows(points, rows), vector[:, rows]),
    )


def _of_rows(points: Points, rows: slice) -> Points:
    """Return the part of points; a temperature that all rows share belongs to each part."""
    taken: dict[str, Any] = {}
    for field in fields(points):
        x = getattr(points, field.name)
        if is_array(x) and x.shape[-1] > 1:
            taken[field.name] = x[..., rows]
    return replace(points, **taken)


def _product(points: ConditionalSamples, vector: Array) -> Array:
    """Return the product for rows that make one block."""
    xp = array_namespace(points.log_probs)
    sampler = _Sampler.of(points)
    temperature = points.temperature
    # The Jacobian does not see a common offset. From the winner, whose point is close to 1 at a low
    # temperature, no difference of nearly equal numbers is left.
    vector = vector - xp.sum(sampler.winner * vector, axis=0)
    zero = xp.zeros_like(points.log_probs)
    others = expected = zero
    if points.control_variate:
        probs = xp.exp(points.log_probs)
        others, expected = control_variate.constants(probs, sampler.winner, temperature)

    def add(relative: Array, sums: _Sums) -> _Sums:
        first, second, pairs = sums
        inverse = 1 / xp.sum(relative, axis=0)
        if points.control_variate:
            shifted = relative + others[:, None, :]
            pairs = pairs + xp.sum(relative / in_place(mul, shifted, shifted), axis=1)
        relative = in_place(mul, relative, inverse)
        weighted = relative * vector[:, None, :]
        first = first + xp.sum(weighted, axis=1)
        relative = in_place(mul, relative, xp.sum(weighted, axis=0))
        second = second + xp.sum(relative, axis=1)
        return first, second, pairs

    sums, done = (zero, zero, zero), 0
    if sampler.generators is None:
        sums, done = add(sampler.first(), sums), 1
    first, second, pairs = over_samples(
        points.log_probs,
        done,
        points.samples,
        samples_per_block(vector, points.samples, int(vector.shape[0])),
        lambda start, count, sums: add(sampler.relative(start, count), sums),
        sums,
    )
    return _finish(sampler, vector, first - second, pairs, expected)


def _finish(
    sampler: "_Sampler", vector: Array, total: Array, pairs: Array, expected: Array
) -> Array:
    """Return the mean of the Jacobian's product with a vector that is 0 at the winner."""
    xp, points = array_namespace(vector), sampler.points
    samples, temperature = points.samples, points.temperature
    product = total / (samples * temperature)
    if not points.control_variate:
        return product
    change = (pairs / samples - expected) * vector / temperature
    if not isinstance(temperature, float):
        change = xp.where(temperature <= control_variate.HIGHEST_TEMPERATURE, change, 0.0)
    # The winner's own term is 0.
    return product - change + sampler.winner * xp.sum(change, axis=0)


@dataclass(frozen=True)
class _Sampler:
    """What the points of a block of rows have in common; ``generators`` are those of a lattice."""

    points: ConditionalSamples
    winner: Array
    rates: Array
    weights: Array
    shift: Array | None
    generators: Array | None

    @classmethod
    def of(cls, points: ConditionalSamples) -> "_Sampler":
        xp = array_namespace(points.log_probs)
        winner = one_hot(points.index, points.log_probs.shape[0], points.log_probs.dtype)
        rates, weights = race_rates(points.log_probs, winner, points.temperature)
        shift = z = None
        if points.key is None and points.samples > 1:
            # 1 - exp(-E): the uniforms that the first point was made of.
            shift = -xp.expm1(-points.exponentials)
            found = generators(points.samples)
            z = xp.asarray(
                [found[j % len(found)] for j in range(rates.shape[0])],
                dtype=xp.int32,
                device=device(rates),
            )[:, None]
        return cls(points, winner, rates, weights, shift, z)

    def first(self) -> Array:
        """Return the relative weights of the first point, ``(n, 1, rows)``."""
        return self._relative(self._over_winner(self.points.exponentials[:, None, :]))

    def relative(self, start: Any, count: int) -> Array:
        """Return the relative weights of some points by their numbers, ``(n, count, rows)``."""
        xp = array_namespace(self.rates)
        numbers = xp.arange(count, dtype=xp.int32, device=device(self.rates)) + start
        if self.generators is not None and self.shift is not None:
            samples = self.points.samples
            exponentials = lattice_exponentials(self.generators, self.shift, numbers, samples)
            of_winner = xp.sum(self.winner * self.shift, axis=0)[None, :]
            below = minus_coordinates(1, of_winner, numbers, samples)
            # An exponential of 0 would divide by it.
            of_winner = -xp.log1p(clamp(below, high=-xp.finfo(self.rates.dtype).eps / 4))
            return self._relative(in_place(truediv, exponentials, of_winner))
        drawn = uniforms(self.points.key, numbers, self.rates.shape[0], self.rates.dtype)
        return self._relative(self._over_winner(exponential(drawn)))

    def _relative(self, ratios: Array) -> Array:
        rates, weights = self.rates[:, None, :], self.weights[:, None, :]
        return relative_weights(ratios, rates, weights, self.points.temperature)

    def _over_winner(self, exponentials: Array) -> Array:
        xp = array_namespace(exponentials)
        of_winner = xp.sum(self.winner[:, None, :] * exponentials, axis=0)
        # A row that cannot be answered has no winner.
        return exponentials / xp.where(of_winner == 0, 1.0, of_winner)
