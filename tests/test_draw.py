"""What a person sees of a draw and of an estimator, and what is not to be done with a draw."""

import copy
import dataclasses
import inspect
import pickle

import numpy as np
import pytest
from backends import to_numpy
from cases import ESTIMATORS, PATHWISE, exp_oracle, name

import rbgs

LOGITS = np.random.default_rng(0).normal(size=(2, 3))
each_estimator = pytest.mark.parametrize("estimator", ESTIMATORS, ids=name)
WITH_TEMPERATURE = [type(e) for e in PATHWISE[:4]]


@each_estimator
def test_a_draw_shows_what_is_public(xp, estimator):
    draw = estimator.sample(xp.asarray(LOGITS), rng=0)
    shown = repr(draw)
    assert shown.startswith(f"Draw(estimator={type(estimator).__name__}, shape=(2, 3),")
    assert repr(draw.value).split("\n")[0] in shown
    assert repr(draw.index) in shown
    assert "_rows" not in shown
    assert "_operator" not in shown
    assert str(draw) == shown


def test_a_lazy_draw_shows_what_is_public():
    da, door = pytest.importorskip("dask.array"), pytest.importorskip("rbgs.dask")
    draw = door.sample(rbgs.GumbelRao(0.5), da.from_array(LOGITS), key=rbgs.Key(0))
    assert repr(draw).startswith("LazyDraw(estimator=GumbelRao, shape=(2, 3),\n")
    assert repr(draw.value) in repr(draw)
    assert repr(draw.index) in repr(draw)
    assert "_block" not in repr(draw)
    with pytest.raises(TypeError, match=r"a LazyDraw is no array.*value.*index"):
        np.argmax(draw)


def test_signatures_have_no_private_names():
    pytest.importorskip("dask.array")
    public = [getattr(rbgs, x) for x in rbgs.__all__]
    for what in (*public, pytest.importorskip("rbgs.dask").LazyDraw):
        names = inspect.signature(what).parameters
        assert not [x for x in names if x.startswith("_")], what


@pytest.mark.parametrize(
    "taken_for",
    [
        np.argmax,
        np.asarray,
        np.sum,
        np.exp,
        lambda draw: np.ones(3) * draw,
        lambda draw: np.stack([draw, draw]),
        float,
        int,
        bool,
        len,
        list,
        lambda draw: draw[0],
    ],
)
def test_a_draw_is_no_array(xp, taken_for):
    draw = rbgs.GumbelRao(0.5).sample(xp.asarray(LOGITS), rng=0)
    with pytest.raises(TypeError, match=r"a Draw is no array.*value.*index"):
        taken_for(draw)


def test_a_draw_is_no_tensor():
    torch = pytest.importorskip("torch")
    draw = rbgs.GumbelRao(0.5).sample(torch.asarray(LOGITS), rng=0)
    for taken_for in (torch.as_tensor, torch.tensor, torch.argmax):
        with pytest.raises(TypeError, match="Draw"):
            taken_for(draw)


@each_estimator
def test_draws_are_compared_by_identity_and_copied(estimator):
    draw, other = (estimator.sample(LOGITS, rng=0) for _ in range(2))
    assert draw == draw
    assert draw != other
    assert len({draw, other}) == 2
    for again in (copy.copy(draw), copy.deepcopy(draw), pickle.loads(pickle.dumps(draw))):
        np.testing.assert_array_equal(again.value, draw.value)
        if estimator in PATHWISE:
            np.testing.assert_array_equal(again.vjp(LOGITS), draw.vjp(LOGITS))
    with pytest.raises(dataclasses.FrozenInstanceError):
        draw.value = 0


@each_estimator
def test_an_estimator_is_what_it_shows(estimator):
    names = {x: getattr(rbgs, x) for x in rbgs.__all__} | {"exp_oracle": exp_oracle}
    again = eval(repr(estimator), names)
    assert again == estimator
    assert hash(again) == hash(estimator)
    assert repr(again) == repr(estimator)


def test_what_does_not_matter_is_neither_shown_nor_compared():
    assert repr(rbgs.GumbelRao(0, samples=3)) == "GumbelRao(temperature=0.0)"
    assert rbgs.GumbelRao(0, 3, "monte_carlo", True) == rbgs.GumbelRao(0)
    exact = rbgs.GumbelRao(0.5, 3, "exact", control_variate=False)
    assert repr(exact) == "GumbelRao(temperature=0.5, sampling='exact')"
    assert exact == rbgs.GumbelRao(0.5, sampling="exact")
    assert len({exact, rbgs.GumbelRao(0.5, sampling="exact"), rbgs.GumbelRao(0.5)}) == 2
    # A schedule that reaches 0 and comes back has not lost them.
    assert dataclasses.replace(rbgs.GumbelRao(0, samples=3), temperature=0.5).samples == 3
    assert rbgs.GumbelRao(0.5) != rbgs.GumbelRao(0.5, samples=3)
    assert rbgs.StraightThrough(0.5) != rbgs.StraightThroughGumbelSoftmax(0.5)
    assert rbgs.StraightThrough(0.5) != 0.5


@pytest.mark.parametrize("kind", WITH_TEMPERATURE)
def test_estimators_with_arrays_are_compared(xp, kind):
    def at(temperatures, dtype=xp.float64):
        return kind(xp.asarray(temperatures, dtype=dtype))

    one = at([0.5, 1.0])
    assert (one == at([0.5, 1.0])) is True
    assert (one != at([0.5, 1.0])) is False
    assert (one == at([0.5, 2.0])) is False
    assert (one == at([0.5, 1.0, 2.0])) is False
    assert (one == at([0.5, 1.0], xp.float32)) is False
    assert (one == kind(0.5)) is False
    assert (kind(0.5) == one) is False
    assert (one == dataclasses.replace(one)) is True
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


def test_estimators_with_traced_arrays_are_compared_by_identity():
    jax = pytest.importorskip("jax")

    def compared(x):
        one, concrete = rbgs.GumbelRao(x), rbgs.GumbelRao(jax.numpy.full(2, 0.5))
        found = one == rbgs.GumbelRao(x), one == rbgs.GumbelRao(x * 1), one == concrete
        assert found == (True, False, False)
        return x

    jax.jit(compared)(jax.numpy.full(2, 0.5))


def test_moments_are_compared_by_identity():
    def oracle(value):
        return (value**2).sum(axis=-1), 2 * value

    one, other = (
        rbgs.compare([rbgs.GumbelRao(0.5)], oracle, LOGITS, draws=8, rng=0)[0] for _ in range(2)
    )
    assert one == one
    assert one != other


def test_reinforce_takes_numbers_and_arrays_that_fit(xp):
    logits = xp.asarray(LOGITS)

    def oracle(value):
        return xp.sum(value**2 * 3, axis=-1), 6 * value

    expected = to_numpy(rbgs.Reinforce(2.0).gradient(oracle, logits, rng=0))
    for baseline in (2, np.float32(2), np.int64(2), np.asarray(2.0), xp.asarray([2.0, 2.0])):
        if not isinstance(baseline, (int, np.generic)) and baseline.ndim:
            baseline = xp.astype(baseline, xp.float64)
        estimator = rbgs.Reinforce(baseline)
        found = estimator.gradient(oracle, logits, rng=0)
        np.testing.assert_allclose(to_numpy(found), expected)
        assert estimator == rbgs.Reinforce(baseline)
    for shape in ((3,), (2, 1), (2, 2), (5, 2)):
        wrong = rbgs.Reinforce(xp.zeros(shape, dtype=xp.float64))
        with pytest.raises(ValueError, match=r"baseline has shape .* against \(2,\)"):
            wrong.gradient(oracle, logits, rng=0)
    per_draw = rbgs.Reinforce(xp.zeros((4, 1), dtype=xp.float64), samples=4)
    assert tuple(per_draw.gradient(oracle, logits, rng=0).shape) == (2, 3)
    for wrong in (True, np.bool_(False), 1j):
        with pytest.raises(ValueError, match="baseline must be None, a number"):
            rbgs.Reinforce(wrong)
