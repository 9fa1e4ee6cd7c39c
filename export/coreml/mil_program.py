"""An ONNX graph in Core ML's language (MIL): walks the graph and says each node by the table of lowerings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..artifact import ConversionError
from .mil_lowering import OPERATORS
from .mil_node import LEAST, Array, Node

if TYPE_CHECKING:
    import onnx

Ranges = Mapping[str, tuple[float, float]]
"""The least and the largest number that each value of an ONNX graph takes, by its name; 0 lies between."""

MULTIPLYING = ("Conv", "Gemm", "MatMul")  # by constant weights: where numbers of 8 bits pay


def mil_program(
    graph: onnx.GraphProto,
    shape: tuple[int, ...],
    output: tuple[int, ...],
    names: tuple[str, str],
    opset: Any,
    ranges: Ranges | None = None,
) -> Any:
    """Gives the MIL program of an ONNX graph with one input and one output.

    Args:
        graph: Simplified, for one face.
        shape: (1, 3, H, W), of the input.
        output: (1, D), of the output; a graph that ends in (1, D, 1, 1) is given that shape.
        names: What input and output are called in the program.
        opset: coremltools' deployment target.
        ranges: Of values that become 8 bits before they are multiplied by weights (from iOS 17 on); the others,
            and all where it is left out, stay float.

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
    quantised: dict[str, Any] = {}
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
            if ranges and node.kind in MULTIPLYING and isinstance(given[1], np.ndarray) and proto.input[0] in ranges:
                name = proto.input[0]
                if name not in quantised:
                    quantised[name] = _in_eight_bits(mb, given[0], *ranges[name])
                given[0] = quantised[name]
            try:
                made = OPERATORS[node.kind](mb, node, *given)
                values.update(zip(proto.output, made if isinstance(made, tuple | list) else [made], strict=False))
                if proto.output[0] != graph.output[0].name:  # which the reshape below is called
                    _name(made, proto.output[0])
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


def onnx_name(name: str) -> str:
    """Gives the name of an ONNX value as MIL spells it: letters, digits and underscores, no digit first.

    >>> onnx_name("/stem/Conv_output_0"), onnx_name("683")
    ('_stem_Conv_output_0', '_683')
    """
    spelt = re.sub(r"\W", "_", name, flags=re.ASCII)
    return f"_{spelt}" if spelt[:1].isdigit() else spelt


def _name(made: Any, name: str) -> None:
    """Calls a result as ONNX does, so that a trace finds it in the package."""
    if getattr(made, "op", None) is not None:  # no constant, no list
        made.name = made.op.name = onnx_name(name)


def _in_eight_bits(mb: Any, x: Any, low: float, high: float) -> Any:
    """Given x; result dequantize(quantize(x)), which Core ML fuses with what reads it.

    What is never negative is said as uint8 from 0 on, all else as int8 with a zero point.
    """
    scale = np.float32(max((high - low) / 255, float(LEAST)))
    least, dtype = (0, "uint8") if low == 0 else (-128, "int8")
    zero = np.array(np.clip(np.rint(least - low / float(scale)), least, least + 255), dtype)[()]
    integers = mb.quantize(input=x, scale=scale, zero_point=zero, output_dtype=dtype)
    return mb.dequantize(input=integers, scale=scale, zero_point=zero)


def _node(proto: onnx.NodeProto) -> Node:
    from onnx import helper

    attributes = {one.name: helper.get_attribute_value(one) for one in proto.attribute}
    texts = {name: value.decode() for name, value in attributes.items() if isinstance(value, bytes)}
    return Node(
        proto.op_type, proto.name or (proto.output[0] if proto.output else ""), attributes | texts, len(proto.output)
    )


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
    if array.dtype.kind in "iu" and array.dtype.itemsize > 4:
        # exporters write "to the end" as the largest int64
        return np.asarray(np.clip(array, -(2**31), 2**31 - 1), np.int32)
    return array


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
