"""Graphs that spell out in small operators what one operator computes."""

from collections.abc import Mapping
from typing import Any

import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper


def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], name=output, **attributes)


def graph_of(
    nodes: list[onnx.NodeProto], shape: tuple[int, ...], constants: Mapping[str, Any], opset: int = 17
) -> onnx.ModelProto:
    """A network from "x" to "y" of one shape, with those of the constants that it reads."""
    read = {name for one in nodes for name in one.input}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items() if name in read],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    return onnx.shape_inference.infer_shapes(made, strict_mode=True)


def computed(made: onnx.ModelProto, x: Any) -> Any:
    return ort.InferenceSession(made.SerializeToString()).run(None, {"x": x})[0]
