"""Transposed convolutions padded by their result, held against onnxruntime."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pocketface.models.graph.transposed_convolutions import cut_uneven_pads, state_transposed_pads
from pocketface.models.graph.view import attribute

X = np.random.default_rng(0).normal(size=(1, 2, 5, 5)).astype(np.float32)


def model(side: int, opset: int = 18, **attributes: Any) -> onnx.ModelProto:
    weights = np.random.default_rng(1).normal(size=(2, 3, side, side)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("ConvTranspose", ["x", "w"], ["y"], **attributes)],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def computed(made: onnx.ModelProto) -> NDArray[np.float32]:
    return np.asarray(onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": X})[0])


@pytest.mark.parametrize(
    ("side", "attributes", "pads"),
    [
        (3, {"strides": [2, 2], "auto_pad": "SAME_UPPER"}, [0, 0, 1, 1]),
        (3, {"strides": [2, 2], "auto_pad": "SAME_LOWER"}, [1, 1, 0, 0]),
        (4, {"strides": [2, 2], "auto_pad": "SAME_UPPER"}, [1, 1, 1, 1]),
        (3, {"strides": [2, 2], "auto_pad": "VALID"}, [0, 0, 0, 0]),
        (3, {"strides": [2, 2], "output_shape": [10, 9]}, [1, 1, 0, 1]),
        (2, {"strides": [3, 3], "output_shape": [15, 15]}, [0, 0, 0, 0]),
        (2, {"strides": [3, 3], "auto_pad": "SAME_UPPER"}, [0, 0, 0, 0]),
        (3, {"dilations": [2, 2], "auto_pad": "SAME_UPPER"}, [2, 2, 2, 2]),
    ],
)
def test_pads_are_those_that_the_result_implies(side: int, attributes: dict[str, Any], pads: list[int]) -> None:
    made = model(side, **attributes)
    before = computed(made)
    assert state_transposed_pads(made) == 1
    assert attribute(made.graph.node[0], "pads") == pads
    assert not {"auto_pad", "output_shape"} & {one.name for one in made.graph.node[0].attribute}
    assert np.array_equal(computed(made), before)


def test_plain_pads_stay() -> None:
    made = model(3, pads=[1, 1, 1, 1])
    before = made.SerializeToString(deterministic=True)
    assert state_transposed_pads(made) == 0
    cut_uneven_pads(made)
    assert made.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("opset", [9, 18])
def test_uneven_pads_are_cut_off_at_the_end(opset: int) -> None:
    made = model(3, opset, strides=[2, 2], pads=[0, 1, 1, 1])
    before = computed(made)
    cut_uneven_pads(made)
    assert [node.op_type for node in made.graph.node] == ["ConvTranspose", "Slice"]
    assert attribute(made.graph.node[0], "pads") == [0, 1, 0, 1]
    assert before.shape == (1, 3, 10, 9)
    assert np.array_equal(computed(made), before)


def test_pads_that_are_larger_in_front_widen_the_end() -> None:
    made = model(3, strides=[2, 2], pads=[1, 0, 0, 0])
    before = computed(made)
    cut_uneven_pads(made)
    (node,) = made.graph.node
    assert (attribute(node, "pads"), attribute(node, "output_padding")) == ([1, 0, 1, 0], [1, 0])
    assert np.array_equal(computed(made), before)
