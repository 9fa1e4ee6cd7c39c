"""Layers that are spelt out: found by what the operators compute, in any spelling; what is none stays."""

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from pocketface.models.graph.idioms import recognise_norms, recognise_prelus

SLOPES = np.float32([0.25, -0.5, 0.0]).reshape(3, 1, 1)
CONSTANTS = {
    "a": SLOPES,
    "minus_a": -SLOPES,
    "half_a": SLOPES / 2,
    "half": np.float32(0.5),
    "two": np.float32(2),
    "zero": np.float32(0),
    "one": np.float32(1),
    "tiny": np.float32(1e-12),
    "last": np.int64([-1]),
    "scale": np.float32([1, 2, 3, 4]),
    "shift": np.float32([4, 3, 2, 1]),
    "epsilon": np.float32(1e-3),
    "shape": np.int64([2, 4]),
    "image_scale": np.float32([1, 2, 3, 4]).reshape(4, 1, 1),
    "image_shift": np.float32([4, 3, 2, 1]).reshape(1, 4, 1, 1),
}


def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], name=output, **attributes)


def model(nodes: list[onnx.NodeProto], shape: tuple[int, ...]) -> onnx.ModelProto:
    read = {name for one in nodes for name in one.input}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in CONSTANTS.items() if name in read],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(made, strict_mode=True)


def computed(made: onnx.ModelProto, x: Any) -> Any:
    return ort.InferenceSession(made.SerializeToString()).run(None, {"x": x})[0]


PRELUS = {
    "keras": [
        node("Relu", "x", "p"),
        node("Neg", "x", "n"),
        node("Relu", "n", "q"),
        node("Mul", "minus_a q", "m"),
        node("Add", "p m", "y"),
    ],
    "keras, subtracted": [
        node("Relu", "x", "p"),
        node("Neg", "x", "n"),
        node("Relu", "n", "q"),
        node("Mul", "q a", "m"),
        node("Sub", "p m", "y"),
    ],
    "tensorflow 1": [
        node("Relu", "x", "p"),
        node("Abs", "x", "b"),
        node("Sub", "x b", "s"),
        node("Mul", "s a", "m"),
        node("Mul", "m half", "h"),
        node("Add", "p h", "y"),
    ],
    "by halves": [
        node("Relu", "x", "p"),
        node("Abs", "x", "b"),
        node("Sub", "x b", "s"),
        node("Div", "s two", "h"),
        node("Mul", "a h", "m"),
        node("Add", "m p", "y"),
    ],
    "by bounds": [
        node("Max", "x zero", "p"),
        node("Min", "x zero", "q"),
        node("Mul", "q a", "m"),
        node("Add", "p m", "y"),
    ],
}


@pytest.mark.parametrize("spelling", PRELUS)
def test_a_prelu_is_found_in_every_spelling(spelling: str) -> None:
    made = model(PRELUS[spelling], (1, 3, 2, 2))
    assert recognise_prelus(made.graph) == 1
    assert [one.op_type for one in made.graph.node] == ["PRelu"]
    x = np.float32([[4, -4, 8, -8]] * 3).reshape(1, 3, 2, 2)
    assert computed(made, x).reshape(3, 4).tolist() == [[4, -1, 8, -2], [4, 2, 8, 4], [4, 0, 8, 0]]


@pytest.mark.parametrize(
    "nodes",
    [
        # a sum that is twice a ReLU; a constant beside zero; a square; two sources; the identity
        [node("Relu", "x", "p"), node("Relu", "x", "q"), node("Add", "p q", "y")],
        [node("Relu", "x", "p"), node("Min", "x one", "q"), node("Add", "p q", "y")],
        [node("Relu", "x", "p"), node("Mul", "x x", "q"), node("Add", "p q", "y")],
        [node("Sigmoid", "x", "p"), node("Relu", "x", "q"), node("Add", "p q", "y")],
        [node("Mul", "x half", "p"), node("Mul", "x half", "q"), node("Add", "p q", "y")],
    ],
)
def test_what_is_no_prelu_stays(nodes: list[onnx.NodeProto]) -> None:
    made = model(nodes, (1, 3, 2, 2))
    before = made.SerializeToString(deterministic=True)
    assert recognise_prelus(made.graph) == 0
    assert made.SerializeToString(deterministic=True) == before


NORMS = {
    "keras": [
        node("Mul", "x x", "s"),
        node("ReduceSum", "s last", "t", keepdims=1),
        node("Max", "t tiny", "f"),
        node("Sqrt", "f", "l"),
        node("Reciprocal", "l", "r"),
        node("Mul", "x r", "y"),
    ],
    "torch, powers": [
        node("Pow", "x two", "s"),
        node("ReduceSum", "s last", "t", keepdims=1),
        node("Sqrt", "t", "l"),
        node("Div", "x l", "y"),
    ],
    "torch, functional": [
        node("ReduceL2", "x", "l", axes=[1], keepdims=1),
        node("Max", "l tiny", "f"),
        node("Expand", "f shape", "e"),
        node("Div", "x e", "y"),
    ],
    "square sum": [
        node("ReduceSumSquare", "x", "t", axes=[-1], keepdims=1),
        node("Add", "t tiny", "f"),
        node("Sqrt", "f", "l"),
        node("Div", "x l", "y"),
    ],
}


@pytest.mark.parametrize("spelling", NORMS)
def test_a_length_norm_is_found_in_every_spelling(spelling: str) -> None:
    made = model(NORMS[spelling], (2, 4))
    assert recognise_norms(made.graph) == 1
    assert [one.op_type for one in made.graph.node] == ["LpNormalization"]
    found = computed(made, np.float32([[3, 0, 4, 0], [1, 1, 1, 1]]))
    np.testing.assert_allclose(found, [[0.6, 0, 0.8, 0], [0.5, 0.5, 0.5, 0.5]], atol=1e-6)


LAYER_NORM = [
    node("ReduceMean", "x", "m", axes=[-1]),
    node("Sub", "x m", "d"),
    node("Pow", "d two", "s"),
    node("ReduceMean", "s", "v", axes=[-1]),
    node("Add", "v epsilon", "w"),
    node("Sqrt", "w", "r"),
    node("Div", "d r", "n"),
    node("Mul", "n scale", "g"),
    node("Add", "g shift", "y"),
]


def test_a_layer_norm_of_old_opsets_is_found_with_its_scale_shift_and_epsilon() -> None:
    made = model(LAYER_NORM, (2, 4))
    before = computed(made, x := np.float32([[1, 2, 3, 6], [0, 0, 0, 1e-2]]))
    assert recognise_norms(made.graph) == 1
    assert [one.op_type for one in made.graph.node] == ["LayerNormalization"]
    np.testing.assert_allclose(computed(made, x), before, atol=2e-6)


def test_a_layer_norm_along_the_channels_of_an_image_is_found() -> None:
    """As ConvNeXt's authors write it: x.mean(1), (x - u).pow(2).mean(1), weight[:, None, None] * x + bias."""
    nodes = [
        node("ReduceMean", "x", "m", axes=[1]),
        node("Sub", "x m", "d"),
        node("Mul", "d d", "s"),
        node("ReduceMean", "s", "v", axes=[1]),
        node("Add", "v epsilon", "w"),
        node("Sqrt", "w", "r"),
        node("Div", "d r", "n"),
        node("Mul", "image_scale n", "g"),
        node("Add", "g image_shift", "y"),
    ]
    made = model(nodes, (1, 4, 2, 3))
    before = computed(made, x := np.random.default_rng(0).standard_normal((1, 4, 2, 3)).astype(np.float32))
    assert recognise_norms(made.graph) == 1
    assert [one.op_type for one in made.graph.node] == ["Transpose", "LayerNormalization", "Transpose"]
    np.testing.assert_allclose(computed(made, x), before, atol=2e-6)


def test_a_mean_of_squares_is_no_length() -> None:
    nodes = [
        node("Mul", "x x", "s"),
        node("ReduceMean", "s", "t", axes=[-1]),
        node("Sqrt", "t", "l"),
        node("Div", "x l", "y"),
    ]
    assert recognise_norms(model(nodes, (2, 4)).graph) == 0
