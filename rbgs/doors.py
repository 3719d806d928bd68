"""What the doors to autodiff frameworks share: checks, and the arrays that an estimator holds."""

from copy import copy

from rbgs.arrays.typing import Array, Temperature
from rbgs.estimators.base import Estimator
from rbgs.estimators.reinforce import Reinforce


def check_arguments(estimator: Estimator, logits: Array, kind: type, door: str, fix: str) -> None:
    """Raise unless an estimator has a derivative and the logits are arrays of the framework."""
    if not isinstance(estimator, Estimator):
        raise TypeError(
            f"estimator is a {type(estimator).__name__}; one such as rbgs.GumbelRao(0.5) is wanted"
        )
    if isinstance(estimator, Reinforce):
        raise TypeError(
            "Reinforce uses the values of the loss, not its derivative, so its sample carries no "
            "gradient: compute Reinforce.gradient(oracle, logits, rng=...) and pass it on, "
            "for example as the cotangent of the logits"
        )
    if not isinstance(logits, kind):
        library = type(logits).__module__.split(".")[0]
        raise TypeError(
            f"logits are a {library} {type(logits).__name__}, but {door} takes "
            f"{kind.__module__.split('.')[0]} arrays: {fix}"
        )


def temperature_array(estimator: Estimator) -> Array | None:
    """Return the temperature if it is an array: an operand of the primitive, not a constant."""
    temperature = getattr(estimator, "temperature", None)
    return None if isinstance(temperature, float) else temperature


def at_temperature(estimator: Estimator, temperature: Temperature | None) -> Estimator:
    """Return the estimator at a temperature that was checked before; unchanged for None."""
    if temperature is None:
        return estimator
    changed = copy(estimator)
    object.__setattr__(changed, "temperature", temperature)
    return changed
