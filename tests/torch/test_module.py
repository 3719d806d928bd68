"""The layer `Sampler`: its temperature, what is saved of it, and how it is evaluated."""

import copy
import io
import pickle

import numpy as np
import pytest
from cases import PATHWISE, STRUCTURED, name

import rbgs

torch = pytest.importorskip("torch")
door = pytest.importorskip("rbgs.torch")

LOGITS = torch.asarray(np.random.default_rng(0).normal(size=(6, 4)))


# Five elements, as the structures of the tests have.
FIVE = torch.asarray(np.random.default_rng(1).normal(size=(20, 5)))


def model(temperature=1.0, **options):
    layer = door.Sampler(rbgs.GumbelRao(temperature, samples=3), dim=1, **options)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), layer)


def saved_and_loaded(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def test_a_layer():
    layer = door.Sampler(rbgs.GumbelRao(1.0, samples=3), dim=1)
    assert (
        torch.nn.Sequential(torch.nn.Linear(3, 4), layer)(torch.randn(5, 3)).sum(dim=1).tolist()
        == [1.0] * 5
    )
    layer.temperature = 0.25
    assert "temperature=0.25" in repr(layer)
    with pytest.raises(ValueError, match="temperature must be"):
        layer.temperature = -1.0
    noise = layer.estimator.noise(LOGITS, 0, axis=1)
    expected = layer.estimator.sample(LOGITS, noise=noise, axis=1).value
    torch.testing.assert_close(layer(LOGITS, noise=noise), expected)


@pytest.mark.parametrize("temperature", [0.1, np.float64(0.1), np.float32(0.25), 1])
def test_the_temperature_is_saved_as_a_tensor(temperature):
    trained, restored = model(), model()
    trained[1].temperature = temperature
    state = saved_and_loaded(trained.state_dict())
    assert all(isinstance(x, torch.Tensor) for x in state.values())
    assert restored.load_state_dict(state) == torch.nn.Module().load_state_dict({})
    assert restored[1].temperature == float(temperature)
    assert restored[1].estimator == trained[1].estimator


def test_a_checkpoint_without_the_temperature():
    state = saved_and_loaded(torch.nn.Sequential(torch.nn.Linear(3, 4)).state_dict())
    restored = model(0.7)
    restored.load_state_dict(state, strict=True)
    assert restored[1].temperature == 0.7
    torch.testing.assert_close(restored[0].weight, state["0.weight"])
    del state["0.bias"]
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "0\.bias"\. *$'):
        restored.load_state_dict(state, strict=True)
    with pytest.raises(RuntimeError, match=r"1\.gain"):
        restored.load_state_dict(model().state_dict() | {"1.gain": torch.ones(())})


def test_a_layer_pickled_before_there_was_the_choice():
    layer = door.Sampler(rbgs.GumbelRao(0.5))
    del layer.__dict__["deterministic_eval"]
    other = pickle.loads(pickle.dumps(layer)).eval()
    assert repr(other) == repr(door.Sampler(rbgs.GumbelRao(0.5)))
    leaf = LOGITS.clone().requires_grad_()
    assert other(leaf).requires_grad


def test_a_checkpoint_with_a_dictionary():
    state = model().state_dict()
    state["1._extra_state"] = {"temperature": 0.3}
    restored = model()
    restored.load_state_dict(saved_and_loaded(state))
    assert restored[1].temperature == 0.3


def evaluated(estimator, logits=FIVE, **options):
    """Return the value of a layer that is evaluated; it draws no random number."""
    layer = door.Sampler(estimator, deterministic_eval=True).eval()
    state = torch.get_rng_state()
    value = layer(logits.clone().requires_grad_(), **options)
    assert torch.equal(torch.get_rng_state(), state)
    assert not value.requires_grad
    return value


def one_hot(index):
    return torch.nn.functional.one_hot(index, 5).double()


@pytest.mark.parametrize(
    "estimator", [x for x in PATHWISE if not isinstance(x, rbgs.GumbelSoftmax)], ids=name
)
def test_the_most_probable_category(estimator):
    assert torch.equal(evaluated(estimator), one_hot(FIVE.argmax(dim=-1)))


@pytest.mark.parametrize("estimator", [x for x in STRUCTURED if x._pathwise], ids=name)
def test_the_best_structure(estimator):
    """That of the greatest sum of logits, which for a subset is the most probable one."""
    values = torch.asarray(structures(estimator._structure))
    best = values[(FIVE @ values.T).argmax(dim=-1)]
    if isinstance(estimator, rbgs.GumbelSoftmax):
        found = evaluated(rbgs.GumbelSoftmax(1e-3, estimator.structure))
        torch.testing.assert_close(found, best, atol=0.01, rtol=0)
    else:
        assert torch.equal(evaluated(estimator), best)


def structures(structure):
    """Return all outcomes as 0/1 vectors."""
    vectors = np.zeros((structure.count(5), 5))
    np.put_along_axis(vectors, structure.outcomes(5), 1.0, axis=1)
    return vectors


def test_that_best_subset_is_the_most_probable():
    structure = rbgs.Subset(3)
    draws = rbgs.StraightThrough(1.0, structure).sample(np.tile(FIVE[:3], (4000, 1, 1)), rng=0)
    for row, value in enumerate(evaluated(rbgs.StraightThrough(1.0, structure))[:3]):
        found, counts = np.unique(draws.value[:, row], axis=0, return_counts=True)
        np.testing.assert_array_equal(found[counts.argmax()], value)


def test_a_relaxed_value_stays_relaxed():
    value = evaluated(rbgs.GumbelSoftmax(0.7))
    torch.testing.assert_close(value, torch.softmax(FIVE / 0.7, dim=-1))


def test_what_else_a_call_may_be_given():
    estimator, mask = rbgs.GumbelRao(0.5, 3, "monte_carlo"), torch.tensor([1, 0, 1, 0, 1]) > 0
    allowed = FIVE.masked_fill(~mask, -torch.inf)
    assert torch.equal(evaluated(estimator, mask=mask), one_hot(allowed.argmax(dim=-1)))
    given = torch.arange(20) % 5
    assert torch.equal(evaluated(estimator, index=given), one_hot(given))
    for random in ({"generator": 0}, {"noise": estimator.noise(FIVE, 0)}):  # as in training
        assert torch.equal(evaluated(estimator, **random), evaluated(estimator))
    half = evaluated(estimator, FIVE.half())
    assert half.dtype is torch.float16
    assert torch.equal(half.double(), one_hot(FIVE.half().argmax(dim=-1)))
    layer = door.Sampler(estimator, dim=0, deterministic_eval=True).eval()
    assert torch.equal(layer(FIVE.T).T, evaluated(estimator))
    with pytest.raises(TypeError, match=r"torch\.from_dlpack"):
        layer(FIVE.numpy())


def test_rows_that_cannot_be_answered():
    logits = FIVE.clone()
    logits[1, 2] = torch.nan
    value = evaluated(rbgs.GumbelRao(0.5), logits, mask=(torch.arange(20) != 2)[:, None])
    assert value[1:3].isnan().all()
    assert torch.equal(value[3:], evaluated(rbgs.GumbelRao(0.5))[3:])


def test_it_is_asked_for_and_only_evaluation_changes():
    with pytest.raises(TypeError, match="deterministic_eval is 1; True or False is wanted"):
        door.Sampler(rbgs.GumbelRao(0.5), deterministic_eval=1)
    net, plain = model(deterministic_eval=True), model()
    assert repr(net[1]).endswith("dim=1, deterministic_eval=True)")
    assert repr(plain[1]).endswith("dim=1)")
    net.load_state_dict(plain.state_dict())  # also from before there was such a mode
    x = torch.randn(200, 3)
    assert net(x).requires_grad
    assert (net(x) != net(x)).any()
    for same in (net.eval(), copy.deepcopy(net)):
        assert torch.equal(same(x), same(x))
    assert (plain.eval()(x) != plain(x)).any()
    assert (net.train()(x) != net(x)).any()
