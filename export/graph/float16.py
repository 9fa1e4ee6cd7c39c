"""Gives an ONNX graph half precision: weights and arithmetic float16, input and output float32 as before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from ...models.graph.view import GraphView, attribute, with_nodes_named
from ...spelling import first_line
from ..artifact import ConversionError

if TYPE_CHECKING:
    import onnx

SQUARING = (
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "LpNormalization",
    "MeanVarianceNormalization",
    "Pow",
    "RMSNormalization",
    "ReduceL2",
    "ReduceSumSquare",
    "Sqrt",
)
"""Operators that square or take roots of squares: float16 ends at 65,504, so 256 squared is infinite."""


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Gives `model` with float16 weights and arithmetic.

    Given:   input -> Conv W, b -> Flatten -> ReduceL2, Div -> embedding
    Result:  input -> Cast -> Conv f16(W), f16(b) -> Cast -> Flatten -> ReduceL2, Div -> embedding

    What follows the last weights (a flattening, perhaps the L2 norm) and every operator of `SQUARING` stays float32.
    A phone core with float16 arithmetic computes in it; onnxruntime on x86 has no such kernels, takes the casts out
    again and computes in float32 with the rounded weights.

    Args:
        model: Float32, of ONNX's own operators.

    Raises:
        ConversionError: The converter, onnxruntime's own, cannot express the network.
    """
    import onnx
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import convert_float_to_float16

    named = with_nodes_named(model)
    kept = {node.name for node in named.graph.node if node.op_type in SQUARING} | set(after_the_weights(named.graph))
    try:
        half = convert_float_to_float16(named, keep_io_types=True, node_block_list=sorted(kept))
        _tidy(half.graph)
        ONNXModel(half).topological_sort()
        del half.graph.value_info[:]
        result: onnx.ModelProto = onnx.shape_inference.infer_shapes(half, strict_mode=True)
        onnx.checker.check_model(result)
    except Exception as error:  # the converter, the checker and protobuf raise their own kinds
        raise ConversionError(f"the network cannot be given half precision: {first_line(error)}") from error
    return result


def after_the_weights(graph: onnx.GraphProto) -> Iterator[str]:
    """Names the nodes that no node with weights of two dimensions or more comes after or is."""
    weights = {tensor.name for tensor in graph.initializer if len(tensor.dims) > 1 and np.prod(tensor.dims) > 1}
    wanted: set[str] = set()  # tensors that a node with weights depends on
    for node in reversed(graph.node):
        if weights & set(node.input) or wanted & set(node.output):
            wanted |= set(node.input)
        else:
            yield node.name


def _tidy(graph: onnx.GraphProto) -> None:
    """Takes out the casts that the converter leaves between two float32 nodes, and those that it made twice.

    Given:   ReduceL2 -> Cast f16 -> Cast f32 -> Div
    Result:  ReduceL2 -> Div
    """
    from onnx import TensorProto

    made = {node.output[0]: node for node in graph.node}  # of two casts to the same name, one
    shortcuts: dict[str, str] = {}
    for name, node in made.items():
        before = made.get(node.input[0]) if _is_cast(node, TensorProto.FLOAT) else None
        if before is not None and _is_cast(before, TensorProto.FLOAT16):
            shortcuts[name] = before.input[0]
    ends = {value.name for value in graph.output}
    renamed = {source: name for name, source in shortcuts.items() if name in ends}
    for node in made.values():
        node.input[:] = [shortcuts.get(name, name) for name in node.input]
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    nodes = [node for name, node in made.items() if name not in shortcuts]
    read = _read(nodes, ends)
    GraphView(graph).set_nodes(node for node in nodes if node.output[0] in read)


def _read(nodes: list[onnx.NodeProto], ends: Iterable[str]) -> set[str]:
    """Names the tensors that `ends` depend on; the nodes are in no order."""
    makers = {name: node for node in nodes for name in node.output}
    read, waiting = set(ends), list(ends)
    while waiting:
        node = makers.get(waiting.pop())
        new = set(node.input) - read if node is not None else set()
        read |= new
        waiting += new
    return read


def _is_cast(node: onnx.NodeProto, kind: int) -> bool:
    return node.op_type == "Cast" and bool(attribute(node, "to") == kind)
