"""Draws as pytrees: importing this module registers them."""

from dataclasses import fields
from functools import partial
from typing import Any

import jax

from rbgs.arrays.rows import Rows
from rbgs.conditional.quadrature import ConditionalExpectation
from rbgs.conditional.samples import ConditionalSamples
from rbgs.draw import Draw, FixedPoints, WeightedSum
from rbgs.structures.points import TraceSamples

# The fields of a draw that are part of its structure; so is a temperature that is no array.
_CONSTANTS = {
    "axis",
    "batch",
    "control_variate",
    "dtype",
    "estimator",
    "samples",
    "sharding",
    "structure",
    "weights",
}


def _flatten(x: Any) -> tuple[list[Any], tuple[Any, ...]]:
    nodes: dict[str, Any] = {}
    constants: dict[str, Any] = {}
    for field in fields(x):
        value = getattr(x, field.name)
        constant = field.name in _CONSTANTS or isinstance(value, float)
        (constants if constant else nodes)[field.name] = value
    return list(nodes.values()), (tuple(nodes), tuple(constants.items()))


def _unflatten(kind: type, structure: tuple[Any, ...], nodes: Any) -> Any:
    names, constants = structure
    made: Any = object.__new__(kind)
    vars(made).update(zip(names, nodes, strict=True), **dict(constants))
    return made


for _kind in (
    Draw,
    Rows,
    FixedPoints,
    WeightedSum,
    ConditionalSamples,
    ConditionalExpectation,
    TraceSamples,
):
    jax.tree_util.register_pytree_node(_kind, _flatten, partial(_unflatten, _kind))
