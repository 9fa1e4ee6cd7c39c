"""What is rewritten in a graph before it is trained: scales and shifts per channel become part of their layer."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from .view import Array, GraphView, attribute, copied

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

FOLDED = ("Mul", "Add", "Sub", "Div")
INTO = ("Conv", "Gemm", "BatchNormalization")


def fold_affines(model: ModelProto) -> ModelProto:
    """Makes each constant scale or shift per channel part of the convolution, linear layer or batch norm before it.

    A batch norm that was spelt out, and the bias that some tools add by itself, are gone then, and the layer's
    channels can be cut.

    Given   Conv W, b -> Mul s (C, 1, 1) -> Add t (C, 1, 1) -> y
    Result  Conv s W, s b + t -> y
    """
    result = copied(model)
    view = GraphView(result.graph)
    makers: dict[str, NodeProto] = {}  # by value, the layer that makes it, as folded so far
    readers: dict[str, int] = {}
    for node in result.graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    kept = []
    for node in result.graph.node:
        if node.op_type in FOLDED and (found := _affine(view, node, makers, readers)) is not None:
            maker, scale, shift = found
            _fold(view, maker, scale, shift)
            maker.output[0] = node.output[0]
            makers[node.output[0]] = maker
            continue
        if node.op_type in INTO and all(name in view.constants for name in node.input[1:] if name):
            makers[node.output[0]] = node
        kept.append(node)
    view.set_nodes(kept)
    view.drop_unread()
    del result.graph.value_info[:]
    return result


NORMS = ("BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization")
EPSILON = 1e-5
SILENT = 1e-8  # root mean square of a filter that computes nothing


def unfold_norms(model: ModelProto, shapes: Mapping[str, tuple[int, ...]], merged: Collection[str] = ()) -> ModelProto:
    """Gives the convolutions of a network whose batch norms were folded new ones, which change nothing until it trains.

    Most files have theirs folded, and training without any is slow or fails. A network that has norms of another kind
    is left as it is, but for convolutions into which batch norms were merged: one with several square roots has norms
    spelt out. So is a convolution that maps one pixel to one,
    as those that weigh channels do, unless it makes the embedding. Filters get the size that those of a fresh network
    have, on which the steps of a training depend; folding made them small or large.

    Given   Conv W, b -> y
    Result  Conv f W -> BatchNormalization (scale 1 / f, shift b, mean 0, variance 1) -> y

    Source: He et al., Delving Deep into Rectifiers, ICCV 2015, eq. 10, for the size of filters.

    Args:
        model: Weights are initializers.
        shapes: Of its values.
        merged: The results of convolutions that took the place of several branches.
    """
    import onnx

    kinds = [node.op_type for node in model.graph.node]
    has_norms = bool(set(kinds) & set(NORMS)) or kinds.count("Sqrt") > 1
    if has_norms and not merged:
        return model
    result = copied(model)
    view = GraphView(result.graph)
    nodes: list[NodeProto] = []
    for node in result.graph.node:
        nodes.append(node)
        weight = view.constant(node.input[1]) if node.op_type == "Conv" and len(node.input) == 3 else None
        bias = None if weight is None or weight.ndim != 4 else view.constant(node.input[2])
        y = node.output[0]
        if weight is None or bias is None or (has_norms and y not in merged):
            continue
        if weight.shape[2:] == (1, 1) == shapes.get(y, ())[2:] and not _is_embedding(view, y):
            continue
        ones, zeros = np.ones(len(bias), np.float32), np.zeros(len(bias), np.float32)
        size = np.sqrt(np.mean(np.square(weight), axis=(1, 2, 3)))
        usual = math.sqrt(2 / weight[0].size)
        factor = np.where(size > SILENT, usual / np.maximum(size, SILENT), 1).astype(np.float32)
        node.input[1] = view.set_constant(f"{y}/filters", weight * factor[:, None, None, None])
        given = {"scale": np.float32(np.sqrt(1 + EPSILON)) / factor, "shift": bias, "mean": zeros, "variance": ones}
        names = [view.set_constant(f"{y}/{name}", values) for name, values in given.items()]
        node.input[:] = node.input[:2]
        node.output[0] = f"{y}/folded"
        label = f"{node.name or y}/norm"
        inputs = [node.output[0], *names]
        nodes.append(onnx.helper.make_node("BatchNormalization", inputs, [y], name=label, epsilon=EPSILON))
    view.set_nodes(nodes)
    view.drop_unread()
    del result.graph.value_info[:]
    return result


def _is_embedding(view: GraphView, value: str) -> bool:
    """Says whether `value` is the network's result but for its shape."""
    while value not in view.outputs:
        reader = view.sole_consumer(value)
        if reader is None or reader.op_type not in ("Reshape", "Flatten", "Squeeze", "Transpose"):
            return False
        value = reader.output[0]
    return True


def gathers_to_reshapes(model: ModelProto) -> tuple[ModelProto, int]:
    """Writes a Gather that keeps all numbers in their order as a Reshape; PyTorch's exporter makes one of a mean.

    Given   Gather(x (168,), [[[[0]], [[1]], ... [[167]]]]) -> y (1, 168, 1, 1)
    Result  Reshape(x, (1, 168, 1, 1)) -> y

    Returns:
        The graph, and how many there were.
    """
    import onnx

    result = copied(model)
    view, count = GraphView(onnx.shape_inference.infer_shapes(result).graph), 0
    ours = GraphView(result.graph)
    for node in result.graph.node:
        table = view.constant(node.input[1]) if node.op_type == "Gather" else None
        if table is None or table.ndim < 2 or view.shape(node.input[0]) != (table.size,):
            continue
        if (table.reshape(-1) == np.arange(table.size)).all():
            sides = ours.set_constant(f"{node.output[0]}/sides", np.array(table.shape, np.int64))
            reshape = onnx.helper.make_node("Reshape", [node.input[0], sides], [node.output[0]], name=node.name)
            node.CopyFrom(reshape)
            count += 1
    return result, count


def _affine(
    view: GraphView, node: NodeProto, makers: dict[str, NodeProto], readers: dict[str, int]
) -> tuple[NodeProto, Array, Array] | None:
    """Gives the layer that a node can be folded into, and the (C,) scale and shift that it is."""
    places = [place for place in (0, 1) if node.input[place] in makers]
    if len(places) != 1 or view.constant(node.input[1 - places[0]]) is None:
        return None
    value, constant = node.input[places[0]], view.constants[node.input[1 - places[0]]]
    maker = makers[value]
    if readers[value] != 1 or value in view.outputs or (places[0] == 1 and node.op_type in ("Sub", "Div")):
        return None
    channels, rank = _channels(view, maker)
    numbers = _per_channel(constant, channels, rank) if constant.dtype == np.float32 else None
    if numbers is None or (node.op_type == "Div" and not numbers.all()):
        return None
    one, zero = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    return {
        "Mul": (maker, numbers, zero),
        "Div": (maker, 1 / numbers, zero),
        "Add": (maker, one, numbers),
        "Sub": (maker, one, -numbers),
    }[node.op_type]


def _channels(view: GraphView, maker: NodeProto) -> tuple[int, int]:
    """Gives how many channels a layer makes, and how many sides its result has."""
    weight = view.constants[maker.input[1]]
    if maker.op_type == "Gemm":
        return weight.shape[0 if attribute(maker, "transB", 0) else 1], 2
    if maker.op_type == "Conv":
        return weight.shape[0], weight.ndim
    return len(weight), 0  # a batch norm's own constants do not say


def _per_channel(constant: Array, channels: int, rank: int) -> Array | None:
    """Gives (C,) numbers if `constant` has one per channel, or one for all."""
    if constant.size == 1:
        return np.full(channels, constant.reshape(-1)[0], np.float32)
    if constant.size != channels or (rank == 0 and constant.ndim < 3):
        return None
    behind = max(0, rank - 2) if rank else 2  # sides after the channels
    place = constant.ndim - 1 - behind
    return constant.reshape(-1) if place >= 0 and constant.shape[place] == channels else None


def _fold(view: GraphView, maker: NodeProto, scale: Array, shift: Array) -> None:
    output = maker.output[0]
    if maker.op_type == "BatchNormalization":
        gain, offset = (view.constants[maker.input[place]] for place in (1, 2))
        for place, values in ((1, scale * gain), (2, scale * offset + shift)):
            maker.input[place] = view.set_constant(f"{output}/affine_{place}", values.astype(np.float32))
        return
    weight = view.constants[maker.input[1]]
    rows = maker.op_type == "Conv" or bool(attribute(maker, "transB", 0))
    factors = scale.reshape(-1, *[1] * (weight.ndim - 1)) if rows else scale
    gemm = maker.op_type == "Gemm"
    beta = float(attribute(maker, "beta", 1.0)) if gemm else 1.0
    bias = view.constants[maker.input[2]] if len(maker.input) > 2 and maker.input[2] else np.zeros((), np.float32)
    moved = np.broadcast_to(scale * bias.reshape(-1) + shift / (beta or 1.0), shift.shape).astype(np.float32)
    maker.input[1] = view.set_constant(f"{output}/affine_1", (weight * factors).astype(np.float32))
    if len(maker.input) < 3:
        maker.input.append("")
    maker.input[2] = view.set_constant(f"{output}/affine_2", moved)
