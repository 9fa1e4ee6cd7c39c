"""The view of a graph: links, constants wherever they are, shapes, and edits that leave the rest alone."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pocketface.export.artifact import ConversionError
from pocketface.models.graph.view import (
    GraphView,
    attribute,
    clip_bounds,
    constant_value,
    copied,
    with_nodes_named,
)

W = np.float32([[[[2]]], [[[3]]]])  # (2, 1, 1, 1)


def model() -> onnx.ModelProto:
    """Two convolutions that share their weights; the first's result is read twice, the second's is the output."""
    nodes = [
        helper.make_node("Constant", [], ["low"], value_float=-1.0),
        helper.make_node("Conv", ["input", "w"], ["a"], group=2, auto_pad="VALID"),
        helper.make_node("Clip", ["a", "low"], ["c"]),
        helper.make_node("Conv", ["a", "w"], ["b"], group=2),
        helper.make_node("Add", ["b", "c"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [
            helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 2, 4, 4]),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [2, 1, 1, 1]),
        ],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(W, "w"), numpy_helper.from_array(W, "unread")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_links_are_those_of_the_nodes() -> None:
    view = GraphView(model().graph)
    producer = view.producer("a")
    assert producer is not None and producer.op_type == "Conv" and view.producer("input") is None
    assert [node.op_type for node in view.consumers("a")] == ["Clip", "Conv"]
    assert view.sole_consumer("a") is None and view.sole_consumer("out") is None
    reader = view.sole_consumer("b")
    assert reader is not None and reader.op_type == "Add"


def test_constants_are_initializers_and_constant_nodes() -> None:
    view = GraphView(model().graph)
    assert set(view.constants) == {"w", "unread", "low"}
    assert view.constant("low") == np.float32(-1) and view.constant("a") is None
    assert [view.has_constant_weights(node) for node in view.graph.node[1:]] == [True, True, True, False]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [({"value_float": 0.5}, np.float32(0.5)), ({"value_ints": [1, 2]}, np.int64([1, 2]))],
)
def test_a_constant_keeps_its_type(attributes: dict[str, object], expected: np.ndarray) -> None:
    value = constant_value(helper.make_node("Constant", [], ["c"], **attributes))
    assert value.dtype == expected.dtype and np.array_equal(value, expected)


def test_shapes_and_ports_leave_weights_out() -> None:
    view = GraphView(model().graph)
    assert view.shape("input") == (0, 2, 4, 4) and view.shape("a") is None
    face, embedding = view.ports("net.onnx")
    assert (face.name, embedding.name) == ("input", "out")


def test_two_inputs_are_one_sentence() -> None:
    network = model()
    del network.graph.initializer[0]
    with pytest.raises(ConversionError, match=r"net\.onnx has 2 inputs and 1 outputs; an embedder has one of each"):
        GraphView(network.graph).ports("net.onnx")


def test_scaled_weights_leave_the_node_that_shares_them_alone() -> None:
    view = GraphView(model().graph)
    first, second = (node for node in view.graph.node if node.op_type == "Conv")
    view.scale_input(first, 1, np.float32([10, 100])[:, None, None, None], "scaled")
    view.scale_input(first, 1, np.float32([10, 1])[:, None, None, None], "scaled")
    assert (first.input[1], second.input[1]) == ("a/scaled_1", "w")
    assert [tensor.name for tensor in view.graph.initializer] == ["w", "unread", "a/scaled_1"]
    assert numpy_helper.to_array(view.graph.initializer[2]).ravel().tolist() == [200, 300]


def test_a_new_constant_takes_no_name_that_others_have() -> None:
    view, new = GraphView(model().graph), np.float32([5])
    assert view.set_constant("w", new) == "w_2"  # two convolutions read it
    assert view.set_constant("low", new) == "low_2"  # the result of a Constant
    assert [view.set_constant(name, new) for name in ("a", "input", "out")] == ["a_2", "input_2", "out_2"]
    assert view.set_constant("w", new) == "w_2"  # its own, a second time
    assert view.set_constant("own", new) == "own" and view.set_constant("unread", new) == "unread"
    held = {tensor.name: numpy_helper.to_array(tensor).ravel().tolist() for tensor in view.graph.initializer}
    assert held["w"] == [2, 3] and held["w_2"] == held["unread"] == [5]


def test_unread_weights_are_dropped_and_nodes_replaced() -> None:
    view = GraphView(model().graph)
    view.drop_unread()
    assert [tensor.name for tensor in view.graph.initializer] == ["w"]
    view.set_nodes(node for node in view.graph.node if node.op_type != "Clip")
    assert [node.op_type for node in view.graph.node] == ["Constant", "Conv", "Conv", "Add"]


def test_copies_leave_the_model_alone() -> None:
    network = model()
    named = with_nodes_named(network)
    assert [node.name for node in named.graph.node] == ["low", "a", "c", "b", "out"]
    assert not any(node.name for node in network.graph.node) and copied(network) == network


def test_attributes_are_python_values() -> None:
    conv = model().graph.node[1]
    assert (attribute(conv, "group"), attribute(conv, "auto_pad"), attribute(conv, "pads", 7)) == (2, "VALID", 7)


@pytest.mark.parametrize(
    ("node", "bounds", "expected"),
    [
        (helper.make_node("Relu", ["x"], ["y"]), (), (0, np.inf)),
        (helper.make_node("Clip", ["x"], ["y"]), (), (-np.inf, np.inf)),
        (helper.make_node("Clip", ["x"], ["y"], min=0.0, max=6.0), (), (0, 6)),
        (helper.make_node("Clip", ["x", "", "h"], ["y"]), (None, np.float32(6)), (-np.inf, 6)),
    ],
)
def test_bounds_of_a_clip(
    node: onnx.NodeProto, bounds: tuple[np.ndarray | None, ...], expected: tuple[float, float]
) -> None:
    assert clip_bounds(node, *bounds) == expected
