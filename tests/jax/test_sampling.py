"""JAX through the door: its transformations, a training step, shardings."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from backends import Backend
from cases import PATHWISE, name

import rbgs

jax = pytest.importorskip("jax")
door = pytest.importorskip("rbgs.jax")
Backend.JAX.load()  # sets double precision

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(6, 4))
VECTOR = RANDOM.normal(size=(6, 4))


@pytest.fixture(params=PATHWISE, ids=name)
def case(request):
    """Return a sampler, logits, noise, vector, and the product to compare with."""
    estimator = request.param
    noise = jax.numpy.asarray(estimator.noise(LOGITS, 0))
    expected = estimator.sample(LOGITS, noise=np.asarray(noise)).vjp(VECTOR)

    def sample(logits, noise):
        return door.sample(estimator, None, logits, noise=noise)

    return sample, jax.numpy.asarray(LOGITS), noise, jax.numpy.asarray(VECTOR), expected


def test_transformations(case):
    sample, logits, noise, vector, expected = case

    def loss(logits, noise, vector):
        return (sample(logits, noise) * vector).sum()

    def scanned(logits):
        def step(carry, vector):
            return carry + loss(logits, noise, vector), None

        return jax.lax.scan(step, 0.0, jax.numpy.stack([vector, 2 * vector]))[0]

    def forward(logits):
        return jax.jvp(lambda x: sample(x, noise), (logits,), (vector,))[1]

    results = {
        "jvp": jax.jit(forward)(logits),
        "linearize": jax.linearize(lambda x: sample(x, noise), logits)[1](vector),
        "jit of grad": jax.jit(jax.grad(loss))(logits, noise, vector),
        "grad of jit": jax.grad(jax.jit(loss))(logits, noise, vector),
        "vmap of grad": jax.jit(jax.vmap(jax.grad(loss)))(logits, noise, vector),
        "grad of vmap": jax.grad(lambda x: jax.vmap(loss)(x, noise, vector).sum())(logits),
        "checkpoint": jax.jit(jax.grad(jax.checkpoint(loss)))(logits, noise, vector),
        "scan": jax.jit(jax.grad(scanned))(logits) / 3,
    }
    for transformation, result in results.items():
        np.testing.assert_allclose(result, expected, atol=1e-9, err_msg=transformation)


def test_a_second_derivative_is_right_or_refused(case):
    sample, logits, noise, vector, _ = case

    def first(logits, vector):
        return jax.grad(lambda x: (sample(x, noise) * vector).sum())(logits)

    product = jax.jit(first)
    squared = jax.jit(jax.grad(lambda v: (first(logits, v) ** 2).sum()))(vector)
    expected = 2 * product(logits, product(logits, vector))
    np.testing.assert_allclose(squared, expected, atol=1e-9)
    refused = pytest.raises(NotImplementedError, match="no derivative for the logits")
    with refused:
        jax.grad(lambda x: (first(x, vector) ** 2).sum())(logits)
    with refused:
        jax.hessian(lambda x: (sample(x, noise) ** 2).sum())(logits)


@pytest.mark.parametrize("index", [2, np.int64(2), np.asarray(2)], ids=repr)
def test_one_outcome_for_all_rows(index):
    if isinstance(index, np.ndarray):
        index = jax.numpy.asarray(index)
    estimator, logits = rbgs.GumbelRao(0.5), jax.numpy.asarray(LOGITS)
    noise = jax.numpy.asarray(estimator.noise(LOGITS, 0))
    expected = estimator.sample(LOGITS, noise=np.asarray(noise), index=2)

    def loss(logits, noise):
        return (door.sample(estimator, None, logits, noise=noise, index=index) * VECTOR).sum()

    for gradient in (jax.grad(loss), jax.jit(jax.grad(loss))):
        np.testing.assert_allclose(gradient(logits, noise), expected.vjp(VECTOR), atol=1e-9)
    value = jax.jit(lambda x: door.sample(estimator, None, x, noise=noise, index=index))(logits)
    np.testing.assert_array_equal(value, expected.value)
    with pytest.raises(ValueError, match=r"index must lie in 0\.\.3, got 4"):
        jax.jit(lambda x: door.sample(estimator, None, x, noise=noise, index=4))(logits)


def test_no_trace_for_a_new_key():
    traces = []

    @jax.jit
    def gradient(logits, key):
        traces.append(None)
        return jax.grad(lambda x: (door.sample(rbgs.GumbelRao(0.5), key, x) ** 2).sum())(logits)

    results = [gradient(jax.numpy.asarray(LOGITS), jax.random.key(seed)) for seed in range(3)]
    assert len(traces) == 1
    assert not np.allclose(results[0], results[1])


def test_the_backward_pass_does_not_keep_the_samples():
    estimator = rbgs.GumbelRao(0.5, samples=1000, sampling="monte_carlo")
    logits = jax.numpy.zeros((50, 4))
    _, vjp = jax.vjp(lambda x: door.sample(estimator, jax.random.key(0), x), logits)
    kept = sum(x.size for x in jax.tree_util.tree_leaves(vjp))
    assert kept <= 50 * (4 * 8 + 2)


def test_temperature():
    logits, vector = jax.numpy.asarray(LOGITS), jax.numpy.asarray(VECTOR)
    noise = jax.numpy.asarray(rbgs.GumbelRao(0.5).noise(LOGITS, 0))

    def loss(logits, temperature):
        estimator = rbgs.GumbelRao(temperature, samples=3)
        return (door.sample(estimator, None, logits, noise=noise) * vector).sum()

    temperatures = np.asarray([0.2, 0.4, 0.6, 0.8, 1.0, 1.2])
    traced = jax.jit(jax.grad(loss))(logits, jax.numpy.asarray(temperatures))
    expected = rbgs.GumbelRao(temperatures, samples=3).sample(LOGITS, noise=np.asarray(noise))
    np.testing.assert_allclose(traced, expected.vjp(VECTOR), atol=1e-9)
    with pytest.raises(ValueError, match=r"stop_gradient\(temperature\)"):
        jax.grad(loss, argnums=1)(logits, jax.numpy.asarray(0.5))


@pytest.mark.parametrize("estimator", PATHWISE, ids=name)
def test_there_is_no_derivative_for_the_noise(estimator):
    logits = jax.numpy.asarray(LOGITS)
    noise = jax.numpy.asarray(estimator.noise(LOGITS, 0))

    def loss(noise):
        return (door.sample(estimator, None, logits, noise=noise) * logits).sum()

    def mapped(noise):
        return jax.vmap(loss)(noise[None]).sum()

    refused = pytest.raises(ValueError, match=r"the noise: pass jax\.lax\.stop_gradient\(noise\)")
    for derivative in (jax.grad(loss), jax.jit(jax.grad(loss)), jax.grad(mapped)):
        with refused:
            derivative(noise)
    with refused:
        jax.jvp(loss, (noise,), (noise,))
    constant = jax.grad(lambda x: loss(jax.lax.stop_gradient(x)) + x.sum())(noise)
    np.testing.assert_array_equal(constant, np.ones_like(noise))


def test_numpy_arrays_of_every_argument():
    estimator = rbgs.GumbelRao(0.5)
    given = {
        "noise": estimator.noise(LOGITS, 0),
        "index": LOGITS.argmax(axis=-1),
        "mask": LOGITS > -1,
    }
    expected = estimator.sample(LOGITS, **given)
    for logits in (LOGITS, jax.numpy.asarray(LOGITS)):
        for case in (estimator, rbgs.GumbelRao(np.full(6, 0.5))):

            def value(x, case=case):
                return door.sample(case, None, x, **given)

            np.testing.assert_allclose(value(logits), expected.value)
            product = jax.vjp(value, logits)[1](jax.numpy.asarray(VECTOR))[0]
            np.testing.assert_allclose(product, expected.vjp(VECTOR), atol=1e-9)


def test_errors_name_the_fix():
    logits = jax.numpy.asarray(LOGITS)
    estimator = rbgs.GumbelRao(0.5)
    with pytest.raises(ValueError, match="pass key=None or no noise"):
        door.sample(estimator, 0, logits, noise=logits)
    with pytest.raises(ValueError, match=r"pass .*jax\.random\.key"):
        door.sample(estimator, None, logits)
    with pytest.raises(TypeError, match=r"samples must be an int.*static_argnums"):
        jax.jit(lambda k: rbgs.GumbelRao(0.5, samples=k))(3)


@pytest.mark.parametrize("estimator", PATHWISE, ids=name)
def test_a_draw_is_a_pytree(estimator):
    logits, vector = jax.numpy.asarray(LOGITS), jax.numpy.asarray(VECTOR)
    draw = jax.jit(lambda x, key: estimator.sample(x, rng=key))(logits, jax.random.key(0))
    leaves, structure = jax.tree_util.tree_flatten(draw)
    again = jax.tree_util.tree_unflatten(structure, leaves)
    assert jax.tree_util.tree_structure(again) == structure
    expected = estimator.sample(logits, rng=jax.random.key(0)).vjp(vector)
    product = jax.jit(lambda draw, v: draw.vjp(v))(again, vector)
    np.testing.assert_allclose(product, expected, atol=1e-9)

    def step(carry, key):
        draw = estimator.sample(logits, rng=key)
        return carry, draw

    _, draws = jax.lax.scan(step, 0, jax.random.split(jax.random.key(1), 3))
    products = jax.vmap(lambda draw: draw.vjp(vector))(draws)
    assert products.shape == (3, 6, 4)


@pytest.mark.parametrize("estimator", PATHWISE, ids=name)
def test_many_draws_are_used_one_by_one(estimator):
    logits, keys = jax.numpy.asarray(LOGITS), jax.random.split(jax.random.key(1), 3)
    vectors = jax.numpy.stack([logits, 2 * logits, 3 * logits])

    def sample(key):
        return estimator.sample(logits, rng=key)

    def product(draw, vector):
        return draw.vjp(vector)

    alone = [sample(key) for key in keys]
    expected = np.stack([product(draw, v) for draw, v in zip(alone, vectors, strict=True)])
    wrong = pytest.raises(ValueError, match=r"jax\.vmap\(lambda draw, g: draw\.vjp\(g\)\)")
    for draws in (
        jax.vmap(sample)(keys),
        jax.lax.map(sample, keys),
        jax.tree.map(lambda *leaves: jax.numpy.stack(leaves), *alone),
    ):
        np.testing.assert_allclose(jax.vmap(product)(draws, vectors), expected, atol=1e-9)
        mapped = jax.lax.map(lambda pair: product(*pair), (draws, vectors))
        np.testing.assert_allclose(mapped, expected, atol=1e-9)
        second = jax.tree.map(lambda leaf: leaf[1], draws)
        np.testing.assert_allclose(second.vjp(vectors[1]), expected[1], atol=1e-9)
        for use in (lambda x: x.vjp(logits), lambda x: x.jvp(vectors), lambda x: x.jacobian()):
            with wrong:
                use(draws)
            with wrong:
                jax.jit(use)(draws)
    carried = jax.lax.scan(lambda draw, key: (sample(key), draw.index), alone[0], keys)[0]
    np.testing.assert_allclose(carried.vjp(vectors[2]), expected[2], atol=1e-9)


def test_a_training_step_with_optax():
    optax = pytest.importorskip("optax")
    cost = jax.numpy.asarray([3.0, 1.0, 2.0])
    optimizer = optax.adam(0.1)

    def loss(parameters, key):
        x = jax.numpy.ones((64, 2))
        value = door.sample(rbgs.GumbelRao(0.5), key, x @ parameters["w"] + parameters["b"])
        return (value @ cost).mean()

    @jax.jit
    def step(carry, key):
        parameters, state = carry
        value, gradient = jax.value_and_grad(loss)(parameters, key)
        updates, state = optimizer.update(gradient, state, parameters)
        return (optax.apply_updates(parameters, updates), state), value

    parameters = {"w": jax.numpy.zeros((2, 3)), "b": jax.numpy.zeros(3)}
    keys = jax.random.split(jax.random.key(0), 100)
    carry = parameters, optimizer.init(parameters)
    (trained, _), losses = jax.lax.scan(step, carry, keys)
    assert losses[0] > 1.7
    assert losses[-10:].mean() < 1.15
    assert int((trained["w"].sum(axis=0) + trained["b"]).argmax()) == 1


@pytest.mark.slow  # it compiles some twenty programs
def test_shardings_on_eight_devices():
    """The devices must be set before JAX starts: in a process of its own."""
    script = Path(__file__).parents[1] / "support" / "sharded.py"
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    run = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "8 devices agree"
