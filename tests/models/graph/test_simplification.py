"""What onnxsim makes of a graph has no form that only ONNX has."""

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from pocketface.models.graph.simplification import simplified


def test_a_gemm_whose_rows_are_columns_gets_a_transpose_of_its_own() -> None:
    weights = np.float32([[1, 2], [3, 4], [5, 6]])
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["y"], transA=1, alpha=2.0)],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 2])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    straight = simplified(model, "net")
    onnx.checker.check_model(straight, full_check=True)
    assert [node.op_type for node in straight.graph.node] == ["Transpose", "Gemm"]
    x = np.float32([[1, 0], [0, 1], [1, 1]])
    (found,) = ort.InferenceSession(straight.SerializeToString()).run(None, {"x": x})
    assert found.tolist() == [[12, 16], [16, 20]]  # 2 * (columns of x) @ weights


def test_a_gather_of_everything_in_order_is_a_reshape_and_another_gather_is_not() -> None:
    graph = helper.make_graph(
        [
            helper.make_node("Relu", ["x"], ["r"]),
            helper.make_node("Gather", ["r", "all"], ["y"]),
            helper.make_node("Gather", ["r", "turned"], ["z"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 1]),
            helper.make_tensor_value_info("z", TensorProto.FLOAT, [3]),
        ],
        [
            numpy_helper.from_array(np.int64([[[0], [1], [2]]]), "all"),
            numpy_helper.from_array(np.int64([2, 1, 0]), "turned"),
        ],
    )
    straight = simplified(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), "net")
    onnx.checker.check_model(straight, full_check=True)
    assert [node.op_type for node in straight.graph.node] == ["Relu", "Reshape", "Gather"]
    row, turned = ort.InferenceSession(straight.SerializeToString()).run(None, {"x": np.float32([1, 2, 3])})
    assert row.tolist() == [[[1], [2], [3]]] and turned.tolist() == [3, 2, 1]
