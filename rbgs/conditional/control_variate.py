r"""The pairwise control variate: the Jacobian of the winner with each rival alone.

At a low temperature the Jacobian is rare near-ties of the winner with one rival. With all other
rivals held at a constant :math:`m_j`, the Jacobian's entry for such a pair is :math:`-a_j / \tau`,
:math:`a_j = r_j / (1 + m_j + r_j)^2`, whose mean is a one-dimensional integral,

.. math:: E[a_j] = \tau p_j \int_0^1 \frac{r^\tau}{(1 + m_j + r)^2 (r^\tau (1 - p_j) + p_j)^2} dr.

The estimate minus :math:`c_j = (a_j - E[a_j]) (v_j - v_i) / \tau` for each rival, plus their sum
for the winner, has the same mean for any :math:`m_j` that does not depend on the sample, and much
less variance. With two categories nothing is left to vary.
"""

from typing import Any

import numpy as np

from rbgs.arrays.devices import device
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.simplex import clamp, scalar
from rbgs.arrays.tracing import is_traced_by_torch
from rbgs.arrays.typing import Array, Temperature

# Above this temperature it is worth little and its integral is harder: it is left out.
HIGHEST_TEMPERATURE = 2.0
# The constant, relative to the mean of the other rivals' sum: the best of those measured.
SHARE = 1.5
MEAN_NODES = 6
# No node goes below the smallest normal number to this power: one over its square is finite.
LEAST_POWER = 0.4


def pays(n: int, temperature: Temperature) -> bool:
    """Tell whether it lowers the variance by more than it costs.

    See `nox -s variance`, and for many categories `benchmarks.measurements.defaults`.
    """
    if not isinstance(temperature, float):
        return n <= 16
    highest = HIGHEST_TEMPERATURE if n <= 16 else 0.5 if n <= 128 else 0.3
    return temperature <= highest


def _gauss_legendre(count: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return nodes and weights on (0, 1) after r = x^5, which smooths the integrand at 0."""
    x, weights = np.polynomial.legendre.leggauss(count)
    x = (x + 1) / 2
    return tuple((x**5).tolist()), tuple((weights / 2 * 5 * x**4).tolist())


# Made at import: a compiler of the caller's program then sees constants.
RULES = {count: _gauss_legendre(count) for count in (MEAN_NODES, 12, 16, 20, 24, 32, 36, 64)}


def node_count(temperature: Temperature, single: bool) -> int:
    """Return how many nodes leave an error of the operator below 1e-9, or 1e-6 if ``single``."""
    highest = temperature if isinstance(temperature, float) else HIGHEST_TEMPERATURE
    for bound, in_single, in_double in ((0.3, 12, 20), (0.5, 12, 24), (1.0, 16, 36)):
        if highest <= bound:
            return in_single if single else in_double
    return 32 if single else 64


def quadrature(temperature: Temperature, like: Array, count: int) -> tuple[Array, Array, Array]:
    r"""Return nodes r, :math:`r^\tau` and :math:`\sqrt{\tau r^\tau w}`: ``(node, 1 or rows)``."""
    xp = array_namespace(like)
    nodes, weights = RULES[count]
    least = xp.finfo(like.dtype).smallest_normal ** LEAST_POWER

    def array(x: list[float]) -> Any:
        return xp.asarray(x, dtype=like.dtype, device=device(like))[:, None]

    r = array(list(nodes))
    if is_traced_by_torch(like):
        temperature = scalar(temperature, like)
    if isinstance(temperature, float):
        power = [x**temperature for x in nodes]
        roots = [(temperature * x * w) ** 0.5 for x, w in zip(power, weights, strict=True)]
        return r, array([max(x, least) for x in power]), array(roots)
    powers = r**temperature
    return r, clamp(powers, low=least), xp.sqrt(temperature * powers * array(list(weights)))


def constants(probs: Array, winner: Array, temperature: Temperature) -> tuple[Array, Array]:
    """Return :math:`1 + m_j` and :math:`E[a_j]`, each ``(n, rows)``; the latter 0 at the winner."""
    xp = array_namespace(probs)
    p = probs * (1 - winner)

    def at_nodes(count: int) -> tuple[Array, Array, Array]:
        r, power, roots = quadrature(temperature, probs, count)
        # Its square is a weight over this one's square: it stays in range where r^τ is tiny.
        below = power[:, None, :] + p[None, ...] * (1 - power)[:, None, :]
        return r[:, None, :], below, roots[:, None, :]

    _, below, roots = at_nodes(MEAN_NODES)
    means = p * xp.sum((roots / below) ** 2, axis=0)  # E[r_j], roughly: any value serves
    others = 1 + SHARE * (xp.sum(means, axis=0) - means)
    r, below, roots = at_nodes(node_count(temperature, probs.dtype == xp.float32))
    return others, p * xp.sum((roots / (below * (others + r))) ** 2, axis=0)
