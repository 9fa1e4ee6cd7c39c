"""One node of a graph that becomes PyTorch: its attributes, its constants, its weights and the shapes around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .conversion_error import ConversionError
from .view import Array, GraphView, attribute

if TYPE_CHECKING:
    from onnx import NodeProto

Compute = Callable[..., Any]
"""A layer or a function of tensors; a scalar constant is handed over as a Python number."""


@dataclass(frozen=True)
class Operation:
    """What computes a node's result."""

    compute: Compute  # a `torch.nn.Module` where it has weights, or where others look for its class
    inputs: tuple[int, ...] = (0,)  # the places of the node's inputs that it takes, in its order
    prepare: Compute | None = None  # of the first input, such as padding
    follower: NodeProto | None = None  # the node whose work it does too: its result is this operation's


@dataclass(frozen=True)
class ImportedNode:
    """A node and what its graph knows about it."""

    node: NodeProto
    view: GraphView
    shapes: Mapping[str, tuple[int, ...]]
    weights: Mapping[str, Array]  # by name; zeros of the right shape where only the graph is known
    opset: int

    @property
    def kind(self) -> str:
        """The operator."""
        return self.node.op_type

    @property
    def label(self) -> str:
        """The node's name, or that of its result."""
        return self.node.name or self.node.output[0]

    def refuse(self, reason: str) -> ConversionError:
        """Gives the error that says why the node cannot be trained; the file's name goes before it."""
        return ConversionError(
            f"cannot be trained, as {self.kind} {self.label!r} {reason}; it can be exported and measured as it is"
        )

    def attribute(self, name: str, default: Any = None) -> Any:
        """Gives an attribute as a Python value."""
        return attribute(self.node, name, default)

    def given(self) -> tuple[int, ...]:
        """Gives the places of the inputs that are there: an optional one may be left out."""
        return tuple(place for place, name in enumerate(self.node.input) if name)

    def has(self, place: int) -> bool:
        """Says whether there is such an input."""
        return place < len(self.node.input) and bool(self.node.input[place])

    def is_weight(self, place: int) -> bool:
        """Says whether an input is a weight, whose values are not part of the graph."""
        return self.has(place) and self.node.input[place] in self.weights

    def weight(self, place: int) -> Tensor:
        """Gives a weight or a constant as float32.

        Raises:
            ConversionError: It is computed.
        """
        name = self.node.input[place]
        values = self.weights.get(name, self.view.constant(name))
        if values is None:
            raise self.refuse("computes its weights")
        return torch.from_numpy(np.array(values, np.float32))

    def constant(self, place: int) -> Array | None:
        """Gives the value of a constant that is no weight; None where there is no such input.

        Raises:
            ConversionError: It is computed, or a weight.
        """
        if not self.has(place):
            return None
        value = self.view.constant(self.node.input[place])
        if value is None:
            raise self.refuse("computes what decides its shape")
        return value

    def integers(self, name: str, place: int | None = None) -> list[int] | None:
        """Gives a list that older opsets have as the attribute `name` and newer ones as an input."""
        value = self.attribute(name)
        if value is None and place is not None:
            value = self.constant(place)
        return None if value is None else [int(number) for number in np.asarray(value).reshape(-1)]

    def shape(self, place: int = 0) -> tuple[int, ...]:
        """Gives the shape of an input, for one face."""
        return self._shape(self.node.input[place])

    def result_shape(self, place: int = 0) -> tuple[int, ...]:
        """Gives the shape of a result, for one face."""
        return self._shape(self.node.output[place])

    def rank(self, place: int = 0) -> int:
        """Gives the number of sides of an input."""
        return len(self.shape(place))

    def axis(self, default: int, name: str = "axis") -> int:
        """Gives an axis of the first input, counted from the front."""
        return int(self.attribute(name, default)) % max(1, self.rank())

    def _shape(self, name: str) -> tuple[int, ...]:
        if name not in self.shapes:
            raise self.refuse(f"reads or gives {name!r}, whose shape is not known before it is run")
        return self.shapes[name]
