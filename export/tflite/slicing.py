"""Operators that cut, pick, repeat and move values in TFLite, on tensors in whatever axis order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...models.graph.resizing import Resizing, resizing_in
from ...models.graph.view import attribute
from .context import Context, Value

if TYPE_CHECKING:
    from onnx import NodeProto

BROADCASTING = ("Add", "Sub", "Mul", "Div")  # which repeat axes of length 1 by themselves


def emit_split(context: Context, node: NodeProto) -> None:
    """Splits a tensor along an axis."""
    value = _whole(context, node, turned_once=True)
    place = value.order.index(attribute(node, "axis", 0) % len(value.shape))
    tensors = []
    for name in node.output:
        sides = context.shape(name)
        shape = tuple(sides[axis] for axis in value.order)
        tensors.append(context.writer.tensor(name if value.turned is None else f"{name}/as it lies", shape))
        context.values[name] = Value(tensors[-1], shape, None, value.non_negative, value.turned)
    where = context.writer.constant(f"{node.output[0]}/axis", np.array(place))
    sizes = [context.values[name].shape[place] for name in node.output]
    if len(set(sizes)) == 1:
        context.writer.operator("SPLIT", [where, value.tensor], tensors, numSplits=len(sizes))
    else:
        parts = context.writer.constant(f"{node.output[0]}/sizes", np.array(sizes))
        context.writer.operator("SPLIT_V", [value.tensor, parts, where], tensors, numSplits=len(sizes))


def emit_slice(context: Context, node: NodeProto) -> None:
    """ONNX's Slice with constant bounds."""
    value = _whole(context, node, turned_once=True)
    rank = len(value.shape)
    bounds = [attribute(node, name) for name in ("starts", "ends", "axes")]  # attributes before opset 10
    bounds = [context.constant(node, place) if given is None else given for place, given in enumerate(bounds, 1)]
    if bounds[0] is None or bounds[1] is None:
        raise context.refuse(node, "computes where it cuts; only constant bounds are supported")
    starts, ends, axes = bounds[0], bounds[1], range(rank) if bounds[2] is None else bounds[2]
    given = context.constant(node, 4)
    steps = [1] * len(starts) if given is None else [int(step) for step in given]
    begin, end, stride = [0] * rank, list(value.shape), [1] * rank
    for start, stop, axis, step in zip(starts, ends, axes, steps, strict=False):
        place = value.order.index(axis % rank)
        side = value.shape[place]
        begin[place], last, stride[place] = slice(int(start), int(stop), step).indices(side)
        end[place] = last if last >= 0 else -side - 1  # in TFLite -1 is the last place, not the one before the first
    name = node.output[0]
    known: dict[str, Any] = dict(non_negative=value.non_negative, order=value.order)
    if set(stride) == {1}:
        size = [max(0, last - first) for first, last in zip(begin, end, strict=True)]
        inputs = [_list(context, f"{name}/begin", begin), _list(context, f"{name}/size", size)]
        context.emit(name, "SLICE", [value.tensor, *inputs], **known)
        return
    rows = {"begin": begin, "end": end, "strides": stride}
    inputs = [_list(context, f"{name}/{key}", row) for key, row in rows.items()]
    context.emit(name, "STRIDED_SLICE", [value.tensor, *inputs], **known)


def emit_gather(context: Context, node: NodeProto) -> None:
    """Picks places of one axis by a list of constants."""
    value, places = _whole(context, node), context.constant(node, 1)
    axis = int(attribute(node, "axis", 0)) % len(value.shape)
    if places is None or places.ndim != 1:
        raise context.refuse(node, "picks values by what is no list; only a constant list is supported")
    found = places % context.shape(node.input[0])[axis]
    indices, place = _list(context, f"{node.output[0]}/places", found.tolist()), value.order.index(axis)
    known: dict[str, Any] = dict(non_negative=value.non_negative, order=value.order)
    context.emit(node.output[0], "GATHER", [value.tensor, indices], axis=place, batchDims=0, **known)


def emit_tile(context: Context, node: NodeProto) -> None:
    """Repeats a tensor along its axes."""
    value, repeats = _whole(context, node), context.constant(node, 1)
    if repeats is None:
        raise context.refuse(node, "computes how often it repeats; only a constant is supported")
    many = _list(context, f"{node.output[0]}/repeats", [int(repeats[axis]) for axis in value.order])
    known: dict[str, Any] = dict(non_negative=value.non_negative, order=value.order)
    context.emit(node.output[0], "TILE", [value.tensor, many], **known)


def emit_expand(context: Context, node: NodeProto) -> None:
    """Repeats axes of length 1; nothing where whatever reads the result repeats them itself."""
    value, name = _whole(context, node), node.output[0]
    target, source = context.shape(name), context.shape(node.input[0])
    readers = context.view.consumers(name)
    if target == source or (readers and all(_repeats_by_itself(context, one, name, source) for one in readers)):
        context.values[name] = value
        return
    shape = _list(context, f"{name}/shape", [target[axis] for axis in value.order])
    known: dict[str, Any] = dict(non_negative=value.non_negative, order=value.order, version=2)
    context.emit(name, "BROADCAST_TO", [value.tensor, shape], **known)


def _repeats_by_itself(context: Context, node: NodeProto, name: str, source: tuple[int, ...]) -> bool:
    """`node` gives the same shape where it reads `name` with the shape `source`."""
    others = [one for one in node.input if one != name]
    if node.op_type not in BROADCASTING or len(others) != 1:
        return False
    constant = context.constants.get(others[0])
    other = context.shape(others[0]) if constant is None else constant.shape
    return np.broadcast_shapes(source, other) == context.shape(node.output[0])


def emit_blocks(code: str) -> Any:
    """Gives the emitter that moves blocks of pixels into the channels, or out of them: the channels' outer places."""

    def emit(context: Context, node: NodeProto) -> None:
        value = context.value(node)
        size = int(attribute(node, "blocksize"))
        context.emit(node.output[0], code, [value.tensor], non_negative=value.non_negative, blockSize=size)

    return emit


def emit_resize(context: Context, node: NodeProto) -> None:
    """Resize of an image, to the nearest pixel or linearly, where TFLite takes the same pixels."""
    value, name, found = context.value(node), node.output[0], resizing_in(context.view, node)
    if isinstance(found, str):
        raise context.refuse(node, found)
    wanted = _list(context, f"{name}/size", list(found.target))
    if found.mode == "nearest":
        code, corners, middles = "RESIZE_NEAREST_NEIGHBOR", False, nearest_offset(found) == 0.5
    else:
        code, corners, middles = "RESIZE_BILINEAR", found.grid == "align_corners", found.grid == "half_pixel"
    known: dict[str, Any] = dict(non_negative=value.non_negative, version=3 if middles else 1)
    context.emit(name, code, [value.tensor, wanted], alignCorners=corners, halfPixelCenters=middles, **known)


def tflite_resizes(found: Resizing | str) -> bool:
    """Says whether one of TFLite's own operators takes the same pixels."""
    return isinstance(found, Resizing) and (found.grid if found.mode == "linear" else nearest_offset(found)) is not None


def nearest_offset(found: Resizing) -> float | None:
    """Gives the offset, 0 or 1/2, with which TFLite copies the same pixels: floor((i + offset) before / after)."""
    axes = list(zip(found.size, found.target, found.rows_and_columns, strict=True))
    for offset in (0.0, 0.5):
        if all(np.array_equal(_nearest(before, after, offset), wanted) for before, after, wanted in axes):
            return offset
    return None


def _nearest(before: int, after: int, offset: float) -> NDArray[np.floating[Any]]:
    places = (np.arange(after, dtype=np.float32) + np.float32(offset)) * np.float32(before / after)
    return np.asarray(np.minimum(np.floor(places), before - 1))


def _whole(context: Context, node: NodeProto, turned_once: bool = False) -> Value:
    """Gives the first input, which must be no flattened image, as it lies or turned once for all that is cut of it."""
    value = context.value(node) if turned_once else context.lying(node)
    if value.flattened:
        raise context.refuse(node, "takes a flattened image apart; do that before it is flattened")
    return value


def _list(context: Context, name: str, numbers: list[int]) -> int:
    return context.writer.constant(name, np.array(numbers, np.int64))
