"""Which structure comes out, in which order, and in which order it is taken if it is given."""

import numpy as np
import pytest
from backends import to_numpy
from enumeration import (
    assert_law,
    counted,
    law_of_structures,
    law_of_traces,
    outcome,
    structures,
)

import rbgs

CASES = {
    "3 of 6": (rbgs.Subset(3), 6),
    "K4": (rbgs.SpanningTree([(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]), 6),
    "chord": (rbgs.SpanningTree([(0, 1), (1, 2), (2, 3), (3, 4), (4, 0), (1, 3)]), 6),
}
LOGITS = np.asarray([0.5, -1.0, 0.8, 0.0, -0.3, 1.1])
each_case = pytest.mark.parametrize(("structure", "n"), CASES.values(), ids=CASES)


@each_case
def test_structures_and_their_traces_have_the_law_of_the_race(xp, structure, n):
    count, outcomes, powers = 20_000, structures(structure, n), 2 ** np.arange(n)
    logits = np.stack([LOGITS, np.where(np.arange(n) == 3, -np.inf, LOGITS)])
    drawn = outcome(structure, xp.asarray(np.repeat(logits[:, None], count, axis=1)))
    orders = np.reshape(to_numpy(drawn.index.order), (-1, 2, count))
    index = to_numpy(drawn.rows.restore(drawn.winner)).astype(int)
    for row, rates in enumerate(np.exp(logits)):
        law = law_of_traces(outcomes, rates)
        assert_law(counted(orders[:, row], law), list(law.values()))
        is_it = (index[row] @ powers)[:, None] == outcomes @ powers
        assert (is_it.sum(axis=-1) == 1).all()
        assert_law(is_it.sum(axis=0), law_of_structures(outcomes, rates))


@each_case
def test_the_order_of_a_given_structure_is_that_of_the_race(structure, n):
    outcomes, count = structures(structure, n), 20_000
    law = law_of_traces(outcomes, np.exp(LOGITS))
    rows = np.tile(LOGITS, (count, 1))
    for given in outcomes[:: len(outcomes) // 3]:
        drawn = outcome(structure, rows, index=np.tile(given, (count, 1)))
        orders = {t: p for t, p in law.items() if set(t) == set(np.flatnonzero(given))}
        total = sum(orders.values())
        assert_law(counted(drawn.index.order, orders), [p / total for p in orders.values()])


def test_a_given_structure_of_many_elements_has_the_order_of_the_race():
    # By the race itself, where it takes all elements but the first.
    n, k, count = 8, 7, 20_000
    logits = np.linspace(-1.5, 1.5, n)
    rows, structure = np.tile(logits, (count, 1)), rbgs.Subset(k)
    drawn = outcome(structure, rows)
    given = np.ones((count, n), int)
    given[:, 0] = 0
    orders = outcome(structure, rows, rng=1, index=given).index.order
    same = drawn.index.order[:, drawn.winner[0] == 0]
    for step in (0, 3, 6):
        expected = np.bincount(same[step], minlength=n)
        found = np.bincount(orders[step], minlength=n)
        error = np.sqrt(expected / same.shape[1] ** 2 + found / count**2) + 1e-9
        assert np.all(np.abs(expected / same.shape[1] - found / count) < 5 * error)
