"""Writes operators that a format lacks as others that it has, in the ONNX graph that its writer reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...models.graph.view import GraphView, attribute, copied, with_shapes

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

MOST_ROUNDS = 4  # what an operator is composed of may be composed itself


WIDE = "wide"
"""What is in the names of steps whose numbers differ too much in size for 8 bits: squares, powers, exponentials."""

OF_WIDE_STEPS = (
    "Erf", "GlobalLpPool", "GroupNormalization", "InstanceNormalization", "LRN", "LayerNormalization", "LogSoftmax",
    "LpNormalization", "LpPool", "RMSNormalization", "ReduceLogSumExp",
)  # fmt: skip


class Composition:
    """One node, and the steps that are to take its place."""

    def __init__(self, node: NodeProto, view: GraphView, opset: int) -> None:
        """Takes the node, its graph with all shapes known, and the graph's opset."""
        self.node, self.view, self.opset = node, view, opset
        self.steps: list[NodeProto] = []

    def attribute(self, name: str, default: Any = None) -> Any:
        """Gives an attribute of the node."""
        return attribute(self.node, name, default)

    def shape(self, place: int = 0) -> tuple[int, ...]:
        """Gives the shape of one of the node's inputs; () where it is not known."""
        name = self.node.input[place]
        constant = self.view.constant(name)
        return self.view.shape(name) or () if constant is None else constant.shape

    def constant(self, values: Any) -> str:
        """Adds a constant: a number, a list, or an array; gives its name."""
        array = np.asarray(values)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        label = f"{self.node.output[0]}/constant{len(self.view.constants)}"
        return self.view.set_constant(label, np.asarray(array))

    def step(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Appends an operator; gives the name of its result."""
        inside = f"{WIDE}/" if self.node.op_type in OF_WIDE_STEPS else ""
        return self._append(kind, inputs, f"{self.node.output[0]}/{inside}{kind.lower()}{len(self.steps)}", attributes)

    def last(self, kind: str, *inputs: str, **attributes: Any) -> None:
        """Appends the operator that gives the node's own result."""
        self._append(kind, inputs, self.node.output[0], attributes)

    def reduce(self, kind: str, x: str, axes: list[int], keep: bool = True) -> str:
        """Appends a reduction over `axes`, written as the opset has it."""
        since = 13 if kind == "ReduceSum" else 18
        if self.opset >= since:
            return self.step(kind, x, self.constant(np.array(axes, np.int64)), keepdims=int(keep))
        return self.step(kind, x, axes=axes, keepdims=int(keep))

    def reshape(self, x: str, sides: tuple[int, ...], last: bool = False) -> str:
        """Appends a Reshape to `sides`."""
        shape = self.constant(np.array(sides, np.int64))
        if last:
            self.last("Reshape", x, shape)
            return str(self.node.output[0])
        return self.step("Reshape", x, shape)

    def _append(self, kind: str, inputs: tuple[str, ...], output: str, attributes: dict[str, Any]) -> str:
        import onnx

        self.steps.append(onnx.helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output


Compose = Callable[[Composition], None]
"""Appends the steps that give what the node gives; none where it cannot, and the node stays."""


def compose_lacking(
    model: ModelProto, lacks: Callable[[NodeProto, GraphView], bool], table: Mapping[str, Compose]
) -> ModelProto:
    """Writes each node that a format lacks as the table says, and those that later opsets gave another meaning.

    Given   Celu(x), alpha 2 -> y
    Result  Mul(x, 0.5) -> Elu -> Mul 2 -> y

    Args:
        model: With all shapes known; nodes may be newer than its opset.
        lacks: Says of a node of a graph whether the format cannot express it as it is.
        table: By operator.

    Returns:
        The graph with the shapes of the new values; what is lacking without an entry stays, for the writer to refuse.
    """
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    for _ in range(MOST_ROUNDS):
        result, changed = copied(model), False
        view = GraphView(result.graph)
        nodes: list[NodeProto] = []
        for node in result.graph.node:
            one = Composition(node, view, opset)
            if node.op_type in table and (lacks(node, view) or _is_of_many_sides(one)):
                table[node.op_type](one)
            changed = changed or bool(one.steps)
            nodes += one.steps or [node]
        if not changed:
            return model
        view.set_nodes(nodes)
        view.drop_unread()
        model = with_shapes(result)
    return model


def _is_of_many_sides(one: Composition) -> bool:
    """The node is a softmax before opset 13, which goes over all sides from its axis on."""
    sides = one.shape() if one.node.op_type in ("Softmax", "LogSoftmax") else ()
    return one.opset < 13 and bool(sides) and int(one.attribute("axis", 1)) % len(sides) != len(sides) - 1
