"""What the tests of training share."""

import pytest

import rbgs


@pytest.fixture
def single_precision():
    import jax

    with jax.enable_x64(False):
        yield


@pytest.fixture
def without_the_engine():
    """Have JAX compile the estimators: the compiled engine is slow under vmap."""
    was = rbgs.is_compiled()
    rbgs.set_compiled(False)
    yield
    rbgs.set_compiled(was)
