"""The loss as the caller gives it: what an oracle may return, and how variables share a loss."""

from typing import NamedTuple

from rbgs.arrays.inputs import check_like, check_shape
from rbgs.arrays.typing import Array, Oracle


class Answer(NamedTuple):
    """What is known of the loss at a value: None for what was not given."""

    loss: Array
    cotangent: Array | None = None
    direct: Array | None = None


def evaluate(
    oracle: Oracle,
    value: Array,
    axis: int,
    *,
    leading: int = 0,
    derivative_for: str | None = None,
    name: str = "the oracle",
) -> Answer:
    """Call an oracle, and check its answer.

    Parameters
    ----------
    oracle : callable
        See `rbgs.Estimator.gradient`.
    value : array
        What it is called with.
    axis : int
        The category axis, below 0.
    leading : int
        How many axes of draws or outcomes the value has before those of the logits: the loss has
        them as well.
    derivative_for : str, optional
        Who needs the derivative for the value.
    name : str
        What the caller knows it by.
    """
    answer = oracle(value)
    if not isinstance(answer, tuple):
        answer = Answer(answer)
    elif len(answer) not in (2, 3):
        raise TypeError(
            f"{name} must return the loss, (loss, dloss_dvalue) or (loss, dloss_dvalue, "
            f"dloss_dlogits), got a tuple of length {len(answer)}"
        )
    else:
        answer = Answer(*answer)
    if derivative_for is not None and answer.cotangent is None:
        raise TypeError(
            f"{derivative_for} needs the derivative for the value, which {name} does not give: "
            "return (loss, dloss_dvalue), or take an estimator that needs values alone, such as "
            "rbgs.Reinforce"
        )
    check_like(f"{name}'s loss", answer.loss, value, "real floating")
    check_loss_shape(f"{name}'s loss", answer.loss, value, axis, leading)
    for part, x in (("dloss_dvalue", answer.cotangent), ("dloss_dlogits", answer.direct)):
        if x is not None:
            check_like(f"{name}'s {part}", x, value, "real floating")
            check_shape(f"{name}'s {part}", x.shape, tuple(value.shape))
    return answer


def check_loss_shape(name: str, loss: Array, value: Array, axis: int, leading: int = 0) -> None:
    """Raise unless the axes of a loss are the first ones of the batch of a value."""
    shape = list(value.shape)
    shape.pop(axis)
    batch, found = tuple(shape), tuple(loss.shape)
    if batch[: len(found)] != found or len(found) < leading:
        draws = f"; keep the first {leading}, of the draws: no mean over them" if leading else ""
        raise ValueError(
            f"{name} has shape {found} for a value whose batch is {batch}: a loss has the axes of "
            f"the batch, without the last ones if all variables along them share it{draws}"
        )
