"""Layers that are spelt out: found by what the operators compute, in any spelling; what is none stays."""

import numpy as np
import onnx
import pytest

from pocketface.models.graph.idioms import recognise_prelus

from .spelt_out import computed, graph_of, node

SLOPES = np.float32([0.25, -0.5, 0.0]).reshape(3, 1, 1)
CONSTANTS = {
    "a": SLOPES,
    "minus_a": -SLOPES,
    "half_a": SLOPES / 2,
    "half": np.float32(0.5),
    "two": np.float32(2),
    "zero": np.float32(0),
    "one": np.float32(1),
}


def model(nodes: list[onnx.NodeProto], shape: tuple[int, ...]) -> onnx.ModelProto:
    return graph_of(nodes, shape, CONSTANTS)


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
