"""Converts an ONNX graph to a MIL program (Core ML's language), node by node, by the table of lowerings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...models.graph.view import Array, GraphView
from ...spelling import first_line
from ..artifact import ConversionError
from .mil_lowering import OPERATORS
from .mil_node import LEAST, refuse

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

    view = GraphView(graph)
    entry, end = view.ports("the graph")
    values: dict[str, Any] = {name: _constant(array) for name, array in view.constants.items()}
    quantised: dict[str, Any] = {}
    program = Program()
    face = Placeholder(sym_shape=shape, dtype=types.fp32, name=names[0])
    with Function({names[0]: face}, opset_version=opset) as function:
        values[entry.name] = function.inputs[names[0]]
        for node in graph.node:
            kind, output_name = node.op_type, node.output[0]
            if kind == "Constant":
                continue
            if kind not in OPERATORS or node.domain not in ("", "ai.onnx"):
                raise ConversionError(
                    f"Core ML has no lowering for ONNX operator {kind} ({node.name or output_name!r})"
                )
            given = [values[name] if name else None for name in node.input]
            if ranges and kind in MULTIPLYING and isinstance(given[1], np.ndarray) and node.input[0] in ranges:
                name = node.input[0]
                if name not in quantised:
                    quantised[name] = _in_eight_bits(mb, given[0], *ranges[name])
                given[0] = quantised[name]
            try:
                result = OPERATORS[kind](mb, node, *given)
                values.update(zip(node.output, result if isinstance(result, tuple | list) else [result], strict=False))
                if output_name != end.name:  # which the reshape below is called
                    _name(result, output_name)
            except (ValueError, TypeError, AttributeError, KeyError, IndexError, AssertionError) as error:
                if isinstance(error, ConversionError):
                    raise
                raise refuse(node, first_line(error)) from error  # an error of coremltools' type inference
        last = values[end.name]
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


def _name(result: Any, name: str) -> None:
    """Names a result as ONNX does, so that a trace finds it in the package."""
    if getattr(result, "op", None) is not None:  # no constant, no list
        result.name = result.op.name = onnx_name(name)


def _in_eight_bits(mb: Any, x: Any, low: float, high: float) -> Any:
    """Given x; result dequantize(quantize(x)), which Core ML fuses with what reads it.

    A value that is never negative becomes uint8 from 0 on, any other int8 with a zero point.
    """
    scale = np.float32(max((high - low) / 255, float(LEAST)))
    least, dtype = (0, "uint8") if low == 0 else (-128, "int8")
    zero = np.array(np.clip(np.rint(least - low / float(scale)), least, least + 255), dtype)[()]
    integers = mb.quantize(input=x, scale=scale, zero_point=zero, output_dtype=dtype)
    return mb.dequantize(input=integers, scale=scale, zero_point=zero)


def _constant(array: Array) -> Array:
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    if array.dtype.kind in "iu" and array.dtype.itemsize > 4:
        # exporters write "to the end" as the largest int64
        return np.asarray(np.clip(array, -(2**31), 2**31 - 1), np.int32)
    return array
