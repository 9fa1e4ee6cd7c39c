"""A float .tflite file becomes an ONNX graph with its channels first: the same network, operator by operator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from ..graph.conversion_error import ConversionError
from .moves import folded
from .tables import DAMAGES
from .tflite_graph import TfliteGraph, TfliteOperator, TfliteTensor, read_tflite_graph
from .translation import Translated, Translation
from .translators import OPERATORS

OPSET, IR_VERSION = 20, 10  # 20: the oldest with Gelu


def tflite_to_onnx(path: Path) -> onnx.ModelProto:
    """Translates the network of a .tflite file; nothing in the file is run.

    Given   input (1, 112, 112, 3) -> CONV_2D (SAME, RELU6) -> RESHAPE (1, 6272) -> FULLY_CONNECTED
    Result  input (1, 3, 112, 112) -> Conv (pads) -> Clip -> Reshape (1, 6272) -> Gemm, its columns in the new order

    Args:
        path: The file. Its batch stays what it is.

    Returns:
        The graph; inputs and outputs have the file's names, images as inputs their channels first.

    Raises:
        ConversionError: The file is damaged, quantised, leaves shapes open, or has an operator that is not known; the
            sentence names it.
    """
    graph = read_tflite_graph(path)
    _refuse_rounded(graph, path.name)
    unknown = sorted({one.code for one in graph.operators} - set(OPERATORS) - {"SHAPE", "PACK", "DEQUANTIZE"})
    if unknown:
        raise ConversionError(
            f"{path.name} uses {', '.join(unknown)}, which cannot be read; give its ONNX file instead"
        )
    translation = Translation(graph, path.name)
    inputs = [_entry(translation, index) for index in graph.inputs]
    for operator in graph.operators:
        try:
            _translate(translation, operator)
        except ConversionError:
            raise
        except (*DAMAGES, ValueError) as error:
            raise translation.refuse(operator, "is damaged: it lacks what such an operator has") from error
    outputs = [_exit(translation, index) for index in graph.outputs]
    weights = [onnx.numpy_helper.from_array(values, name) for name, values in translation.weights.items()]
    body = onnx.helper.make_graph(translation.nodes, "embedder", inputs, outputs, weights)
    opset = onnx.helper.make_opsetid("", OPSET)
    return onnx.helper.make_model(body, opset_imports=[opset], ir_version=IR_VERSION)


def _translate(t: Translation, operator: TfliteOperator) -> None:
    if (values := folded(t, operator)) is not None:
        t.constants[operator.outputs[0]] = values
    elif operator.code in OPERATORS:
        OPERATORS[operator.code](t, operator)
    else:
        raise t.refuse(operator, "reads what is computed from the face; only constants are supported")


def _refuse_rounded(graph: TfliteGraph, file: str) -> None:
    rounded = [tensor for tensor in graph.tensors if tensor.rounded]
    if not rounded:
        return
    kinds = ", ".join(sorted({tensor.kind.lower() for tensor in rounded}))
    raise ConversionError(
        f"{file} is quantised ({len(rounded)} tensors of {kinds}): what rounding took from its weights cannot be given "
        "back; give the float file that it was made from, or measure it as it is with `pocketface benchmark`"
    )


def _entry(t: Translation, index: int) -> onnx.ValueInfoProto:
    """Declares an input of the network."""
    tensor = t.tensor(index)
    shape, first = tensor.shape, len(tensor.shape) == 4
    if not all(side > 0 for side in shape):
        raise ConversionError(f"{t.file} leaves the size of its input {tensor.name!r} open; write it for one size")
    name = t.free_name(tensor.name)
    t.values[index] = Translated(name, first=first)
    sides = [shape[axis] for axis in (0, 3, 1, 2)] if first else list(shape)
    return onnx.helper.make_tensor_value_info(name, _kind(t, tensor), sides)


def _exit(t: Translation, index: int) -> onnx.ValueInfoProto:
    """Declares an output; it has TFLite's order and its name."""
    tensor = t.tensor(index)
    if index not in t.values:
        raise ConversionError(f"{t.file} gives {tensor.name!r}, which does not depend on the face")
    name = t.plain_tensor(index, t.values[index])
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(tensor.shape))


def _kind(t: Translation, tensor: TfliteTensor) -> int:
    kinds = {"FLOAT32": np.float32, "UINT8": np.uint8, "INT8": np.int8, "INT32": np.int32}
    if tensor.kind not in kinds:
        raise ConversionError(f"{t.file} takes {tensor.kind.lower()}; an embedder takes float32 or pixels")
    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kinds[tensor.kind])))
