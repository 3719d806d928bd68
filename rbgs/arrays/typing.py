"""Type aliases shared by the package."""

from collections.abc import Callable
from typing import Any, TypeAlias

# The standard has no static type for "an array of any conforming library".
Array: TypeAlias = Any
Namespace: TypeAlias = Any
Sharding: TypeAlias = Any  # of JAX
Temperature: TypeAlias = Any  # float, or an array that broadcasts against the batch

# A generator or key of the logits' library, or anything numpy.random.default_rng takes.
Generator: TypeAlias = Any

# value (..., n) -> loss, or (loss, dloss/dvalue (..., n)[, dloss/dlogits (..., n)])
Oracle: TypeAlias = Callable[[Array], Any]
