"""GELU, which ONNX may spell with several operators, and operators that cut a tensor into parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...models.graph.view import attribute
from .context import AXIS_TO_LAST, TO_LAST, Context, Value

if TYPE_CHECKING:
    from onnx import NodeProto

Choice = list[tuple[str, float | str | None]]
"""Operators that may come next, and their other input: a constant, a tensor, or None."""


def fuse_gelu(context: Context, node: NodeProto) -> bool:
    """Emits a GELU if `node` starts one; returns whether it does.

    Given:   x / sqrt 2 -> Erf -> + 1 -> * 0.5 -> * x       the last two in either order
    Result:  GELU
    """
    x, factor = node.input
    if node.op_type == "Mul" and x in context.constants:
        x, factor = factor, x
    if x not in context.values or not _is(context, factor, np.sqrt(2) if node.op_type == "Div" else np.sqrt(0.5)):
        return False
    steps = [node]
    last: Choice = [("Mul", 0.5), ("Mul", x)]
    choices: list[Choice] = [[("Erf", None)], [("Add", 1.0)], last, last]
    for wanted in choices:
        following = context.view.sole_consumer(steps[-1].output[0])
        found = next((step for step in wanted if following is not None and _fits(context, following, *step)), None)
        if following is None or found is None:
            return False
        wanted.remove(found)
        steps.append(following)
    context.fused.update(step.output[0] for step in steps)
    value = context.values[x]
    context.emit(steps[-1].output[0], "GELU", [value.tensor], like=value, approximate=False)
    return True


def emit_gelu(context: Context, node: NodeProto) -> None:
    """GELU as one operator, from opset 20 on."""
    value, by_tanh = context.lying(node), attribute(node, "approximate", "none") == "tanh"
    context.emit(node.output[0], "GELU", [value.tensor], like=value, approximate=by_tanh)


def emit_erf(context: Context, node: NodeProto) -> None:
    """Refuses an Erf that is not part of a GELU."""
    raise context.refuse(node, "is no part of x (1 + erf(x / sqrt 2)) / 2; only that use of it is supported")


def emit_split(context: Context, node: NodeProto) -> None:
    """Splits a tensor along an axis."""
    value = context.value(node)
    if value.flattened:
        raise context.refuse(node, "parts a flattened image; part it before it is flattened")
    rank = len(value.shape)
    axis = attribute(node, "axis", 0) % rank
    axis = AXIS_TO_LAST[axis] if rank == 4 else axis
    tensors = []
    for name in node.output:
        shape = context.shape(name)
        shape = tuple(shape[place] for place in TO_LAST) if rank == 4 else shape
        tensors.append(context.writer.tensor(name, shape))
        context.values[name] = Value(tensors[-1], shape, non_negative=value.non_negative)
    where = context.writer.constant(f"{node.output[0]}/axis", np.array(axis))
    sizes = [context.values[name].shape[axis] for name in node.output]
    if len(set(sizes)) == 1:
        context.writer.operator("SPLIT", [where, value.tensor], tensors, numSplits=len(sizes))
    else:
        parts = context.writer.constant(f"{node.output[0]}/sizes", np.array(sizes))
        context.writer.operator("SPLIT_V", [value.tensor, parts, where], tensors, numSplits=len(sizes))


def emit_slice(context: Context, node: NodeProto) -> None:
    """ONNX's Slice with constant bounds and no steps."""
    value = context.value(node)
    rank = len(value.shape)
    bounds = [attribute(node, name) for name in ("starts", "ends", "axes")]  # attributes before opset 10
    bounds = [context.constant(node, place) if given is None else given for place, given in enumerate(bounds, 1)]
    steps = context.constant(node, 4)
    if value.flattened or bounds[0] is None or bounds[1] is None or (steps is not None and (steps != 1).any()):
        raise context.refuse(node, "takes every other value, or cuts a flattened image; only plain parts are supported")
    starts, ends, axes = bounds[0], bounds[1], range(rank) if bounds[2] is None else bounds[2]
    begin, shape = [0] * rank, list(value.shape)
    for start, end, axis in zip(starts, ends, axes, strict=True):
        place = AXIS_TO_LAST[axis % rank] if rank == 4 else axis % rank
        begin[place], stop, _ = slice(int(start), int(end)).indices(value.shape[place])
        shape[place] = stop - begin[place]
    name = node.output[0]
    inputs = [
        context.writer.constant(f"{name}/{key}", np.array(row)) for key, row in (("begin", begin), ("size", shape))
    ]
    context.emit(name, "SLICE", [value.tensor, *inputs], shape, non_negative=value.non_negative)


def _fits(context: Context, node: NodeProto, operator: str, other: float | str | None) -> bool:
    """`node` is that operator, and its other input that constant or that tensor."""
    if node.op_type != operator:
        return False
    return other is None or any(
        name == other if isinstance(other, str) else _is(context, name, other) for name in node.input
    )


def _is(context: Context, name: str, number: float) -> bool:
    """`name` is a constant of that one value."""
    constant = context.constants.get(name)
    return constant is not None and constant.size == 1 and bool(np.isclose(constant.reshape(()), number, rtol=1e-5))
