"""Writes PReLU as operators that every runtime has fast kernels for, int8 ones too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..artifact import ConversionError

if TYPE_CHECKING:
    import onnx


def as_skip(model: onnx.ModelProto) -> tuple[onnx.ModelProto, int]:
    """Writes each PReLU (x above zero, a x below) as a depthwise 1x1 convolution with a ReLU, and a sum.

    Given:   conv W, b -> PReLU a -> conv V
    Result:  conv W, b -> x;  x + relu(depthwise (a - 1) x) -> conv V       where a <= 1

    In channels with a > 1 that sum is -PReLU(-x), so W, b and V change their sign there. Where no convolutions
    lie around the PReLU, or others read what lies between, the sign is a factor of its own:

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
        The network, and how many PReLUs it was.

    Raises:
        ConversionError: A PReLU's slopes are computed, or differ from pixel to pixel.
    """
    network = _Network(model)
    for node in network.prelus():
        x, y = node.input[0], node.output[0]
        slopes = network.slopes(node)
        signs = np.where(slopes > 1, -1, 1).astype(np.float32)
        if network.flip(node, signs):
            factors, signs = slopes - 1, np.ones_like(signs)
        else:
            factors = -np.abs(slopes - 1)
        steps = [network.scaled(x, factors, f"{y}/below", node), network.node("Relu", [f"{y}/below"], f"{y}/relu")]
        if (signs < 0).any():
            steps.append(network.scaled(f"{y}/relu", signs, f"{y}/signed", node))
        network.replace(node, [*steps, network.node("Add", [x, steps[-1].output[0]], y)])
    return network.finish()


class _Network:
    """A copy of a model whose PReLUs are being replaced."""

    def __init__(self, model: onnx.ModelProto) -> None:
        import onnx

        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self.constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in self.model.graph.initializer}
        self._replaced: dict[str, Sequence[Any]] = {}  # by the PReLU's result
        self._makers = {name: node for node in self.model.graph.node for name in node.output}
        self._readers: dict[str, list[Any]] = {output.name: [None] for output in self.model.graph.output}
        for node in self.model.graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def prelus(self) -> list[Any]:
        """Gives the PReLUs with a slope per channel."""
        found = [node for node in self.model.graph.node if node.op_type == "PRelu"]
        for node in found:
            if node.input[1] not in self.constants:
                raise ConversionError(f"PRelu {node.output[0]!r} computes its slopes; only constant ones are supported")
        return [node for node in found if self.constants[node.input[1]].size > 1]

    def slopes(self, node: Any) -> NDArray[np.float32]:
        """Gives (C,) slopes."""
        values = self.constants[node.input[1]]
        if values.size != values.shape[-3 if values.ndim > 2 else -1]:
            raise ConversionError(
                f"PRelu {node.output[0]!r} has slopes of shape {values.shape}; only one per channel is supported"
            )
        return np.asarray(values.reshape(-1), np.float32)

    def flip(self, prelu: Any, signs: NDArray[np.float32]) -> bool:
        """Multiplies the channels of what makes and what reads the PReLU by +-1, if convolutions do and no others."""
        maker, readers = self._makers.get(prelu.input[0]), self._readers.get(prelu.output[0], [])
        if maker is None or len(self._readers[prelu.input[0]]) != 1 or not readers:
            return False
        if not all(self._is_plain(node) for node in (maker, *readers)):
            return False
        if (signs > 0).all():
            return True
        self._multiply(maker, 1, signs[:, None, None, None])
        if len(maker.input) > 2:
            self._multiply(maker, 2, signs)
        for reader in readers:
            filters, channels, *_ = self.constants[reader.input[1]].shape
            groups = len(signs) // channels
            self._multiply(reader, 1, signs.reshape(groups, channels).repeat(filters // groups, 0)[:, :, None, None])
        return True

    def scaled(self, name: str, factors: NDArray[np.float32], output: str, prelu: Any) -> Any:
        """Gives the node that multiplies each channel of `name`, which is what `prelu` reads or of its shape."""
        if self.constants[prelu.input[1]].ndim < 3:
            return self.node("Mul", [name, self.constant(f"{output}/factors", factors)], output)
        weights = self.constant(f"{output}/weights", factors[:, None, None, None])
        return self.node("Conv", [name, weights], output, group=len(factors), kernel_shape=[1, 1])

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Adds a constant; gives its name."""
        self.constants[name] = np.ascontiguousarray(values, np.float32)
        return name

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> Any:
        """Gives a node named after its result."""
        import onnx

        return onnx.helper.make_node(operator, inputs, [output], name=output, **attributes)

    def replace(self, node: Any, steps: Sequence[Any]) -> None:
        """Has `finish` put `steps` in the place of `node`."""
        self._replaced[node.output[0]] = steps

    def finish(self) -> tuple[onnx.ModelProto, int]:
        """Gives the network, and how many nodes were replaced."""
        import onnx

        graph = self.model.graph
        nodes = [step for node in graph.node for step in self._replaced.get(node.output[0], [node])]
        used = {name for node in nodes for name in node.input}
        # Those that were there keep their place and their bytes.
        tensors = [tensor for tensor in graph.initializer if tensor.name in used]
        known = {tensor.name for tensor in tensors}
        added = [name for name in self.constants if name in used - known]
        tensors += [onnx.numpy_helper.from_array(self.constants[name], name) for name in added]
        for field, values in ((graph.node, nodes), (graph.initializer, tensors)):
            values = [type(value).FromString(value.SerializeToString()) for value in values]
            del field[:]
            field.extend(values)
        return self.model, len(self._replaced)

    def _is_plain(self, node: Any) -> bool:
        """A convolution with known weights."""
        return node is not None and node.op_type == "Conv" and set(node.input[1:]) <= set(self.constants)

    def _multiply(self, node: Any, place: int, factors: NDArray[np.float32]) -> None:
        values = self.constants[node.input[place]] * factors
        node.input[place] = self.constant(f"{node.output[0]}/flipped_{place}", values)  # others may share the old one
