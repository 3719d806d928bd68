"""On eight devices, samples and gradients are those of one device."""

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import rbgs
import rbgs.jax

ROWS = PartitionSpec("data")
ESTIMATOR = rbgs.GumbelRao(0.5)


def gradient(logits, key=None, noise=None):
    """Return the gradient of a loss that falls on the sample of each row."""

    def loss(logits):
        value = rbgs.jax.sample(ESTIMATOR, key, logits, noise=noise)
        return ((value - 0.25) ** 2 @ jnp.arange(4.0)).sum()

    return jax.grad(loss)(logits)


def on_a_shard(logits):
    """Return the same of one shard, with a key that is told where the shard begins."""
    start = jax.lax.axis_index("data") * logits.shape[0]
    return gradient(logits, rbgs.Key(0).at(start))


def main():
    """Compare three ways of spreading the rows with one device."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    logits = jax.random.normal(jax.random.key(1), (32, 4))
    spread = jax.device_put(logits, NamedSharding(mesh, ROWS))
    key = jax.random.key(0)  # has the same numbers as rbgs.Key(0)
    alone = jax.jit(gradient)(logits, key)

    def mapped(function, arrays):
        specs = (ROWS,) * arrays
        return jax.jit(
            jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=ROWS, check_vma=False)
        )

    def with_noise(logits, noise):
        return gradient(logits, noise=noise)

    results = {
        "jit": jax.jit(gradient)(spread, key),
        "shard_map, noise from outside": mapped(with_noise, 2)(
            spread, ESTIMATOR.noise(spread, key)
        ),
        "shard_map, key with its place": mapped(on_a_shard, 1)(spread),
    }
    for name, result in results.items():
        difference = float(abs(result - alone).max())
        assert difference < 1e-5
        print(f"{name}: {len(result.sharding.device_set)} devices, difference {difference:.0e}")


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 8)  # before JAX is used; leave it out on real devices
    main()
