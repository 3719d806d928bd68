"""PyTorch's own transformations."""

import warnings

import numpy as np
import pytest
from backends import Backend
from cases import PATHWISE, name

LOGITS = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")


@pytest.mark.parametrize("estimator", PATHWISE, ids=name)
def test_compile_in_one_graph(estimator):
    torch = pytest.importorskip("torch")
    Backend.TORCH.load()
    logits = torch.asarray(LOGITS)
    noise = estimator.noise(logits, 0)

    def product(logits, noise, v):
        return estimator.sample(logits, noise=noise).vjp(v)

    torch.compiler.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler, about caches in array-api-compat
        compiled = torch.compile(product, fullgraph=True, backend="aot_eager")
        result = compiled(logits, noise, logits)
    np.testing.assert_allclose(result, product(logits, noise, logits), atol=1e-6)
