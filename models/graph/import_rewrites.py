"""What is rewritten in a graph before it is trained: norms that were folded come back, and gathers become reshapes."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from .view import GraphView, copied

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

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
