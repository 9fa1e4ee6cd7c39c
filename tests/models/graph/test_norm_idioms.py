"""Norms that are spelt out: found by what the operators compute, in any spelling; what is none stays."""

import numpy as np
import onnx
import pytest

from pocketface.models.graph.norm_idioms import recognise_norms
from pocketface.models.graph.view import attribute

from .spelt_out import computed, graph_of, node

CONSTANTS = {
    "one": np.float32(1),
    "two": np.float32(2),
    "tiny": np.float32(1e-12),
    "last": np.int64([-1]),
    "scale": np.float32([1, 2, 3, 4]),
    "shift": np.float32([4, 3, 2, 1]),
    "epsilon": np.float32(1e-3),
    "shape": np.int64([2, 4]),
    "image_scale": np.float32([1, 2, 3, 4]).reshape(4, 1, 1),
    "half": np.float32(-0.5),
    "three": np.float32(3),
    "million": np.float32(1e6),
    "root_of_size": np.float32([[2]]),
    "image_shift": np.float32([4, 3, 2, 1]).reshape(1, 4, 1, 1),
}


def model(nodes: list[onnx.NodeProto], shape: tuple[int, ...]) -> onnx.ModelProto:
    return graph_of(nodes, shape, CONSTANTS)


NORMS = {
    "keras": [
        node("Mul", "x x", "s"),
        node("ReduceSum", "s last", "t", keepdims=1),
        node("Max", "t tiny", "f"),
        node("Sqrt", "f", "l"),
        node("Reciprocal", "l", "r"),
        node("Mul", "x r", "y"),
    ],
    "keras 3": [
        node("Mul", "x x", "s"),
        node("ReduceSum", "s last", "t", keepdims=1),
        node("Sqrt", "t", "l"),
        node("Reciprocal", "l", "r"),
        node("Min", "r million", "f"),
        node("Mul", "x f", "y"),
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


SQUARES = [node("Pow", "x two", "s"), node("ReduceMean", "s", "v", axes=[-1]), node("Add", "v epsilon", "w")]
RMS_NORMS = {
    "torch, opset 18": [
        *SQUARES,
        node("Sqrt", "w", "q"),
        node("Reciprocal", "q", "r"),
        node("Mul", "x r", "n"),
        node("Mul", "n scale", "y"),
    ],
    "torch, opset 17": [
        *SQUARES,
        node("Sqrt", "w", "q"),
        node("Div", "one q", "r"),
        node("Mul", "x r", "n"),
        node("Mul", "scale n", "y"),
    ],
    "divided": [*SQUARES, node("Sqrt", "w", "q"), node("Div", "x q", "n"), node("Mul", "n scale", "y")],
    "by a power": [*SQUARES, node("Pow", "w half", "r"), node("Mul", "x r", "n"), node("Mul", "n scale", "y")],
    "scaled first": [*SQUARES, node("Sqrt", "w", "q"), node("Mul", "x scale", "n"), node("Div", "n q", "y")],
    "scaled in between": [
        *SQUARES,
        node("Sqrt", "w", "q"),
        node("Reciprocal", "q", "r"),
        node("Mul", "r scale", "n"),
        node("Mul", "x n", "y"),
    ],
}


@pytest.mark.parametrize("spelling", RMS_NORMS)
def test_a_norm_by_the_mean_square_is_found_in_every_spelling(spelling: str) -> None:
    made = model(RMS_NORMS[spelling], (2, 4))
    x = np.float32([[1, 2, 3, -6], [0, 0, 0, 1e-2]])
    assert recognise_norms(made.graph) == 1
    (found,) = made.graph.node
    assert found.op_type == "RMSNormalization"
    np.testing.assert_allclose(attribute(found, "epsilon"), 1e-3, rtol=1e-5)
    made.opset_import[0].version, made.ir_version = 23, 11
    # row 1: mean square 50 / 4 + 0.001 = 12.501; row 2: 0.01 / sqrt(0.000025 + 0.001) * 4
    wanted = np.float32([[1, 4, 9, -24], [0, 0, 0, 0]]) / 12.501**0.5 + np.float32([[0] * 4, [0, 0, 0, 1.24939]])
    np.testing.assert_allclose(computed(made, x), wanted, atol=2e-6)


def test_a_length_norm_with_a_scale_per_channel_is_one_too() -> None:
    """RMSNorm of several papers' code: F.normalize(x, dim=-1) * dim ** 0.5 * gamma."""
    nodes = [
        node("ReduceL2", "x", "l", axes=[1], keepdims=1),
        node("Max", "l tiny", "f"),
        node("Div", "x f", "d"),
        node("Mul", "d root_of_size", "n"),
        node("Mul", "n scale", "y"),
    ]
    made = model(nodes, (2, 4))
    before = computed(made, x := np.float32([[1, 2, 3, 6], [0, 0, 0, 1e-2]]))
    assert recognise_norms(made.graph) == 1
    assert [one.op_type for one in made.graph.node] == ["RMSNormalization"]
    made.opset_import[0].version, made.ir_version = 23, 11
    np.testing.assert_allclose(computed(made, x), before, atol=2e-6)


def test_a_norm_by_the_mean_square_of_an_image_lies_between_transposes() -> None:
    nodes = [
        node("Mul", "x x", "s"),
        node("ReduceMean", "s", "v", axes=[1]),
        node("Add", "v epsilon", "w"),
        node("Sqrt", "w", "r"),
        node("Div", "x r", "n"),
        node("Mul", "n image_scale", "y"),
    ]
    made = model(nodes, (1, 4, 2, 3))
    before = computed(made, x := np.random.default_rng(0).standard_normal((1, 4, 2, 3)).astype(np.float32))
    assert recognise_norms(made.graph) == 1
    assert [one.op_type for one in made.graph.node] == ["Transpose", "RMSNormalization", "Transpose"]
    made.opset_import[0].version, made.ir_version = 23, 11
    np.testing.assert_allclose(computed(made, x), before, atol=2e-6)


def test_a_scaled_length_stays_a_length() -> None:
    """x / |x| * 3, as some heads have it with 64."""
    nodes = [node("ReduceL2", "x", "l", axes=[1], keepdims=1), node("Div", "x l", "d"), node("Mul", "d three", "y")]
    made = model(nodes, (2, 4))
    assert recognise_norms(made.graph) == 1
    assert [one.op_type for one in made.graph.node] == ["LpNormalization", "Mul"]


@pytest.mark.parametrize(
    "nodes",
    [
        # a mean of sizes; a sum that is added; a root of a root
        [node("Abs", "x", "s"), node("ReduceMean", "s", "t", axes=[-1]), node("Div", "x t", "y")],
        [*SQUARES, node("Sqrt", "w", "q"), node("Add", "q one", "r"), node("Div", "x r", "y")],
        [*SQUARES, node("Sqrt", "w", "q"), node("Sqrt", "q", "r"), node("Div", "x r", "y")],
    ],
)
def test_what_is_no_norm_stays(nodes: list[onnx.NodeProto]) -> None:
    assert recognise_norms(model(nodes, (2, 4)).graph) == 0
