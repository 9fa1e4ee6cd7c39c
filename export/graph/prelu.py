"""PReLU decomposition: into operators that every runtime has fast kernels for, in int8 too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...models.graph.view import GraphView, copied
from ..artifact import ConversionError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


def decompose_prelu(model: ModelProto) -> tuple[ModelProto, int]:
    """Writes each PReLU (x above zero, a x below) as a depthwise 1x1 convolution with a ReLU, and a sum.

    Given:   conv W, b -> PReLU a -> conv V
    Result:  conv W, b -> x;  x + relu(depthwise (a - 1) x) -> conv V       where a <= 1

    In channels with a > 1 that sum is -PReLU(-x), so W, b and V change their sign there. Where no convolutions
    surround the PReLU, or other nodes read the tensors between them, the sign is a factor of its own:

    Given:   x -> PReLU a
    Result:  x + s relu(-|a - 1| x)       with s = 1 where a <= 1, -1 where a > 1

    Rows, which have no depthwise convolution, are multiplied by a constant instead. Right for every slope (trained
    networks have negative ones, and some greater than 1), and exact but for the rounding of float32. A PReLU with one
    slope for all channels stays: it is a leaky ReLU, which has kernels of its own.

    TFLite gets a network of nothing but int8 kernels by it; onnxruntime, whose PRelu is slow, takes half the time on
    x86 and 6 % fewer instructions on ARM64 (1.31, a MobileFaceNet; as relu(x) - a relu(-x): two thirds, and 1 % more).

    Args:
        model: Changed in a copy.

    Returns:
        The network, and how many PReLUs were replaced.

    Raises:
        ConversionError: A PReLU's slopes are computed, or differ from pixel to pixel.
    """
    result = copied(model)
    view = GraphView(result.graph)
    replaced: dict[str, list[NodeProto]] = {}  # by the PReLU's result
    for node, slopes in _prelus(view):
        x, y = node.input[0], node.output[0]
        signs = np.where(slopes > 1, -1, 1).astype(np.float32)
        if _flip(view, node, signs):
            factors, signs = slopes - 1, np.ones_like(signs)
        else:
            factors = -np.abs(slopes - 1)
        rows = view.constants[node.input[1]].ndim < 3
        steps = [_scaled(view, x, factors, f"{y}/below", rows), _node("Relu", [f"{y}/below"], f"{y}/relu")]
        if (signs < 0).any():
            steps.append(_scaled(view, f"{y}/relu", signs, f"{y}/signed", rows))
        replaced[y] = [*steps, _node("Add", [x, steps[-1].output[0]], y)]
    view.set_nodes(step for node in result.graph.node for step in replaced.get(node.output[0], [node]))
    view.drop_unread()
    return result, len(replaced)


def _prelus(view: GraphView) -> Iterator[tuple[NodeProto, NDArray[np.float32]]]:
    """Gives the PReLUs with a slope per channel, and their (C,) slopes."""
    for node in [node for node in view.graph.node if node.op_type == "PRelu"]:
        values = view.constant(node.input[1])
        if values is None:
            raise ConversionError(f"PRelu {node.output[0]!r} computes its slopes; only constant ones are supported")
        if values.size == 1:
            continue
        if values.size != values.shape[-3 if values.ndim > 2 else -1]:
            raise ConversionError(
                f"PRelu {node.output[0]!r} has slopes of shape {values.shape}; only one per channel is supported"
            )
        yield node, np.asarray(values.reshape(-1), np.float32)


def _flip(view: GraphView, prelu: NodeProto, signs: NDArray[np.float32]) -> bool:
    """Multiplies the channels of what computes and what reads the PReLU by +-1, if all of these are convolutions."""
    producer, readers = view.producer(prelu.input[0]), view.consumers(prelu.output[0])
    if producer is None or view.sole_consumer(prelu.input[0]) is None or not readers or prelu.output[0] in view.outputs:
        return False
    if not all(node.op_type == "Conv" and view.has_constant_weights(node) for node in (producer, *readers)):
        return False
    if (signs > 0).all():
        return True
    view.scale_input(producer, 1, signs[:, None, None, None], "flipped")
    if len(producer.input) > 2:
        view.scale_input(producer, 2, signs, "flipped")
    for reader in readers:
        filters, channels, *_ = view.constants[reader.input[1]].shape
        groups = len(signs) // channels
        factors = signs.reshape(groups, channels).repeat(filters // groups, 0)[:, :, None, None]
        view.scale_input(reader, 1, factors, "flipped")
    return True


def _scaled(view: GraphView, name: str, factors: NDArray[np.float32], output: str, rows: bool) -> NodeProto:
    """Gives the node that multiplies each channel of `name`: of rows (N, C), or of an image."""
    if rows:
        return _node("Mul", [name, view.set_constant(f"{output}/factors", factors)], output)
    weights = view.set_constant(f"{output}/weights", factors[:, None, None, None])
    return _node("Conv", [name, weights], output, group=len(factors), kernel_shape=[1, 1])


def _node(operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> NodeProto:
    """Gives a node named after its result."""
    import onnx

    return onnx.helper.make_node(operator, inputs, [output], name=output, **attributes)
