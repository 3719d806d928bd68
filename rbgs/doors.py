"""What the doors to autodiff frameworks share: checks, and the arrays that an estimator holds."""

from collections.abc import Callable, Sequence
from typing import Any

from rbgs.arrays.inputs import check_like
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.oracle import Answer, check_loss_shape
from rbgs.arrays.scalars import float_beside, is_array
from rbgs.arrays.settings import with_own_settings
from rbgs.arrays.typing import Array, Temperature
from rbgs.estimators.base import Estimator, check_estimator
from rbgs.estimators.relaxation import GumbelSoftmax

NO_SECOND_DERIVATIVE = (
    "the gradient estimate has no derivative for the logits: it holds the random numbers fixed. "
    "Detach the estimate, or differentiate twice only what follows the sample"
)


def check_pathwise(estimator: Any, instead: str = "") -> None:
    """Raise unless ``estimator`` is an estimator whose draws have a derivative.

    The message names what a door has instead, if it has it.
    """
    check_estimator("estimator", estimator)
    if not estimator._pathwise:
        name = type(estimator).__name__
        raise TypeError(
            f"{name} uses values of the loss, so its sample alone carries no gradient: call "
            f"{instead and instead + ', or '}{name}.gradient(oracle, logits)"
        )
    if estimator._draws > 1:
        raise TypeError(
            f"a sample of {type(estimator).__name__} has an axis of draws that the logits lack: "
            f"{instead and f'call {instead}, which averages over it, or '}sample with the "
            "estimator that it averages"
        )


def check_one_hot(estimator: Any, instead: str, relaxed: str) -> None:
    """Raise unless the samples of an estimator are one-hot vectors that have a derivative.

    The message names what a framework has for relaxed values.
    """
    check_pathwise(estimator, instead)
    name = type(estimator).__name__
    if isinstance(estimator, GumbelSoftmax):
        raise TypeError(
            f"a sample of {name} is relaxed, a point inside the simplex, and not one-hot: take "
            f"{relaxed}, or an estimator with a discrete value such as rbgs.GumbelRao(0.5)"
        )
    structure = getattr(estimator, "structure", None)
    if structure is not None:
        raise TypeError(
            f"a sample of this {name} is a {type(structure).__name__}, and not one-hot: leave "
            "structure= out, or take the samples of the estimator without a distribution"
        )


def check_answerable(log_probs: Array) -> None:
    """Raise if a row of what `log_probabilities` returned is NaN."""
    xp = array_namespace(log_probs)
    if bool(xp.any(xp.isnan(log_probs))):
        raise ValueError(
            f"the logits, of shape {tuple(log_probs.shape)}, have a row with NaN or +inf, or one "
            "without an allowed category: -inf or a mask that is False forbids one, and each row "
            "needs one that is allowed. With validate_args=False such a row is NaN"
        )


def check_function(loss: Any) -> None:
    """Raise unless the loss is a function."""
    if not callable(loss):
        raise TypeError(
            f"loss is a {type(loss).__name__}; a function is wanted that takes a value shaped like "
            "the logits and returns its loss"
        )


def check_loss(loss: Any, value: Array, axis: int, asked: str = "loss") -> None:
    """Raise unless this may be what a function of the caller's returned for a value."""
    check_floating(loss, value, asked)
    check_loss_shape(f"{asked}(value)", loss, value, axis)


def one_by_one(
    answer: Callable[[Array], Answer],
    value: Array,
    leading: int,
    stack: Callable[[Sequence[Array]], Array],
) -> Answer:
    """Ask about one value after the other, along its leading axis if it has one."""
    if not leading:
        return answer(value)
    values, count = list(value), len(value)
    if not values:  # one tells the shape of its loss
        values = [array_namespace(value).sum(value, axis=0)]
    losses, cotangents, _ = zip(*map(answer, values), strict=True)
    return Answer(
        stack(losses)[:count], None if cotangents[0] is None else stack(cotangents)[:count]
    )


def check_kind(logits: Any, kind: type, door: str, convert: str, make: str) -> None:
    """Raise unless the logits are arrays of the framework.

    The messages say how to convert an array of another library, and how to make one of a list.
    """
    if not isinstance(logits, kind):
        raise TypeError(
            f"logits are a {_kind_of(logits)}, but {door} takes {_library(kind)} arrays: "
            f"{convert if is_array(logits) else make}"
        )


def check_value(value: Any, kind: type, door: str) -> None:
    """Raise unless the value that an oracle is asked about is an array of the framework."""
    if not isinstance(value, kind):
        takes = " or ".join(dict.fromkeys((_library(kind), "numpy")))
        raise TypeError(
            f"value is a {_kind_of(value)}, but the loss that {door}.oracle was given takes "
            f"{_library(kind)} arrays: values are of the library of the logits, so give the "
            f"estimator logits of {takes}"
        )


def check_floating(loss: Any, value: Array, asked: str = "loss") -> None:
    """Raise unless what a function of the caller's returned for a value is floating."""
    check_like(f"{asked}(value)", loss, value, "real floating")


def lost_derivative(name: str, framework: str, others: str = "") -> TypeError:
    """Return the error for a function that, for a framework, does not depend on the value.

    The others are what loses a derivative in this framework, beside an argmax and an index.
    """
    return TypeError(
        f"the estimator needs the derivative of {name}(value), but for {framework} that does not "
        f"depend on the value: an argmax, an index{others} in between has no derivative. Write it "
        "with the value itself, or take an estimator that needs values alone, such as "
        "rbgs.Reinforce, with the loss itself in place of an oracle made of it"
    )


def _kind_of(x: Any) -> str:
    return f"{_library(type(x)).removeprefix('builtins')} {type(x).__name__}".strip()


def _library(kind: type) -> str:
    return kind.__module__.split(".")[0]


def has_one_value(estimator: Estimator) -> bool:
    """Tell whether one value, whose derivative is the estimator's, is all that there is to it."""
    return estimator._pathwise and estimator._draws == 1


@with_own_settings
def combined(estimator: Estimator, losses: Array) -> Array:
    """Return what the losses of the draws estimate together."""
    return estimator._combined(losses) if estimator._draws > 1 else losses


def temperature_array(estimator: Estimator) -> Array | None:
    """Return the temperature if it is an array: an operand of the primitive, not a constant."""
    temperature = getattr(estimator, "temperature", None)
    return None if isinstance(temperature, float) else temperature


def settled(estimator: Estimator, like: Array) -> Estimator:
    """Return the estimator with a number of another library than that of ``like`` as a float."""
    temperature = temperature_array(estimator)
    if temperature is None:
        return estimator
    return at_temperature(estimator, float_beside("temperature", temperature, like))


def not_installed(error: ModuleNotFoundError, framework: str) -> ModuleNotFoundError:
    """Return the error that says how to install a framework, if it is the one not found."""
    if (error.name or "").split(".")[0] != framework:
        return error
    message = f'rbgs.{framework} needs {framework}: pip install "rbgs[{framework}]"'
    return ModuleNotFoundError(message, name=framework)


def at_temperature(estimator: Estimator, temperature: Temperature | None) -> Estimator:
    """Return the estimator at a temperature that was checked before; unchanged for None."""
    return estimator if temperature is None else estimator._at_temperature(temperature)
