"""Activations that are spelt out: found by what they compute; what computes something else stays."""

import numpy as np
import onnx
import pytest

from pocketface.models.graph.activation_idioms import ACTIVATIONS, recognise_activations

from .spelt_out import computed, graph_of, node

KINDS = {one.kind for one in ACTIVATIONS}
CONSTANTS = {
    "root": np.float32(2**0.5),
    "inverse_root": np.float32([0.5**0.5]),
    "half": np.float32(0.5),
    "one": np.float32(1),
    "three": np.float32([[[3]]]),
    "six": np.float32(6),
    "sixth": np.float32(1 / 6),
    "zero": np.float32(0),
    "cubic": np.float32(0.044715),
    "slope": np.float32((2 / np.pi) ** 0.5),
    "quick": np.float32(1.702),
    "channels": np.float32([[[1]], [[2]], [[3]]]),
}


def model(nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    return graph_of(nodes, (1, 3, 4, 5), CONSTANTS, opset=20)


SPELLINGS = {
    "Gelu, PyTorch": [
        node("Div", "x root", "d"),
        node("Erf", "d", "e"),
        node("Add", "e one", "a"),
        node("Mul", "x a", "m"),
        node("Mul", "m half", "y"),
    ],
    "Gelu, TensorFlow": [
        node("Mul", "half x", "h"),
        node("Mul", "x inverse_root", "d"),
        node("Erf", "d", "e"),
        node("Add", "one e", "a"),
        node("Mul", "h a", "y"),
    ],
    "Gelu by a tanh": [
        node("Mul", "x x", "s"),
        node("Mul", "s x", "c"),
        node("Mul", "c cubic", "k"),
        node("Add", "x k", "i"),
        node("Mul", "i slope", "j"),
        node("Tanh", "j", "t"),
        node("Add", "t one", "a"),
        node("Mul", "x half", "h"),
        node("Mul", "h a", "y"),
    ],
    "HardSwish of MobileNetV3": [
        node("Add", "x three", "a"),
        node("Clip", "a zero six", "c"),
        node("Mul", "x c", "m"),
        node("Div", "m six", "y"),
    ],
    "HardSwish of MXNet": [
        node("Add", "x three", "a"),
        node("Clip", "a zero six", "c"),
        node("Mul", "c sixth", "s"),
        node("Mul", "s x", "y"),
    ],
    "HardSwish by HardSigmoid": [node("HardSigmoid", "x", "s", alpha=1 / 6), node("Mul", "x s", "y")],
    "HardSigmoid": [node("Add", "x three", "a"), node("Clip", "a zero six", "c"), node("Div", "c six", "y")],
    "Swish": [node("Sigmoid", "x", "s"), node("Mul", "s x", "y")],
    "Swish by Exp": [
        node("Neg", "x", "n"),
        node("Exp", "n", "e"),
        node("Add", "e one", "a"),
        node("Div", "x a", "y"),
    ],
    "Mish": [node("Softplus", "x", "s"), node("Tanh", "s", "t"), node("Mul", "x t", "y")],
    "Softplus": [node("Exp", "x", "e"), node("Add", "e one", "a"), node("Log", "a", "y")],
    "Sigmoid": [node("Neg", "x", "n"), node("Exp", "n", "e"), node("Add", "e one", "a"), node("Reciprocal", "a", "y")],
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_activation_is_found_in_every_spelling(spelling: str) -> None:
    made = model(SPELLINGS[spelling])
    x = np.linspace(-6, 6, 60, dtype=np.float32).reshape(1, 3, 4, 5)
    before = computed(made, x)
    assert recognise_activations(made.graph, KINDS) == 1 + (spelling == "HardSwish of MXNet")
    assert [one.op_type for one in made.graph.node] == [spelling.split()[0].strip(",")]
    if "Swish" not in spelling or "Hard" in spelling:  # which ONNX has from opset 24 on
        np.testing.assert_allclose(computed(made, x), before, atol=2e-6)


@pytest.mark.parametrize(
    "nodes",
    [
        # sqrt 2 / x; x squared; another factor; a factor for each channel
        [
            node("Div", "root x", "d"),
            node("Erf", "d", "e"),
            node("Add", "e one", "a"),
            node("Mul", "x a", "m"),
            node("Mul", "m half", "y"),
        ],
        [
            node("Div", "x root", "d"),
            node("Mul", "x d", "q"),
            node("Erf", "q", "e"),
            node("Add", "e one", "a"),
            node("Mul", "half a", "y"),
        ],
        [node("Mul", "x quick", "q"), node("Sigmoid", "q", "s"), node("Mul", "s x", "y")],
        [node("Mul", "x channels", "q"), node("Sigmoid", "q", "s"), node("Mul", "s x", "y")],
    ],
)
def test_what_computes_something_else_stays(nodes: list[onnx.NodeProto]) -> None:
    made = model(nodes)
    before = made.SerializeToString(deterministic=True)
    assert recognise_activations(made.graph, KINDS) == 0
    assert made.SerializeToString(deterministic=True) == before


def test_only_what_a_format_has_is_written() -> None:
    made = model(SPELLINGS["Swish"])
    assert recognise_activations(made.graph, {"Gelu"}) == 0
