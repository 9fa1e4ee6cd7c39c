"""Axis order: transposes are deferred until an operator needs them, and operators work on whatever order they get.

A Transpose costs nothing by itself: the tensor stays, and only its recorded axis order changes (`Value.turned`). Layer
norms, matrix products and softmax need only their own axis to be last, which is true of the channels anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...models.graph.view import attribute
from .context import Context, Order, Value, default_order

if TYPE_CHECKING:
    from onnx import NodeProto

SQUARED = "squared"
NORM_STEPS = ("mean", "centred", SQUARED, "variance", "safe", "factor", "normal", "scaled", "shifted")
"""Names of the tensors inside a norm, after its own name and a slash."""

Group = tuple[list[int], list[int]]
"""Neighbouring axes before a reshape, and those that they become."""


def emit_transpose(context: Context, node: NodeProto) -> None:
    """Records where the axes lie; emits no operator.

    Given:   Transpose -> LayerNormalization -> MatMul -> Transpose      a block of ConvNeXt
    Result:  layer norm -> FULLY_CONNECTED                               along the channels, which lie last
    """
    value, rank = context.lying(node), len(context.shape(node.input[0]))
    if value.flattened:
        raise context.refuse(node, "reorders a flattened image; reorder it before it is flattened")
    permutation = tuple(attribute(node, "perm", range(rank)[::-1]))
    order = tuple(permutation.index(axis) for axis in value.order)
    context.values[node.output[0]] = _with_order(value, value.shape, order)


def emit_reshape(context: Context, node: NodeProto) -> None:
    """Reshape, Flatten, Squeeze or Unsqueeze; an image that becomes a row keeps its channels last."""
    value, name = context.lying(node), node.output[0]
    source, target = context.shape(node.input[0]), context.shape(name)
    if source == target:
        context.values[name] = value
    elif len(source) == 4 and len(target) == 2 and target[0] == 1 and value.turned is None:
        channels, height, width = source[1:]
        of_image = (channels, height, width) if channels > 1 and height * width > 1 else None
        _reshaped(context, name, value, target, default_order(2), of_image)
    elif value.flattened and target == (1, *value.flattened):
        _reshaped(context, name, value, [target[axis] for axis in default_order(4)], default_order(4))
    elif value.flattened:
        raise context.refuse(node, f"turns a flattened image into {target}; only back into the image is supported")
    else:
        groups = _groups(source, target)
        value = context.turn(node.input[0], value, _together(value.order, source, groups))
        order = _afterwards(value.order, source, target, groups)
        _reshaped(context, name, value, [target[axis] for axis in order], order)


def emit_norm(context: Context, node: NodeProto) -> None:
    """Normalises along the last axis, in float operators that XNNPACK has.

    Given:   LayerNormalization, or RMSNormalization, which takes off no mean: d is x
    Result:  x - mean -> d;  d / sqrt(mean of d^2 + epsilon) * scale + shift
    """
    name, rank = node.output[0], len(context.shape(node.input[0]))
    if attribute(node, "axis", -1) % rank != rank - 1 or len(node.output) > 1:
        raise context.refuse(node, "normalises along several axes or gives its mean too; one is supported, the last")
    value = with_last(context, node, -1)
    last = context.writer.constant(f"{name}/axis", np.array([rank - 1]))

    def step(label: str, code: str, inputs: Sequence[int], narrow: bool = False, **options: Any) -> Value:
        shape = [*value.shape[:-1], 1] if narrow else value.shape
        return context.emit(f"{name}/{label}", code, inputs, shape, order=value.order, **options)

    def constant(label: str, values: Any) -> int:
        return context.writer.constant(f"{name}/{label}", np.atleast_1d(values))

    centred = value.tensor
    if node.op_type == "LayerNormalization":
        mean_of = step("mean", "MEAN", [value.tensor, last], narrow=True, keepDims=True).tensor
        centred = step("centred", "SUB", [value.tensor, mean_of]).tensor
    squared = step(SQUARED, "MUL", [centred, centred]).tensor
    variance = step("variance", "MEAN", [squared, last], narrow=True, keepDims=True).tensor
    epsilon = constant("epsilon", attribute(node, "epsilon", 1e-5))
    safe = step("safe", "ADD", [variance, epsilon], narrow=True).tensor
    factor = step("factor", "RSQRT", [safe], narrow=True).tensor
    result = step("normal", "MUL", [centred, factor])
    if (context.weights(node, 1) != 1).any():
        result = step("scaled", "MUL", [result.tensor, constant("scale", context.weights(node, 1))])
    if (shift := context.constant(node, 2)) is not None:
        result = step("shifted", "ADD", [result.tensor, constant("shift", shift)])
    context.values[name] = result


def emit_softmax(context: Context, node: NodeProto) -> None:
    """Softmax along one axis."""
    value = with_last(context, node, attribute(node, "axis", -1))
    context.emit(node.output[0], "SOFTMAX", [value.tensor], like=value, non_negative=True, beta=1.0)


def with_last(context: Context, node: NodeProto, axis: int, place: int = 0) -> Value:
    """Gives input `place` of `node` lying so that ONNX's `axis` is last; the others stay as they are."""
    value = context.lying(node, place)
    axis %= len(value.shape)
    order = (*(other for other in value.order if other != axis), axis)
    return context.turn(node.input[place], value, order)


def _with_order(value: Value, shape: tuple[int, ...], order: Order) -> Value:
    turned = None if order == default_order(len(order)) else order
    return Value(value.tensor, shape, None, value.non_negative, turned)


def _reshaped(
    context: Context,
    name: str,
    value: Value,
    shape: Sequence[int],
    order: Order,
    flattened: tuple[int, int, int] | None = None,
) -> None:
    shape = [int(side) for side in shape]
    inputs = [value.tensor, context.writer.constant(f"{name}/shape", np.array(shape))]
    known: dict[str, Any] = dict(flattened=flattened, non_negative=value.non_negative, order=order)
    context.emit(name, "RESHAPE", inputs, shape, newShape=shape, **known)


def _groups(source: Sequence[int], target: Sequence[int]) -> list[Group]:
    """Splits both shapes into groups of neighbouring axes with equal products; axes of length 1 are left out.

    >>> _groups((1, 196, 48), (1, 14, 14, 4, 12))
    [([1], [1, 2]), ([2], [3, 4])]
    """
    before = [axis for axis, side in enumerate(source) if side != 1]
    after = [axis for axis, side in enumerate(target) if side != 1]
    groups: list[Group] = []
    while before:
        old, new = [before.pop(0)], [after.pop(0)]
        while (many := np.prod([source[axis] for axis in old])) != (few := np.prod([target[axis] for axis in new])):
            if many < few:
                old.append(before.pop(0))
            else:
                new.append(after.pop(0))
        groups.append((old, new))
    return groups


def _together(order: Order, source: Sequence[int], groups: Sequence[Group]) -> Order:
    """Gives the order nearest to `order` in which the axes of each group are neighbours that rise."""
    group_of = {axis: old for old, _ in groups for axis in old}
    found: list[int] = []
    for axis in order:
        found += [other for other in group_of.get(axis, [axis]) if other not in found]
    long = [axis for axis in order if source[axis] != 1]
    return order if [axis for axis in found if source[axis] != 1] == long else tuple(found)


def _afterwards(order: Order, source: Sequence[int], target: Sequence[int], groups: Sequence[Group]) -> Order:
    """Gives the order of the result: the default if possible, else that of its groups, axes of length 1 first."""
    of_first = {old[0]: new for old, new in groups}
    long = [axis for place in order for axis in of_first.get(place, [])]
    for known in (default_order(len(target)), tuple(range(len(target)))):
        if [axis for axis in known if target[axis] != 1] == long:
            return known
    return (*(axis for axis, side in enumerate(target) if side == 1), *long)
