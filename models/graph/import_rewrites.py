"""What is rewritten in a graph before it is trained: norms come back, gathers become reshapes, slices splits."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .view import GraphView, attribute, copied

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


def slices_to_splits(model: ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> ModelProto:
    """Writes slices that are the equal parts of a value as one Split, whose parts stay equal when channels are cut.

    Given   Slice(x, 0:8, axis 1) -> a, Slice(x, 8:16, axis 1) -> b        with x (1, 16, 56, 56)
    Result  Split(x, axis 1) -> a, b

    Args:
        model: Bounds of slices are constants.
        shapes: Of its values.
    """
    import onnx

    result = copied(model)
    view = GraphView(result.graph)
    cuts: dict[tuple[str, int], list[tuple[int, int, NodeProto]]] = {}  # of a value and an axis: start, length, slice
    for node in result.graph.node:
        if node.op_type == "Slice" and (cut := _cut_of(view, node, shapes.get(node.input[0], ()))) is not None:
            axis, start, length = cut
            cuts.setdefault((node.input[0], axis), []).append((start, length, node))
    is_new = next(each.version for each in result.opset_import if each.domain in ("", "ai.onnx")) >= 13
    splits: dict[str, NodeProto] = {}  # by the result of the first slice in the graph
    replaced: set[str] = set()
    for (x, axis), found in cuts.items():
        side, count = shapes[x][axis], len(found)
        ordered = sorted(found, key=lambda cut: cut[0])
        parts = [(start, length) for start, length, _ in ordered]
        if count < 2 or side % count or parts != [(place, side // count) for place in range(0, side, side // count)]:
            continue
        results = [node.output[0] for _, _, node in ordered]
        sizes, first = [side // count] * count, found[0][2]
        inputs = [x, view.set_constant(f"{results[0]}/sizes", np.array(sizes, np.int64))] if is_new else [x]
        given: dict[str, Any] = {} if is_new else {"split": sizes}  # an attribute before opset 13
        splits[first.output[0]] = onnx.helper.make_node("Split", inputs, results, name=first.name, axis=axis, **given)
        replaced.update(results)
    kept = (splits.get(node.output[0], node) for node in result.graph.node)
    view.set_nodes([node for node in kept if node.op_type == "Split" or node.output[0] not in replaced])
    view.drop_unread()
    return result


def _cut_of(view: GraphView, node: NodeProto, sides: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Gives axis, start and length of a slice along one axis; None of any other."""
    if any(name and view.constant(name) is None for name in node.input[1:]):
        return None  # computed
    bounds = [view.constant(name) for name in node.input[1:]]
    bounds = bounds or [attribute(node, name) for name in ("starts", "ends", "axes")]  # before opset 10
    starts, ends, axes, steps = [*bounds, None, None][:4]
    if starts is None or ends is None or not sides or len(starts) != 1 or (steps is not None and steps[0] != 1):
        return None
    axis = int(axes[0]) % len(sides) if axes is not None else 0
    start, end, _ = slice(int(starts[0]), int(ends[0])).indices(sides[axis])
    return (axis, start, end - start) if end > start else None
