"""Every door to an autodiff framework behind one signature, for tests that hold for all of them."""

import importlib

import numpy as np
import pytest
from backends import Backend

import rbgs


def _torch(estimator, logits, noise, vector, **options):
    torch = importlib.import_module("torch")
    door = importlib.import_module("rbgs.torch")
    if "axis" in options:
        options["dim"] = options.pop("axis")
    options = {k: torch.asarray(v) if hasattr(v, "ndim") else v for k, v in options.items()}
    leaf = torch.asarray(logits).requires_grad_()
    value = door.sample(estimator, leaf, noise=torch.asarray(noise), **options)
    value.backward(torch.asarray(vector))
    return value.detach().numpy(), leaf.grad.numpy()


def _jax(estimator, logits, noise, vector, **options):
    Backend.JAX.load()
    jax = importlib.import_module("jax")
    door = importlib.import_module("rbgs.jax")

    def sample(logits):
        return door.sample(estimator, None, logits, noise=jax.numpy.asarray(noise), **options)

    options = {k: jax.numpy.asarray(v) if hasattr(v, "ndim") else v for k, v in options.items()}
    value, vjp = jax.vjp(sample, jax.numpy.asarray(logits))
    return np.asarray(value), np.asarray(vjp(jax.numpy.asarray(vector))[0])


def _autograd(estimator, logits, noise, vector, **options):
    autograd = importlib.import_module("autograd")
    door = importlib.import_module("rbgs.autograd")

    def sample(logits):
        return door.sample(estimator, logits, noise=noise, **options)

    vjp, value = autograd.make_vjp(sample)(logits)
    return value, vjp(vector)


def _dask(estimator, logits, noise, vector, **options):
    da = importlib.import_module("dask.array")
    door = importlib.import_module("rbgs.dask")
    chunks = [2] * logits.ndim
    chunks[options.get("axis", -1)] = -1
    draw = door.sample(
        estimator, da.from_array(logits, chunks=tuple(chunks)), noise=noise, **options
    )
    return draw.value.compute(), draw.vjp(vector).compute()


DOORS = {"torch": _torch, "jax": _jax, "autograd": _autograd, "dask": _dask}


def through(door, *arguments, **options):
    """Return value and vector-Jacobian product of a sample through a door, as NumPy arrays."""
    pytest.importorskip(door)
    return DOORS[door](*arguments, **options)


def assert_those_of_the_draw(door, estimator, logits, vector, **options):
    """Assert that value and gradient through a door are those of the draw for the same noise."""
    noise = estimator.noise(logits, 1, axis=options.get("axis", -1))
    draw = estimator.sample(logits, noise=noise, **options)
    value, gradient = through(door, estimator, logits, noise, vector, **options)
    np.testing.assert_allclose(value, draw.value, atol=1e-12)
    np.testing.assert_allclose(gradient, draw.vjp(vector), atol=1e-12)
    if not isinstance(estimator, rbgs.GumbelSoftmax):
        assert set(np.unique(value)) == {0.0, 1.0}  # exactly


class Framework:
    """A framework behind one signature: its arrays, functions of them, and their derivatives.

    Attributes
    ----------
    xp : module
        Its functions of arrays.
    """

    def __init__(self, name):
        pytest.importorskip(name)
        if name == "jax":
            Backend.JAX.load()
        self.name, self.door = name, importlib.import_module(f"rbgs.{name}")
        self.xp = importlib.import_module(
            {"torch": "torch", "jax": "jax.numpy", "autograd": "autograd.numpy"}[name]
        )

    def array(self, x):
        """Return an array of NumPy as one of the framework."""
        return x if self.name == "autograd" else self.xp.asarray(x)

    def expectation(self, estimator, loss, logits, rng, **options):
        """Call the door."""
        if self.name == "jax":
            return self.door.expectation(estimator, rng, loss, logits, **options)
        if self.name == "torch" and "axis" in options:
            options["dim"] = options.pop("axis")
        of_rng = "generator" if self.name == "torch" else "rng"
        return self.door.expectation(estimator, loss, logits, **{of_rng: rng}, **options)

    def vjp(self, function, *inputs):
        """Return the value of a function, and its vector-Jacobian product, as NumPy arrays."""
        if self.name == "torch":
            leaves = [self.array(x).clone().requires_grad_() for x in inputs]
            value = function(*leaves)

            def pullback(vector):
                vector = self.array(np.asarray(vector)).to(value.dtype)
                found = self.xp.autograd.grad(
                    value, leaves, vector, retain_graph=True, materialize_grads=True
                )
                return [np.asarray(x) for x in found]

            return value.detach().numpy(), pullback
        if self.name == "jax":
            value, pull = importlib.import_module("jax").vjp(function, *map(self.array, inputs))
            return np.asarray(value), lambda vector: [
                np.asarray(x) for x in pull(self.array(np.asarray(vector, value.dtype)))
            ]
        make_vjp = importlib.import_module("autograd").make_vjp
        pull, value = make_vjp(lambda inputs: function(*inputs))(inputs)
        return np.asarray(value), lambda vector: list(pull(np.asarray(vector)))

    def second_derivative(self, function, x):
        """Return the gradient of the sum of the gradient of a scalar function."""
        if self.name == "torch":
            leaf = self.array(x).clone().requires_grad_()
            (first,) = self.xp.autograd.grad(function(leaf), leaf, create_graph=True)
            return self.xp.autograd.grad(first.sum(), leaf)[0].numpy()
        grad = importlib.import_module(self.name).grad
        return np.asarray(grad(lambda x: self.xp.sum(grad(function)(x)))(self.array(x)))


FRAMEWORKS = ("torch", "jax", "autograd")
