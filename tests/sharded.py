"""On 8 devices of the host: sharded samples and gradients equal those of one device."""

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

import rbgs
import rbgs.jax

assert len(jax.devices()) == 8
MESH = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
ROWS = NamedSharding(MESH, PartitionSpec("data"))
TARGET = jax.numpy.asarray([0.1, 0.2, 0.3, 0.4])
logits = jax.numpy.asarray(np.random.default_rng(0).normal(size=(32, 3, 4)), dtype="float32")


def check(result, expected):
    for a, b in zip(result, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert result[0].sharding.is_equivalent_to(ROWS, 3)


for estimator in (rbgs.GumbelRao(0.5), rbgs.GumbelRao(0.5, 100, "monte_carlo")):

    def value_and_gradient(logits, key, estimator=estimator):
        def loss(logits):
            value = rbgs.jax.sample(estimator, key, logits)
            return ((value - TARGET) ** 2).sum(), value

        gradient, value = jax.grad(loss, has_aux=True)(logits)
        return value, gradient

    spread = jax.device_put(logits, ROWS)
    for key in (jax.random.key(0), rbgs.Key(0)):
        run = jax.jit(lambda x, key=key, f=value_and_gradient: f(x, key), out_shardings=ROWS)
        alone = jax.jit(lambda x, key=key, f=value_and_gradient: f(x, key))(logits)
        check(run(spread), alone)

    # Under shard_map a function sees its shard: the key is told where that lies, or the noise is
    # drawn outside. JAX cannot yet check the variance of constants inside custom_linear_solve.
    def shard(logits, f=value_and_gradient):
        start = jax.lax.axis_index("data") * logits.shape[0]
        return f(logits, rbgs.Key(0).at(start))

    mapped = jax.shard_map(
        shard,
        mesh=MESH,
        in_specs=PartitionSpec("data"),
        out_specs=PartitionSpec("data"),
        check_vma=False,
    )
    check(jax.jit(mapped)(spread), alone)

    def with_noise(logits, noise, estimator=estimator):
        return (rbgs.jax.sample(estimator, None, logits, noise=noise),)

    mapped = jax.shard_map(
        with_noise,
        mesh=MESH,
        in_specs=(PartitionSpec("data"), PartitionSpec("data")),
        out_specs=PartitionSpec("data"),
    )
    noise = jax.jit(lambda x, e=estimator: e.noise(x, rbgs.Key(0)), out_shardings=ROWS)(spread)
    check(jax.jit(mapped)(spread, noise), alone[:1])

print("8 devices agree")
