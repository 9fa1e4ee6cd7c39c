"""Scales and shifts per channel become part of the layer before or after them, by hand and beside onnxruntime."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from pocketface.models.graph.affine_folding import fold_channel_affines

FACE = np.random.default_rng(0).normal(0, 1, (1, 2, 4, 4)).astype(np.float32)


def model(nodes: list[onnx.NodeProto], **constants: Any) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, FACE.shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(np.asarray(values, np.int64 if name == "sides" else np.float32), name)
            for name, values in constants.items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def computed(one: onnx.ModelProto) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(one.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"input": FACE})[0])


def folded(one: onnx.ModelProto, count: int) -> dict[str, NDArray[np.float32]]:
    """Folds; checks the count and the result, and gives the constants that are left, by the node that reads them."""
    result, found = fold_channel_affines(one)
    assert found == count
    np.testing.assert_allclose(computed(result), computed(one), atol=1e-6)
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in result.graph.initializer}
    return {
        f"{node.op_type}{place}": arrays[name]
        for node in result.graph.node
        for place, name in enumerate(node.input)
        if name in arrays
    }


def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def test_a_layer_scale_goes_through_reshape_and_transpose_into_the_product_before_it() -> None:
    nodes = [
        node("Transpose", "input", "last", perm=[0, 2, 3, 1]),
        node("Reshape", "last sides", "rows"),
        node("Gemm", "rows w b", "g"),
        node("Mul", "scale g", "m"),
        node("Add", "m shift", "a"),
        node("Transpose", "a", "y", perm=[1, 0]),
    ]
    w, b, scale = [[1, 2], [3, 4]], [5, 6], [10, 0.5]
    left = folded(model(nodes, w=w, b=b, scale=scale, shift=[1, 2], sides=[16, 2]), 2)
    assert left["Gemm1"].tolist() == [[10, 1], [30, 2]]
    assert left["Gemm2"].tolist() == [51, 5]
    assert "Mul0" not in left and "Add1" not in left


def test_where_no_layer_stands_before_it_the_one_after_it_takes_scale_and_shift() -> None:
    nodes = [
        node("Tanh", "input", "t"),
        node("Mul", "t scale", "m"),
        node("Add", "m shift", "a"),
        node("Conv", "a w", "y"),
    ]
    channels = {"scale": [[[2]], [[3]]], "shift": [[[1]], [[10]]]}
    left = folded(model(nodes, w=[[[[1]], [[1]]]], **channels), 2)
    assert left["Conv1"].reshape(-1).tolist() == [2, 3]
    assert left["Conv2"].tolist() == [11]


def test_a_shift_before_padding_stays_as_zeros_are_padded_after_it() -> None:
    nodes = [node("Tanh", "input", "t"), node("Add", "t shift", "a"), node("Conv", "a w", "y", pads=[1, 1, 1, 1])]
    folded(model(nodes, w=np.ones((1, 2, 3, 3)), shift=[[[1]], [[10]]]), 0)


def test_what_two_nodes_read_is_not_scaled_for_one_of_them() -> None:
    nodes = [
        node("Conv", "input w", "c"),
        node("Mul", "c scale", "m"),
        node("Tanh", "m", "t"),
        node("Add", "c t", "y"),
    ]
    folded(model(nodes, w=[[[[1]], [[2]]], [[[3]], [[4]]]], scale=[[[2]], [[3]]]), 0)


def test_a_depthwise_filter_takes_the_factor_of_its_own_channel() -> None:
    nodes = [node("Tanh", "input", "t"), node("Mul", "t scale", "m"), node("Conv", "m w", "y", group=2)]
    left = folded(model(nodes, w=np.ones((4, 1, 1, 1)), scale=[[[2]], [[3]]]), 1)
    assert left["Conv1"].reshape(-1).tolist() == [2, 2, 3, 3]


def test_a_scale_that_differs_along_two_axes_is_none_of_channels() -> None:
    nodes = [node("Conv", "input w", "c"), node("Mul", "c scale", "y")]
    folded(model(nodes, w=[[[[1]], [[2]]], [[[3]], [[4]]]], scale=np.arange(32).reshape(2, 4, 4)), 0)
