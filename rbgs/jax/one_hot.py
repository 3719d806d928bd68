"""What the distributions of NumPyro and Distrax are made of."""

from typing import Any

import jax
import numpy as np

from rbgs.arrays.inputs import check_logits
from rbgs.arrays.log_probs import log_probabilities
from rbgs.doors import check_one_hot
from rbgs.estimators.base import Estimator
from rbgs.jax.sampling import INSTEAD, SAMPLE, check_array, split_temperature, to_jax


def parts_of_law(
    logits: jax.Array | np.ndarray[Any, Any],
    estimator: Estimator,
    mask: jax.Array | np.ndarray[Any, Any] | None,
    unimix: float,
) -> tuple[jax.Array, Estimator, jax.Array | None]:
    """Return the log-probabilities, and the estimator without a temperature that is an array."""
    check_one_hot(estimator, INSTEAD, SAMPLE)
    logits, mask = map(to_jax, (logits, mask))
    check_array(logits)
    check_logits(logits, -1)
    return log_probabilities(logits, mask, unimix), *split_temperature(estimator)
