"""What the emitters share: the ONNX graph, channels first, and the TFLite graph, channels last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...models.graph.view import GraphView, attribute, clip_bounds
from ..artifact import ConversionError
from .flatbuffer import Writer

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

TO_LAST = (0, 2, 3, 1)  # NCHW -> NHWC
AXIS_TO_LAST = (0, 3, 1, 2)  # where each axis of NCHW goes

Order = tuple[int, ...]
"""Which axis of ONNX's tensor each axis of TFLite's is."""


def default_order(rank: int) -> Order:
    """Gives the default axis order: channels last for an image, ONNX's own for all else."""
    return TO_LAST if rank == 4 else tuple(range(rank))


FUSED = {(0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1", (0.0, np.inf): "RELU"}
"""Bounds that TFLite's operators can clip their own result to."""


@dataclass(frozen=True)
class Value:
    """A computed tensor, usually channels last where ONNX means NCHW and as it is otherwise."""

    tensor: int
    shape: tuple[int, ...]  # in TFLite's order
    flattened: tuple[int, int, int] | None = None  # (C, H, W): a row in HWC order where ONNX means CHW
    non_negative: bool = False
    turned: Order | None = None  # its axis order where that is not the default

    @property
    def order(self) -> Order:
        """Its axis order."""
        return default_order(len(self.shape)) if self.turned is None else self.turned


class Context:
    """Both graphs, and the TFLite value of each ONNX name."""

    def __init__(self, graph: GraphProto, file: str) -> None:
        """Takes a graph with all shapes known, and the file's name for the error sentences."""
        self.file = file
        self.writer = Writer()
        self.values: dict[str, Value] = {}
        self.fused: set[str] = set()  # results of nodes that went into another operator
        self.view = GraphView(graph)
        self.constants = self.view.constants
        self._turns: dict[tuple[int, Order], Value] = {}

    def refuse(self, node: NodeProto, why: str) -> ConversionError:
        """Gives the error that names operator, node and file."""
        return ConversionError(f"{self.file}: {node.op_type} {node.name or node.output[0]!r} {why}")

    def shape(self, name: str) -> tuple[int, ...]:
        """Gives the shape that ONNX knows for `name`: NCHW, or rows."""
        shape = self.view.shape(name)
        if shape is None or not all(shape):
            raise ConversionError(f"{self.file}: the shape of {name!r} is not known; export with a fixed input size")
        return shape

    def value(self, node: NodeProto, place: int = 0) -> Value:
        """Gives the computed tensor that is input `place` of `node`, in the default order."""
        value = self.lying(node, place)
        if value.turned is not None:
            self.values[node.input[place]] = value = self.turn(
                node.input[place], value, default_order(len(value.shape))
            )
        return value

    def turn(self, name: str, value: Value, order: Order) -> Value:
        """Gives `value` in `order`: by a TRANSPOSE, or a RESHAPE where only axes of length 1 move."""
        moves = tuple(value.order.index(axis) for axis in order)
        shape = [value.shape[place] for place in moves]
        if moves == tuple(range(len(moves))):
            return value
        if (value.tensor, order) not in self._turns:
            self._turns[value.tensor, order] = self._turned(f"{name}/turned", value, order, moves, shape)
        return self._turns[value.tensor, order]

    def _turned(self, step: str, value: Value, order: Order, moves: Order, shape: list[int]) -> Value:
        if sorted(long := [place for place in moves if value.shape[place] > 1]) == long:
            inputs = [value.tensor, self.writer.constant(f"{step}/shape", np.array(shape))]
            known: dict[str, Any] = dict(non_negative=value.non_negative, order=order)
            return self.emit(step, "RESHAPE", inputs, shape, newShape=shape, **known)
        inputs = [value.tensor, self.writer.constant(f"{step}/order", np.array(moves))]
        return self.emit(step, "TRANSPOSE", inputs, shape, non_negative=value.non_negative, order=order)

    def lying(self, node: NodeProto, place: int = 0) -> Value:
        """Gives the computed tensor that is input `place` of `node`, in whatever order."""
        name = node.input[place]
        if name not in self.values:
            raise self.refuse(
                node, f"reads {name!r}, which is no computed tensor; only computed ones are supported there"
            )
        return self.values[name]

    def part(self, node: NodeProto, place: int) -> Value:
        """Gives input `place` of `node` as `value` does, or a constant of all its sides in the default order."""
        values = self.constants.get(node.input[place])
        if values is None:
            return self.value(node, place)
        turned = values.transpose(default_order(values.ndim))
        tensor = self.writer.constant(f"{node.output[0]}/{place}", turned)
        return Value(tensor, turned.shape, non_negative=bool((values >= 0).all()))

    def constant(self, node: NodeProto, place: int) -> NDArray[Any] | None:
        """Gives input `place` of `node`, or None where it is left out.

        Raises:
            ConversionError: It is there and is computed.
        """
        if place >= len(node.input) or not node.input[place]:
            return None
        if node.input[place] not in self.constants:
            raise self.refuse(node, f"computes its input {node.input[place]!r}; only a constant is supported there")
        return np.asarray(self.constants[node.input[place]])

    def weights(self, node: NodeProto, place: int) -> NDArray[np.float64]:
        """Gives a constant that must be there, in double, to fold others into it."""
        constant = self.constant(node, place)
        if constant is None:
            raise self.refuse(node, f"lacks its input {place}")
        return constant.astype(np.float64)

    def operand(self, node: NodeProto, place: int, order: Order) -> int:
        """Gives the TFLite tensor for one side of an elementwise operator on tensors in `order`."""
        name = node.input[place]
        if name not in self.constants:
            return self.turn(name, self.lying(node, place), order).tensor
        values, rank = self.constants[name], len(order)
        if order != tuple(range(rank)):  # (C, 1, 1) broadcasts from the right in NCHW, so its ones matter
            values = values.reshape((1,) * (rank - values.ndim) + values.shape).transpose(order)
        elif (flattened := self._flattened(node)) and values.size > 1:
            values = reordered(values, flattened)
        while values.ndim > 1 and values.shape[0] == 1:
            values = values[0]
        return self.writer.constant(f"{node.output[0]}/{place}", values)

    def emit(
        self,
        output: str,
        code: str,
        inputs: Sequence[int],
        shape: Sequence[int] | None = None,
        *,
        like: Value | None = None,
        flattened: tuple[int, int, int] | None = None,
        non_negative: bool = False,
        order: Order | None = None,
        version: int = 1,
        kind: str = "FLOAT32",
        **options: Any,
    ) -> Value:
        """Appends an operator whose result is `output`.

        Its shape is ONNX's for that name, in `order` or the default order. A step without a name in ONNX is given
        TFLite's `shape`; an operator that maps each value by itself is `like` its input.
        """
        if like is not None:
            shape, flattened, order = like.shape, like.flattened, like.order
        if shape is None:
            shape = self.shape(output)
            shape = [shape[axis] for axis in order or default_order(len(shape))]
        turned = None if order is None or order == default_order(len(shape)) else order
        name = output if turned is None else f"{output}/as it lies"  # under its own name it would be misread
        if output in self.view.outputs:
            name = "embedding" if len(shape) == 2 else f"{output}/unflattened"
        tensor = self.writer.tensor(name, shape, kind)
        self.writer.operator(code, inputs, [tensor], version, **options)
        self.values[output] = Value(tensor, tuple(shape), flattened, non_negative, turned)
        return self.values[output]

    def fuse_affine(
        self, name: str, channels: int, axis: int = 1
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], str]:
        """Takes in the batch norms and constant sums and products that follow `name` one by one.

        Args:
            name: Of a tensor whose channels lie along `axis` in ONNX.
            channels: How many.
            axis: 1, or the last.

        Returns:
            (channels,) scale and (channels,) shift, and the name of the last node's result.
        """
        scale, shift = np.ones(channels), np.zeros(channels)
        while (node := self.view.sole_consumer(name)) is not None:
            affine = affine_of(self, node, name, channels, axis)
            if affine is None:
                break
            scale, shift = scale * affine[0], shift * affine[0] + affine[1]
            self.fused.add(node.output[0])
            name = node.output[0]
        return scale, shift, name

    def fuse_activation(self, name: str) -> tuple[str, str]:
        """Takes in the clip that follows `name`; gives the activation and the name of its result."""
        node = self.view.sole_consumer(name)
        activation = FUSED.get(bounds_of(self, node)) if node is not None and node.op_type in ("Relu", "Clip") else None
        if node is None or activation is None:
            return "NONE", name
        self.fused.add(node.output[0])
        return activation, node.output[0]

    def _flattened(self, node: NodeProto) -> tuple[int, int, int] | None:
        return next((self.values[name].flattened for name in node.input if name in self.values), None)


def bounds_of(context: Context, node: NodeProto) -> tuple[float, float]:
    """Gives what a Relu or Clip clips to; a bound that is left out is infinite."""
    return clip_bounds(node, context.constant(node, 1), context.constant(node, 2))


def affine_of(
    context: Context, node: NodeProto, name: str, channels: int, axis: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Gives scale and shift, (channels,) each, if `node` does nothing but that to each channel of `name`."""
    if node.op_type == "BatchNormalization" and axis == 1:
        gamma, beta, mean, variance = (context.weights(node, place) for place in (1, 2, 3, 4))
        scale = gamma / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
        return scale, beta - mean * scale
    if node.op_type not in ("Add", "Sub", "Mul", "Div") or node.input[0] == node.input[1]:
        return None
    first = node.input[0] == name
    other = context.constants.get(node.input[1 if first else 0])
    rank = len(context.shape(name))
    if other is None or other.ndim > rank:
        return None
    shape = (1,) * (rank - other.ndim) + other.shape
    if shape not in {(*(1,) * axis, channels, *(1,) * (rank - 1 - axis)), (1,) * rank}:
        return None
    constant = np.broadcast_to(other.reshape(-1).astype(np.float64), channels)
    if node.op_type == "Add":
        return np.ones(channels), constant
    if node.op_type == "Mul":
        return constant, np.zeros(channels)
    if node.op_type == "Sub":
        return (np.ones(channels), -constant) if first else (-np.ones(channels), constant)
    return (1 / constant, np.zeros(channels)) if first and constant.all() else None


def reordered(rows: NDArray[Any], flattened: tuple[int, int, int]) -> NDArray[Any]:
    """Gives (..., C*H*W) values in HWC order.

    >>> reordered(np.arange(4), (2, 1, 2)).tolist()
    [0, 2, 1, 3]
    """
    channels, height, width = flattened
    leading = rows.shape[:-1]
    moved = np.moveaxis(rows.reshape(*leading, channels, height, width), -3, -1)
    return moved.reshape(*leading, channels * height * width)
