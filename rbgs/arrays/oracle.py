"""What a loss oracle may return."""

from rbgs.arrays.inputs import check_like, check_shape
from rbgs.arrays.typing import Array, Oracle


def evaluate(oracle: Oracle, value: Array, axis: int) -> tuple[Array, Array, Array | None]:
    """Call an oracle; return loss, gradient for the value and direct gradient, all checked."""
    answer = oracle(value)
    if not isinstance(answer, tuple) or len(answer) not in (2, 3):
        raise TypeError(
            "the oracle must return (loss, dloss_dvalue) or (loss, dloss_dvalue, dloss_dlogits), "
            f"got {type(answer).__name__}"
            + (f" of length {len(answer)}" if isinstance(answer, tuple) else "")
        )
    shape = tuple(value.shape)
    at = len(shape) + axis
    shapes = {
        "the oracle's loss": (*shape[:at], *shape[at + 1 :]),
        "the oracle's dloss_dvalue": shape,
        "the oracle's dloss_dlogits": shape,
    }
    for (name, wanted), x in zip(shapes.items(), answer, strict=False):
        check_like(name, x, value, "real floating")
        check_shape(name, x.shape, wanted)
    loss, cotangent = answer[:2]
    return loss, cotangent, answer[2] if len(answer) == 3 else None
