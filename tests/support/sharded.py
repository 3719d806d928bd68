"""On 8 devices of the host: sharded samples and gradients equal those of one device."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from memory import Programs

import rbgs
import rbgs.jax

DATA = PartitionSpec("data")
SAMPLED = (rbgs.GumbelRao(0.5), rbgs.GumbelRao(0.5, 100, "monte_carlo"))
PROGRAMS = Programs()
LOGITS = np.random.default_rng(0).normal(size=(32, 6, 4)).astype("float32")


def value_and_gradient(estimator, logits, key):
    def loss(logits):
        value = rbgs.jax.sample(estimator, key, logits)
        return ((value - 0.25) ** 2 * jax.numpy.arange(4)).sum(), value

    gradient, value = jax.grad(loss, has_aux=True)(logits)
    return value, gradient


def check(result, expected, sharding):
    for a, b in zip(result, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert result[0].sharding.is_equivalent_to(sharding, 3)
    PROGRAMS.forget_if_many()


def check_automatic_mesh(logits):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    rows = NamedSharding(mesh, DATA)
    spread = jax.device_put(logits, rows)
    for estimator in SAMPLED:
        for key in (jax.random.key(0), rbgs.Key(0)):

            def whole(logits, estimator=estimator, key=key):
                return value_and_gradient(estimator, logits, key)

            alone = jax.jit(whole)(logits)
            program = jax.jit(whole, out_shardings=rows).lower(spread).compile()
            assert "all-gather" not in program.as_text()
            check(program(spread), alone, rows)

        # Under shard_map a function sees its shard: the key is told where that lies ...
        def shard(logits, estimator=estimator):
            start = jax.lax.axis_index("data") * logits.shape[0]
            return value_and_gradient(estimator, logits, rbgs.Key(0).at(start))

        mapped = jax.shard_map(shard, mesh=mesh, in_specs=DATA, out_specs=DATA, check_vma=False)
        check(jax.jit(mapped)(spread), alone, rows)

        # ... or the noise is drawn outside.
        def with_noise(logits, noise, estimator=estimator):
            return (rbgs.jax.sample(estimator, None, logits, noise=noise),)

        mapped = jax.shard_map(with_noise, mesh=mesh, in_specs=(DATA, DATA), out_specs=DATA)
        noise = estimator.noise(spread, rbgs.Key(0))
        check(jax.jit(mapped)(spread, noise), alone[:1], rows)
    np.testing.assert_allclose(whole(spread)[1], alone[1], atol=1e-5)  # without jit


def check_explicit_mesh(estimator, logits, spec):
    """The sharding is part of the type of an array there."""
    key = jax.random.key(0)
    sharding = NamedSharding(jax.make_mesh((4, 2), ("data", "model")), spec)
    spread = jax.device_put(logits, sharding)

    def whole(logits):
        draw = estimator.sample(logits, rng=key)
        return *value_and_gradient(estimator, logits, key), draw.jvp(logits)

    program = jax.jit(whole).lower(spread).compile()
    if spec[2:] == ():
        assert "all-gather" not in program.as_text()
    result = program(spread)
    check(result, jax.jit(whole)(logits), sharding)
    assert {x.sharding.spec for x in result} == {jax.typeof(spread).sharding.spec}


def check_all_of_a_draw_on_an_explicit_mesh(logits):
    key, estimator = jax.random.key(0), rbgs.GumbelRao(0)
    mesh = jax.make_mesh((4, 2), ("data", "model"))
    spread = jax.device_put(logits, NamedSharding(mesh, DATA))

    def oracle(value):
        return (value**2).sum(axis=-1), value, value

    def shared(value):
        total = (value * jax.numpy.arange(value.shape[-1])).sum(axis=(-2, -1))
        slope = 2 * total[..., None, None] * jax.numpy.arange(value.shape[-1])
        return total**2, jax.numpy.broadcast_to(slope, value.shape)

    def results(logits):
        draw = estimator.sample(logits, rng=key)
        return (
            *(
                other.gradient(shared, logits, rng=key)
                for other in (rbgs.IndeCateR(), rbgs.DisARM(), rbgs.MuProp(), rbgs.Rebar())
            ),
            draw.index,
            draw.jacobian(),
            estimator.gradient(oracle, logits, rng=key),
            estimator.sample(logits, rng=key, axis=1).jvp(logits),
            jax.vmap(lambda x: estimator.sample(x, rng=key).jvp(x))(logits),
            rbgs.Reinforce("leave_one_out", 2).gradient(oracle, logits, rng=key),
            rbgs.exact_gradient(oracle, logits),
        )

    for a, b in zip(jax.jit(results)(spread), jax.jit(results)(logits), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    draw = estimator.sample(spread, rng=key)  # without jit, and a vector that lies elsewhere
    assert draw.value.sharding.is_equivalent_to(spread.sharding, 3)
    product = draw.vjp(logits)
    np.testing.assert_allclose(product, estimator.sample(logits, rng=key).vjp(logits), atol=1e-5)
    again = jax.jit(lambda draw, vector: draw.vjp(vector))(draw, spread)
    np.testing.assert_allclose(again, product, atol=1e-5)


def check_another_device(logits):
    """What JAX may still move follows what lies on a device."""
    there = jax.devices()[1]
    on_it = jax.device_put(logits, there)
    estimator = rbgs.StraightThroughGumbelSoftmax(0.5)
    for key in (rbgs.Key(0), jax.random.key(0)):
        assert rbgs.jax.sample(estimator, key, on_it).device == there
    noise = estimator.noise(logits, key)
    product = estimator.sample(logits, noise=noise).vjp(logits)
    for x, u in ((on_it, noise), (logits, jax.device_put(noise, there))):
        draw = estimator.sample(x, noise=u)
        assert {draw.value.device, draw.vjp(logits).device} == {there}
        np.testing.assert_allclose(draw.vjp(logits), product, atol=1e-5)
    with pytest.raises(ValueError, match=r"move it with jax\.device_put\(rng, logits\.device\)"):
        estimator.sample(on_it, rng=jax.device_put(key, jax.devices()[2]))
    with jax.default_device(there):
        draw = estimator.sample(jax.numpy.asarray(LOGITS), rng=jax.random.key(0))
        assert {draw.value.device, draw.jacobian().device} == {there}


def main():
    assert len(jax.devices()) == 8
    logits = jax.numpy.asarray(LOGITS)
    check_automatic_mesh(logits)
    for estimator, engine in zip(SAMPLED, (True, False), strict=True):
        rbgs.set_compiled(engine)
        check_explicit_mesh(estimator, logits, DATA)
    for spec in (PartitionSpec("data", "model"), PartitionSpec("data", None, "model")):
        check_explicit_mesh(rbgs.GumbelSoftmax(0.5), logits, spec)
    square = rbgs.SpanningTree([(0, 1), (1, 2), (2, 3), (3, 0)])
    check_explicit_mesh(rbgs.GumbelRao(0.5, sampling="exact"), logits, DATA)
    check_explicit_mesh(rbgs.GumbelRao(0.5, 2, structure=square), logits, DATA)
    check_all_of_a_draw_on_an_explicit_mesh(logits)
    check_another_device(logits)
    print("8 devices agree")


if __name__ == "__main__":
    main()
