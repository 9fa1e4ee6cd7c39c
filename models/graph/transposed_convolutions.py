"""Transposed convolutions whose padding follows from their result: written with the padding itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .view import GraphView, attribute

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

SLICE_BY_INPUTS = 10  # the opset since when


def state_transposed_pads(model: ModelProto) -> int:
    """Writes what `auto_pad` and `output_shape` of each ConvTranspose mean as `pads`; gives how many had either.

    Keras' and TensorFlow's exporters write them so. Where a kernel is narrower than its stride there is nothing to take
    away: an `output_shape` widens the result at its end then, and with `auto_pad` alone it is smaller than promised, as
    it is in onnxruntime.

    Given   ConvTranspose (1, 8, 4, 4), kernel 3, stride 2, auto_pad SAME_UPPER
    Result  ConvTranspose (1, 8, 4, 4), kernel 3, stride 2, pads [0, 0, 1, 1]         of 9 x 9 the first 8 x 8

    Args:
        model: Its input has a size; other shapes are inferred. Changed in place.

    Source: ONNX's operator ConvTranspose, https://onnx.ai/onnx/operators/onnx__ConvTranspose.html.
    """
    import onnx

    nodes = [
        node
        for node in model.graph.node
        if node.op_type == "ConvTranspose"
        and (attribute(node, "output_shape") or attribute(node, "auto_pad", "NOTSET") != "NOTSET")
    ]
    if not nodes:
        return 0
    count, edit = 0, GraphView(model.graph)
    view = GraphView(onnx.shape_inference.infer_shapes(model).graph)
    for node in nodes:
        sides, weights = view.shape(node.input[0]), edit.constant(node.input[1])
        if weights is None or not sides or not all(sides):
            continue
        rank, how = len(sides) - 2, attribute(node, "auto_pad", "NOTSET")
        strides, dilations = (attribute(node, name, [1] * rank) for name in ("strides", "dilations"))
        more = list(attribute(node, "output_padding", [0] * rank))
        stated = wanted = attribute(node, "output_shape", ())[-rank:]  # some files state batch and channels too
        if not wanted and how.startswith("SAME"):
            wanted = [side * stride for side, stride in zip(sides[2:], strides, strict=True)]
        before, after = [0] * rank, [0] * rank
        for axis, target in enumerate(wanted):
            width = (weights.shape[2 + axis] - 1) * dilations[axis] + 1
            total = (sides[2 + axis] - 1) * strides[axis] + width + more[axis] - target
            more[axis] += max(0, -total) if stated else 0
            less, larger = max(0, total) // 2, max(0, total) - max(0, total) // 2
            before[axis], after[axis] = (less, larger) if how == "SAME_UPPER" else (larger, less)
        _set_pads(node, [*before, *after], more)
        count += 1
    return count


def cut_uneven_pads(model: ModelProto) -> None:
    """Gives each ConvTranspose the same padding before and after an axis, as PyTorch's layers have it.

    Given   ConvTranspose, pads [0, 0, 1, 1]
    Result  ConvTranspose, pads [0, 0, 0, 0] -> Slice [:, :, :-1, :-1]

    Given   ConvTranspose, pads [1, 1, 0, 0]
    Result  ConvTranspose, pads [1, 1, 1, 1], output_padding [1, 1]

    Args:
        model: Changed in place.
    """
    import onnx

    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    view, nodes = GraphView(model.graph), list["NodeProto"]()
    for node in model.graph.node:
        nodes.append(node)
        pads = attribute(node, "pads", ()) if node.op_type == "ConvTranspose" else ()
        before, after = pads[: len(pads) // 2], pads[len(pads) // 2 :]
        if list(before) == list(after):
            continue
        cut = [max(0, second - first) for first, second in zip(before, after, strict=True)]
        wider = [max(0, first - second) for first, second in zip(before, after, strict=True)]
        more = [sum(pair) for pair in zip(attribute(node, "output_padding", [0] * len(cut)), wider, strict=True)]
        _set_pads(node, [*before, *before], more)
        if not any(cut):
            continue
        name, axes = node.output[0], [2 + axis for axis, count in enumerate(cut) if count]
        node.output[0] = f"{name}/whole"
        bounds: dict[str, Any] = {"starts": [0] * len(axes), "ends": [-count for count in cut if count], "axes": axes}
        if opset < SLICE_BY_INPUTS:
            nodes.append(onnx.helper.make_node("Slice", [node.output[0]], [name], name=name, **bounds))
            continue
        inputs = [view.set_constant(f"{name}/{key}", np.array(values, np.int64)) for key, values in bounds.items()]
        nodes.append(onnx.helper.make_node("Slice", [node.output[0], *inputs], [name], name=name))
    view.set_nodes(nodes)


def _set_pads(node: NodeProto, pads: list[int], more: Sequence[int]) -> None:
    import onnx

    kept = [one for one in node.attribute if one.name not in ("auto_pad", "output_shape", "output_padding", "pads")]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute("pads", pads)])
    if any(more):
        node.attribute.append(onnx.helper.make_attribute("output_padding", more))
