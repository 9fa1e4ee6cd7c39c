"""A view of an ONNX graph: who computes and who reads each value, its constants, and the edits that passes share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .conversion_error import ConversionError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

Array = NDArray[Any]


class GraphView:
    """A graph and its links, read once; edits change the graph in place.

    Constants that are added are known at once. The links and shapes of computed values stay those of the graph as it
    was read.
    """

    def __init__(self, graph: GraphProto) -> None:
        """Reads `graph`; shapes are those that it states."""
        import onnx

        self.graph = graph
        self.outputs = {output.name for output in graph.output}
        self.constants: dict[str, Array] = {
            tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer
        }
        """Initializers and the results of Constant nodes, by name."""
        self._added: set[str] = set()  # constants that edits brought
        self._producers: dict[str, NodeProto] = {}
        self._consumers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            if node.op_type == "Constant":
                self.constants[node.output[0]] = constant_value(node)
            for name in node.output:
                self._producers[name] = node
            for name in node.input:
                self._consumers.setdefault(name, []).append(node)
        values = (*graph.input, *graph.value_info, *graph.output)
        self._shapes = {value.name: sides(value) for value in values}

    def producer(self, name: str) -> NodeProto | None:
        """Gives the node that computes `name`; None for inputs and initializers."""
        return self._producers.get(name)

    def consumers(self, name: str) -> list[NodeProto]:
        """Gives the nodes that read `name`, one that reads it twice twice."""
        return self._consumers.get(name, [])

    def sole_consumer(self, name: str) -> NodeProto | None:
        """Gives the one node that reads `name`, unless `name` is an output of the graph."""
        consumers = self.consumers(name)
        return consumers[0] if len(consumers) == 1 and name not in self.outputs else None

    def constant(self, name: str) -> Array | None:
        """Gives the values of a constant, or None for a computed value."""
        return self.constants.get(name)

    def has_constant_weights(self, node: NodeProto) -> bool:
        """Says whether all inputs of `node` but the first are constants."""
        return all(name in self.constants for name in node.input[1:])

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Gives the shape that the graph states, 0 for a free side, or None where it does not list the value."""
        return self._shapes.get(name)

    def entries(self) -> list[ValueInfoProto]:
        """Gives the inputs that are no weights."""
        return [value for value in self.graph.input if value.name not in self.constants]

    def ports(self, file: str) -> tuple[ValueInfoProto, ValueInfoProto]:
        """Gives the one input that is no weight, and the one output.

        Raises:
            ConversionError: There are more, or none.
        """
        inputs, outputs = self.entries(), self.graph.output
        if len(inputs) != 1 or len(outputs) != 1:
            raise ConversionError(
                f"{file} has {len(inputs)} inputs and {len(outputs)} outputs; an embedder has one of each"
            )
        return inputs[0], outputs[0]

    def set_constant(self, name: str, values: Array) -> str:
        """Adds an initializer, or replaces the one of that name; gives the name.

        A name that something else has already, or that several nodes read, gets a number: one of the nodes would change
        what the others compute.
        """
        import onnx

        free, number = name, 1
        while self._is_of_others(free):
            number += 1
            free = f"{name}_{number}"
        tensor = onnx.numpy_helper.from_array(values, free)
        known = next((tensor for tensor in self.graph.initializer if tensor.name == free), None)
        if known is None:
            self.graph.initializer.append(tensor)
        else:
            known.CopyFrom(tensor)
        self.constants[free] = values
        self._added.add(free)
        return free

    def _is_of_others(self, name: str) -> bool:
        """Says whether `name` is taken by what was there before, and not by a constant that one node alone reads."""
        if name in self._added:
            return False
        if name in self.constants and name not in self._producers:
            return len(self.consumers(name)) > 1 or name in self.outputs
        return name in self._producers or name in self._shapes

    def scale_input(self, node: NodeProto, place: int, factors: Array, label: str) -> None:
        """Multiplies a constant input, under a name of its own: other nodes may share the old one.

        Given   Conv(x, W) -> y
        Result  Conv(x, y/label_1) -> y        with y/label_1 = W * factors
        """
        values = self.constants[node.input[place]] * factors
        node.input[place] = self.set_constant(f"{node.output[0]}/{label}_{place}", values)

    def take_out(self, node: NodeProto, place: int = 0) -> None:
        """Removes a node that hands on its input at `place`: whoever reads its result reads that input.

        Given   Conv -> x -> node -> y -> Relu
        Result  Conv -> y -> Relu                  the name of the result is kept where nobody else reads x
        """
        before, after = node.input[place], node.output[0]
        producer = self._producers.get(before)
        readers = self._consumers.pop(after, [])
        self._consumers[before] = [other for other in self.consumers(before) if other is not node]
        self.graph.node.remove(node)
        del self._producers[after]
        if producer is not None and not self._consumers[before] and before not in self.outputs:
            producer.output[list(producer.output).index(before)] = after
            del self._producers[before]
            self._producers[after], self._consumers[after] = producer, readers
            return
        for reader in readers:
            reader.input[:] = [before if name == after else name for name in reader.input]
        self._consumers[before] += readers

    def set_nodes(self, nodes: Iterable[NodeProto]) -> None:
        """Puts `nodes`, in that order, in the place of those that are there."""
        kept = list(nodes)
        del self.graph.node[:]
        self.graph.node.extend(kept)

    def drop_unneeded(self) -> None:
        """Removes the nodes that no output needs, and the initializers that only they read."""
        needed, kept = {output.name for output in self.graph.output}, list["NodeProto"]()
        for node in reversed(self.graph.node):
            if needed & set(node.output):
                needed.update(node.input)
                kept.append(node)
        self.set_nodes(reversed(kept))
        self.drop_unread()

    def drop_unread(self) -> None:
        """Removes the initializers that no node reads any more."""
        read = {name for node in self.graph.node for name in node.input}
        kept = [tensor for tensor in self.graph.initializer if tensor.name in read]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)


def copied(model: ModelProto) -> ModelProto:
    """Gives a copy of `model` for a pass to change."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def with_shapes(model: ModelProto, strict: bool = False) -> ModelProto:
    """Gives a copy that states every shape that follows from the inputs, those of group norms too, which onnx forgets.

    Raises:
        onnx.shape_inference.InferenceError: Shapes contradict each other; only where `strict`.
    """
    import onnx

    stand_ins = copied(model)
    for node in stand_ins.graph.node:
        if node.op_type == "GroupNormalization":
            node.CopyFrom(onnx.helper.make_node("Identity", node.input[:1], node.output))
    inferred = onnx.shape_inference.infer_shapes(stand_ins, strict_mode=strict, data_prop=True)
    GraphView(inferred.graph).set_nodes(model.graph.node)
    return inferred


def with_nodes_named(model: ModelProto) -> ModelProto:
    """Gives a copy whose nodes are named after their first results.

    onnxruntime's tools tell nodes apart by their names, which may be empty or shared.
    """
    copy = copied(model)
    for node in copy.graph.node:
        node.name = node.output[0]
    return copy


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """Gives a node's attribute as a Python value, text as str."""
    import onnx

    for one in node.attribute:
        if one.name == name:
            value = onnx.helper.get_attribute_value(one)
            return value.decode() if isinstance(value, bytes) else value
    return default


def constant_value(node: NodeProto) -> Array:
    """Gives the value of a Constant node, whichever of its attributes holds it."""
    import onnx

    (one,) = node.attribute
    value = onnx.helper.get_attribute_value(one)
    if isinstance(value, onnx.TensorProto):
        return np.asarray(onnx.numpy_helper.to_array(value))
    return np.array(value, np.float32 if one.name.startswith("value_float") else np.int64)


def clip_bounds(node: NodeProto, low: Array | None = None, high: Array | None = None) -> tuple[float, float]:
    """Gives what a Relu or a Clip with these inputs clips to; a bound that is left out is infinite."""
    if node.op_type == "Relu":
        return 0.0, np.inf
    return (
        float(attribute(node, "min", -np.inf) if low is None else low.item()),  # an attribute before opset 11
        float(attribute(node, "max", np.inf) if high is None else high.item()),
    )


def sides(value: ValueInfoProto) -> tuple[int, ...]:
    """Gives the sides that a value states, 0 for those that are free."""
    return tuple(side.dim_value for side in value.type.tensor_type.shape.dim)
