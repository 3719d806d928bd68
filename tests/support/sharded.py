"""On 8 devices of the host: sharded samples and gradients equal those of one device."""

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

import rbgs
import rbgs.jax

DATA = PartitionSpec("data")


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


def main():
    assert len(jax.devices()) == 8
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = NamedSharding(mesh, DATA)
    logits = jax.numpy.asarray(np.random.default_rng(0).normal(size=(32, 3, 4)), dtype="float32")
    spread = jax.device_put(logits, rows)
    for estimator in (rbgs.GumbelRao(0.5), rbgs.GumbelRao(0.5, 100, "monte_carlo")):
        for key in (jax.random.key(0), rbgs.Key(0)):

            def whole(logits, estimator=estimator, key=key):
                return value_and_gradient(estimator, logits, key)

            alone = jax.jit(whole)(logits)
            check(jax.jit(whole, out_shardings=rows)(spread), alone, rows)
        np.testing.assert_allclose(whole(spread)[1], alone[1], atol=1e-5)  # without jit

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
    print("8 devices agree")


if __name__ == "__main__":
    main()
