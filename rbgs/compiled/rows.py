"""Compiled functions of rows as functions of JAX: mapped, and spread over devices.

XLA knows nothing of what such a function does: without a rule it would gather all rows on each
device. Every row is by itself, so each device takes those it has.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.custom_partitioning import custom_partitioning

from rbgs.arrays.devices import explicit_sharding, respread
from rbgs.arrays.layout import is_row_by_row
from rbgs.arrays.tracing import is_traced_by_jax
from rbgs.arrays.typing import Array
from rbgs.compiled.xla import target


class RowFunction:
    """A function of arrays whose last axes are categories and rows; those before number a batch.

    Parameters
    ----------
    operands : tuple of str
        The last axes of each operand, a letter each: ``"nr"`` is one number for each category and
        row, ``"r"`` one for each row, and without an ``r`` it is the same for all rows. Where a
        ``"r"`` has the size 1, it is that as well.
    results : tuple of (str, dtype or None)
        The last axes of each result, with its dtype, None for that of the first operand, which is
        ``"nr"``. ``"rn"`` is ``"nr"`` with the categories of a row next to each other in memory;
        the first result is one of these.
    handlers : dict of str to function
        What XLA calls, by the dtype of the first operand.
    """

    def __init__(
        self, operands: tuple[str, ...], results: tuple[tuple[str, Any], ...], handlers: Any
    ) -> None:
        self._operands, self._results, self._handlers = operands, results, handlers
        over_devices = custom_partitioning(self._call)
        over_devices.def_partition(self._partition, sharding_rule=self._sharding_rule)
        self._over_devices = over_devices
        self._over_batches = jax.custom_batching.custom_vmap(self._on_devices)
        self._over_batches.def_vmap(self._map)

    def __call__(self, *operands: Any) -> tuple[Array, ...]:
        """Return the results."""
        function = self._over_batches if any(map(is_traced_by_jax, operands)) else self._call
        return function(*operands)

    def _call(self, *operands: Any) -> tuple[Array, ...]:
        like = operands[0]
        *batch, n, rows = like.shape
        sizes, sharding = {"n": n, "r": rows}, explicit_sharding(like)
        of_rows = respread(sharding, lambda *axes: (*axes[:-2], axes[-1]))
        shapes = [
            jax.ShapeDtypeStruct(
                (*batch, *(sizes[axis] for axis in _order(axes))),
                dtype or like.dtype,
                sharding=of_rows if axes == "r" else sharding,
            )
            for axes, dtype in self._results
        ]
        call = jax.ffi.ffi_call(
            target(self._handlers[like.dtype.name]),
            shapes,
            input_layouts=[_layout(axes, x, n, rows) for axes, x in self._named(operands)],
            output_layouts=[
                _layout(axes, x, n, rows)
                for (axes, _), x in zip(self._results, shapes, strict=True)
            ],
        )
        return tuple(call(*operands))

    def _named(self, operands: Any) -> list[tuple[str, Any]]:
        return list(zip(self._operands, operands, strict=True))

    def _partition(self, mesh: Any, operands: Any, results: Any) -> tuple[Any, ...]:
        """Return what each device computes, and the part of batches and rows that it has."""
        *batch, _, rows = results[0].sharding.spec

        def sharding(axes: str, x: Any) -> Any:
            along = {"n": None, "r": rows if x.shape[-1:] != (1,) else None}
            spec = (*batch, *(along.get(axis) for axis in _order(axes))) if "r" in axes else ()
            return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))

        of_operands = tuple(sharding(*named) for named in self._named(operands))
        of_results = tuple(
            sharding(axes, x) for (axes, _), x in zip(self._results, results, strict=True)
        )
        return mesh, self._call, of_results, of_operands

    def _sharding_rule(self, mesh: Any, operands: Any, results: Any) -> tuple[str, dict[str, Any]]:
        """Return which axes are spread together: those of batches, and that of the rows."""
        terms, whole = [], ["n"]
        for number, (axes, x) in enumerate(self._named(operands)):
            names = []
            for axis in axes:
                is_one = axis == "r" and x.shape[-1] == 1
                name = axis if axis == "n" or (axis == "r" and not is_one) else f"{axis}{number}"
                whole += [] if name in "nr" else [name]
                names.append(name)
            terms.append(" ".join(["..."] * ("r" in axes) + names))
        found = ", ".join(" ".join(["...", *_order(axes)]) for axes, _ in self._results)
        return f"{', '.join(terms)} -> {found}", {"need_replication_factors": tuple(whole)}

    def _on_devices(self, *operands: Any) -> tuple[Array, ...]:
        # Under shard_map the rows are those of one device.
        is_shard = jax.sharding.AxisType.Manual in jax.sharding.get_abstract_mesh().axis_types
        return (self._call if is_shard else self._over_devices)(*operands)

    def _map(self, size: int, is_batched: list[bool], *operands: Any) -> tuple[Any, Any]:
        given = [
            x if batched or "r" not in axes else jnp.broadcast_to(x, (size, *x.shape))
            for (axes, x), batched in zip(self._named(operands), is_batched, strict=True)
        ]
        return self._over_batches(*given), (True,) * len(self._results)


def _order(axes: str) -> str:
    """Return the axes of an array as they are numbered."""
    return "nr" if axes == "rn" else axes


def _layout(axes: str, x: Any, n: int, rows: int) -> tuple[int, ...]:
    """Return the axes of an array from the outermost in memory to the innermost."""
    order = list(range(len(x.shape)))
    if axes == "rn" or (axes == "nr" and is_row_by_row(n, rows)):
        order[-2:] = reversed(order[-2:])
    return tuple(order)
