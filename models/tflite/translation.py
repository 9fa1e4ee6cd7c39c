"""What the translators of operators share: the TFLite graph, channels last, and the ONNX graph, channels first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from ..graph.conversion_error import ConversionError
from .tflite_graph import Array, TfliteGraph, TfliteOperator, TfliteTensor

TO_FIRST = (0, 3, 1, 2)  # NHWC -> NCHW
TO_LAST = (0, 2, 3, 1)
AXIS_TO_FIRST = (0, 2, 3, 1)  # where each axis of NHWC goes


@dataclass(frozen=True)
class Translated:
    """What ONNX computes of one TFLite tensor, and how it lies there."""

    name: str
    first: bool = False  # an image with its channels first
    image: tuple[int, int, int] | None = None  # (H, W, C): a row in the order CHW, where TFLite means HWC


class Translation:
    """Both graphs, and the ONNX value of each computed tensor of TFLite.

    An image lies channels first, and so does a row that was one: what reads it takes its own weights in that order.
    Only what needs TFLite's order gets it by a Transpose.
    """

    def __init__(self, graph: TfliteGraph, file: str) -> None:
        """Takes the graph, and the file's name for sentences."""
        self.graph, self.file = graph, file
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, Array] = {}
        self.values: dict[int, Translated] = {}
        self.constants: dict[int, Array] = {
            index: tensor.values for index, tensor in enumerate(graph.tensors) if tensor.values is not None
        }
        self._turned: dict[tuple[int, bool], str] = {}
        self._taken: set[str] = set()

    def refuse(self, operator: TfliteOperator, why: str) -> ConversionError:
        """Gives the error that names operator and file."""
        name = self.tensor(operator.outputs[0]).name if operator.outputs else ""
        return ConversionError(f"{self.file}: {operator.code} {name!r} {why}")

    def tensor(self, index: int) -> TfliteTensor:
        """Gives a tensor of the file."""
        return self.graph.tensors[index]

    def shape(self, operator: TfliteOperator, place: int = 0) -> tuple[int, ...]:
        """Gives the shape of input `place`, in TFLite's order."""
        return self.tensor(operator.inputs[place]).shape

    def result_shape(self, operator: TfliteOperator) -> tuple[int, ...]:
        """Gives the shape of the first result, in TFLite's order."""
        return self.tensor(operator.outputs[0]).shape

    def constant(self, operator: TfliteOperator, place: int) -> Array:
        """Gives an input that must be known.

        Raises:
            ConversionError: It is computed.
        """
        index = operator.inputs[place]
        if index not in self.constants:
            raise self.refuse(
                operator, f"computes its input {self.tensor(index).name!r}; only constants are read there"
            )
        return self.constants[index]

    def optional(self, operator: TfliteOperator, place: int) -> Array | None:
        """Gives a constant input, or None where it is left out."""
        left_out = place >= len(operator.inputs) or operator.inputs[place] < 0
        return None if left_out else self.constant(operator, place)

    def value(self, operator: TfliteOperator, place: int = 0) -> Translated:
        """Gives a computed input as it lies; a constant becomes a weight."""
        index = operator.inputs[place]
        if index in self.values:
            return self.values[index]
        if index in self.constants:
            return Translated(self.weight(self.tensor(index).name, _float32(self.constants[index])))
        raise self.refuse(operator, f"reads {self.tensor(index).name!r}, which nothing computes before it")

    def image(self, operator: TfliteOperator, place: int = 0) -> str:
        """Gives the name of an input of four axes with its channels first."""
        value, shape = self.value(operator, place), self.shape(operator, place)
        if len(shape) != 4:
            raise self.refuse(operator, f"reads a tensor of {len(shape)} axes; an image has four")
        return value.name if value.first else self._turn(operator.inputs[place], value, shape, True)

    def plain(self, operator: TfliteOperator, place: int = 0) -> str:
        """Gives the name of an input in TFLite's own order."""
        return self.plain_tensor(operator.inputs[place], self.value(operator, place))

    def plain_tensor(self, index: int, value: Translated) -> str:
        """Gives the name of a computed tensor in TFLite's own order."""
        if not (value.first or value.image):
            return value.name
        return self._turn(index, value, self.tensor(index).shape, False)

    def _turn(self, index: int, value: Translated, shape: tuple[int, ...], first: bool) -> str:
        if (index, first) in self._turned:
            return self._turned[index, first]
        label = f"{value.name}/{'channels_first' if first else 'channels_last'}"
        name = value.name
        if value.image is not None:
            height, width, channels = value.image
            name = self.node("Reshape", [name, self.sides((shape[0], channels, height, width))], f"{label}/image")
            name = self.node("Transpose", [name], f"{label}/turned", perm=TO_LAST)
            name = self.node("Reshape", [name, self.sides(shape)], label)
        else:
            order = TO_FIRST if first else TO_LAST
            sides = shape if not first else tuple(shape[axis] for axis in TO_FIRST)
            if shape[1] == shape[2] == 1:  # nothing moves
                name = self.node("Reshape", [name, self.sides(sides)], label)
            else:
                name = self.node("Transpose", [name], label, perm=order)
        self._turned[index, first] = name
        return name

    def free_name(self, label: str) -> str:
        """Gives a name like `label` that no value has."""
        label = label or "value"
        name, number = label, 1
        while name in self._taken:
            number += 1
            name = f"{label}_{number}"
        self._taken.add(name)
        return name

    def weight(self, label: str, values: Array) -> str:
        """Adds a constant; gives its name."""
        name = self.free_name(label)
        self.weights[name] = np.array(values, order="C")
        return name

    def sides(self, shape: Sequence[int]) -> str:
        """Adds the shape that a Reshape takes."""
        return self.weight("sides", np.array(shape, np.int64))

    def numbers(self, values: Sequence[int]) -> str:
        """Adds whole numbers: axes, sizes, paddings."""
        return self.weight("numbers", np.array(values, np.int64))

    def node(self, kind: str, inputs: Sequence[str], label: str, **attributes: Any) -> str:
        """Appends a node with one result; gives the result's name."""
        name = self.free_name(label)
        self.nodes.append(onnx.helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def give(
        self,
        operator: TfliteOperator,
        kind: str,
        inputs: Sequence[str],
        like: Translated | None = None,
        **attributes: Any,
    ) -> None:
        """Appends the node of the operator's result, and the activation that is fused into it.

        Args:
            operator: What is translated.
            kind: ONNX's name.
            inputs: Names of values.
            like: Lies as the result does; None: in TFLite's order.
            attributes: Of the node.
        """
        label = self.tensor(operator.outputs[0]).name
        activation = getattr(operator.options, "fusedActivationFunction", 0) or 0
        if activation not in FUSED:
            raise self.refuse(operator, f"ends in activation {activation} of the schema; ReLUs are supported")
        fused = FUSED[activation]
        name = self.node(kind, inputs, label if fused is None else f"{label}/linear", **attributes)
        if fused is not None:
            name = self.clip(name, label, *fused)
        self.put(operator, name, like)

    def put(self, operator: TfliteOperator, name: str, like: Translated | None = None, place: int = 0) -> None:
        """Says which value is a result of the operator."""
        like = like or Translated("")
        self.values[operator.outputs[place]] = Translated(name, like.first, like.image)

    def clip(self, name: str, label: str, low: float, high: float) -> str:
        """Appends Relu or Clip."""
        if high == np.inf:
            return self.node("Relu", [name], label)
        bounds = [self.weight("bound", np.array(bound, np.float32)) for bound in (low, high)]
        return self.node("Clip", [name, *bounds], label)


FUSED: dict[int, tuple[float, float] | None] = {0: None, 1: (0, np.inf), 2: (-1, 1), 3: (0, 6)}
"""What an operator's result is clipped to, by the schema's number of the activation; others no embedder has."""

FIRST = Translated("", first=True)
"""Lies as an image with its channels first."""


def _float32(values: Array) -> Array:
    return values.astype(np.float32) if values.dtype.kind == "f" else values
