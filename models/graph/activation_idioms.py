"""Activations that a file spells out in simple operators, found by what these compute of numbers."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .idioms import HOMOGENEOUS, SMOOTH, Function, Numbers, cones, replace_nodes, run_cone
from .view import GraphView, attribute

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

ENDS = ("Add", "Clip", "Div", "Log", "Mul", "Reciprocal", "Sum")  # the last operators of spellings
PROBES = np.concatenate([np.linspace(-8, 8, 65), [-3.01, -2.99, 2.99, 3.01, 30.0, -30.0]])


@dataclass(frozen=True)
class Activation:
    """An operator of ONNX that maps each number by itself."""

    kind: str
    function: Any  # of numbers
    attributes: dict[str, Any] = field(default_factory=dict)


_erf = np.vectorize(math.erf, otypes=[np.float64])


def _sigmoid(x: Numbers) -> Numbers:
    return np.asarray(1 / (1 + np.exp(-x)))


def _softplus(x: Numbers) -> Numbers:
    return np.asarray(np.logaddexp(0, x))


def _by_tanh(x: Numbers) -> Numbers:
    return np.asarray(x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2)


ACTIVATIONS = (
    Activation("Gelu", lambda x: x * (1 + _erf(x / math.sqrt(2))) / 2),
    Activation("Gelu", _by_tanh, {"approximate": "tanh"}),
    Activation("HardSwish", lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    Activation("HardSigmoid", lambda x: np.clip(x / 6 + 0.5, 0, 1), {"alpha": 1 / 6, "beta": 0.5}),
    Activation("HardSigmoid", lambda x: np.clip(x / 5 + 0.5, 0, 1), {"alpha": 0.2, "beta": 0.5}),
    Activation("Swish", lambda x: x * _sigmoid(x)),
    Activation("Mish", lambda x: x * np.tanh(_softplus(x))),
    Activation("Softplus", _softplus),
    Activation("Sigmoid", _sigmoid),
)
"""What is looked for; the first that gives the same numbers is taken."""

POINTWISE: dict[str, Function] = {
    **{kind: function for kind, function in SMOOTH.items() if not kind.startswith("Reduce") and kind != "Expand"},
    "Erf": lambda node, x: _erf(x),
    "Exp": lambda node, x: np.exp(x),
    "HardSigmoid": lambda node, x: np.clip(attribute(node, "alpha", 0.2) * x + attribute(node, "beta", 0.5), 0, 1),
    "Identity": lambda node, x: x,
    "Log": lambda node, x: np.log(x),
    "Min": HOMOGENEOUS["Min"],
    "Neg": HOMOGENEOUS["Neg"],
    "Relu": HOMOGENEOUS["Relu"],
    "Sigmoid": lambda node, x: _sigmoid(x),
    "Softplus": lambda node, x: _softplus(x),
    "Sum": HOMOGENEOUS["Sum"],
    "Tanh": lambda node, x: np.tanh(x),
}
"""Operators of cones that map each number by itself."""


def recognise_activations(graph: GraphProto, kinds: Collection[str]) -> int:
    """Writes activations that are spelt out as the one operator that gives the same numbers; gives how many.

    For converters alone: the graph need not be one that its opset allows.

    Given   x / sqrt 2 -> Erf -> + 1 -> * x -> * 0.5       in whatever order, or with Mul 0.7071
    Result  Gelu(x)

    Args:
        graph: Changed in place.
        kinds: The operators that may be written.
    """
    import onnx

    view = GraphView(graph)
    order = {id(node): place for place, node in enumerate(graph.node)}
    wanted = [one for one in ACTIVATIONS if one.kind in kinds]
    found: dict[str, list[NodeProto]] = {}
    for end in graph.node:
        if end.op_type not in ENDS:
            continue
        for source, nodes in cones(view, end, POINTWISE, order):
            activation = _computed_by(view, source, nodes, wanted)
            if activation is not None:
                name = end.output[0]
                node = onnx.helper.make_node(activation.kind, [source], [name], name, **activation.attributes)
                found[name] = [node]
                break
    return replace_nodes(view, found)


def _computed_by(view: GraphView, source: str, nodes: list[NodeProto], wanted: list[Activation]) -> Activation | None:
    shape = view.shape(source)
    if shape is None or shape != view.shape(nodes[-1].output[0]) or not _has_single_numbers(view, nodes):
        return None
    probes = PROBES.reshape(-1, *[1] * (max(1, len(shape)) - 1))
    result = run_cone(view, source, probes, nodes, POINTWISE)
    if result is None or result.shape != probes.shape:
        return None
    for one in wanted:
        if np.allclose(result, one.function(probes), rtol=1e-5, atol=1e-5):
            return one
    return None


def _has_single_numbers(view: GraphView, nodes: list[NodeProto]) -> bool:
    constants = (view.constant(name) for node in nodes for name in node.input if name)
    return all(values is None or values.size <= 1 for values in constants)
