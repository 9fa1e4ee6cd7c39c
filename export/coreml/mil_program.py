"""An ONNX graph in Core ML's language (MIL): walks the graph and says each node by the table of lowerings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..artifact import ConversionError
from .mil_lowering import OPERATORS, Array, Node

if TYPE_CHECKING:
    import onnx


def mil_program(
    graph: onnx.GraphProto,
    shape: tuple[int, ...],
    output: tuple[int, ...],
    names: tuple[str, str],
    opset: Any,
) -> Any:
    """Gives the MIL program of an ONNX graph with one input and one output.

    Args:
        graph: Simplified, for one face.
        shape: (1, 3, H, W), of the input.
        output: (1, D), of the output; a graph that ends in (1, D, 1, 1) is given that shape.
        names: What input and output are called in the program.
        opset: coremltools' deployment target.

    Raises:
        ConversionError: An operator has no lowering, or none for its attributes; the output has another size.
    """
    from coremltools.converters.mil import Builder as mb
    from coremltools.converters.mil.mil import Function, Placeholder, Program, types
    from onnx import numpy_helper

    values: dict[str, Any] = {
        constant.name: _constant(numpy_helper.to_array(constant)) for constant in graph.initializer
    }
    inputs = [value.name for value in graph.input if value.name not in values]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise ConversionError(
            f"the graph has {len(inputs)} inputs and {len(graph.output)} outputs; an embedder has one of each"
        )
    program = Program()
    face = Placeholder(sym_shape=shape, dtype=types.fp32, name=names[0])
    with Function({names[0]: face}, opset_version=opset) as function:
        values[inputs[0]] = function.inputs[names[0]]
        for proto in graph.node:
            node = _node(proto)
            if node.kind == "Constant":
                values[proto.output[0]] = _constant(_value(node))
                continue
            if node.kind not in OPERATORS or proto.domain not in ("", "ai.onnx"):
                raise ConversionError(f"Core ML has no lowering for ONNX operator {node.kind} ({node.name!r})")
            given = [values[name] if name else None for name in proto.input]
            try:
                values[proto.output[0]] = OPERATORS[node.kind](mb, node, *given)
            except (ValueError, TypeError, AttributeError, KeyError, IndexError, AssertionError) as error:
                if isinstance(error, ConversionError):
                    raise
                raise node.refuse(_first_line(error)) from error  # what coremltools' type inference says
        last = values[graph.output[0].name]
        if int(np.prod(last.shape)) != int(np.prod(output)):
            raise ConversionError(f"the graph gives {tuple(last.shape)}; the card says {output}")
        function.set_outputs([mb.reshape(x=last, shape=output, name=names[1])])
    program.add_function("main", function)
    return program


def _node(proto: onnx.NodeProto) -> Node:
    from onnx import helper

    attributes = {one.name: helper.get_attribute_value(one) for one in proto.attribute}
    texts = {name: value.decode() for name, value in attributes.items() if isinstance(value, bytes)}
    return Node(proto.op_type, proto.name or (proto.output[0] if proto.output else ""), attributes | texts)


def _value(node: Node) -> Array:
    """Gives what a Constant node holds."""
    from onnx import numpy_helper

    if "value" in node.attributes:
        return numpy_helper.to_array(node.get("value"))
    return np.array(next(iter(node.attributes.values())))


def _constant(array: Array) -> Array:
    """Gives an array as MIL takes it: float32, or int32."""
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    return array.astype(np.int32) if array.dtype.kind in "iu" and array.dtype.itemsize > 4 else array


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
