"""The constants of the control variate: see `rbgs.conditional.control_variate`."""

from rbgs.compiled.blocks import sum_of
from rbgs.compiled.compiler import inlined
from rbgs.compiled.math import exp
from rbgs.compiled.vectors import lanes_of, load, select, spread, sqrt, store


@inlined
def write_rule(powers, roots, rule, first, count, temperature, least):
    """Write r^τ and the roots: see `rbgs.conditional.control_variate.quadrature`."""
    lanes = lanes_of(powers)
    for q in range(count):
        power = exp(temperature * rule[count + q])
        store(powers, (first + q) * lanes, select(power < least, least, power))
        store(roots, (first + q) * lanes, sqrt(temperature * power) * rule[2 * count + q])


@inlined
def write_constants(block, over_categories, means, rule, powers, roots, share):
    """Write 1 + m_j and E[a_j] of `rbgs.conditional.control_variate` for one block.

    The first rows of ``powers`` and ``roots`` belong to the rule ``means``.
    """
    lanes, count = lanes_of(block.probs), means.size // 3
    zero = spread(block.probs.dtype.type(0), block.probs)
    total = zero
    for at in range(0, block.probs.size, lanes):
        p, mean = load(block.probs, at), zero
        for q in range(0, count * lanes, lanes):
            inverse = 1 / (load(powers, q) * (1 - p) + p)
            root = load(roots, q) * inverse
            mean = mean + root * root
        store(block.others, at, mean * p)
        total = total + mean * p
    total = sum_of(total, over_categories)
    for at in range(0, block.probs.size, lanes):
        p, result = load(block.probs, at), zero
        other = (total - load(block.others, at)) * share + 1
        for q in range(rule.size // 3):
            place = (count + q) * lanes
            inverse = 1 / ((load(powers, place) * (1 - p) + p) * (other + rule[q]))
            root = load(roots, place) * inverse
            result = result + root * root
        store(block.others, at, other)
        store(block.expected, at, result * p)
