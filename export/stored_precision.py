"""In what precision a file that does not say so stores its weights and computes, told from its tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .artifact import Precision

FLOATS: Mapping[str, Precision] = {"float32": "fp32", "float64": "fp32", "float16": "fp16", "bfloat16": "fp16"}
BITS: Mapping[str, int] = {"int8": 8, "uint8": 8, "int4": 4, "uint4": 4, "int2": 2, "uint6": 6}
LAYERS = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL"}  # of TFLite
EXPANDS = {"DEQUANTIZE", "DequantizeLinear", "Cast"}  # stored weights to floats
WEIGHTS_OF = {
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "MatMul", "ConvInteger", "MatMulInteger"), 1),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul"), 3),
}
"""ONNX operators that multiply by weights, and which input holds these."""

DYNAMIC = "made integers at once"  # floats that a layer of integers takes: "dynamic range"

Layer = tuple[str, str, int]
"""The types of a layer's weights as they are stored, and of what it multiplies by them; how many weights."""


def told(layers: Iterable[Layer]) -> Precision:
    """Gives the precision of most weights; activations count as integers where half of the weights meet such.

    >>> told([("int8", "int8", 900), ("float32", "float32", 100)])
    'w8a8'
    """
    stored, met = Counter[str](), Counter[str]()
    for weights, activations, count in layers:
        stored[weights] += count
        met[activations] += count
    if not stored:
        return "unknown"
    kind = stored.most_common(1)[0][0]
    if kind in FLOATS:
        return FLOATS[kind]
    met_by = met.most_common(1)[0][0]
    names: Mapping[tuple[int, str], Precision] = {
        (8, "int8"): "w8a8",
        (8, "uint8"): "w8a8",
        (8, "int16"): "w8a16",
        (8, "float"): "w8",
        (8, DYNAMIC): "w8-dynamic",
        (6, "float"): "w6",
        (4, "float"): "w4",
    }
    return names.get((BITS.get(kind, 0), "float" if met_by in FLOATS else met_by), "unknown")


def tflite_precision(path: Path) -> Precision:
    """Tells that of a .tflite file by its convolutions and matrix products.

    Weights that are expanded to floats when they are read count as they are stored; integers that meet float
    activations are "dynamic range".
    """
    from .tflite.structure import read_lite_graph

    graph = read_lite_graph(path)
    expanded = {
        outputs[0]: inputs[0] for code, inputs, outputs in graph.operators if code in EXPANDS and inputs and outputs
    }
    layers: list[Layer] = []
    for code, inputs, _ in graph.operators:
        # a transposed convolution has its input third
        met, weights = (2, 1) if code == "TRANSPOSE_CONV" else (0, 1)
        if code not in LAYERS or len(inputs) <= max(met, weights):
            continue
        held = graph.tensors[expanded.get(inputs[weights], inputs[weights])]
        if held.stored:
            count = int(np.prod([side or 1 for side in held.port.shape], dtype=object))
            activations = graph.tensors[inputs[met]].port.dtype
            if activations in FLOATS and held.port.dtype in BITS and inputs[weights] not in expanded:
                activations = DYNAMIC
            layers.append((held.port.dtype, activations, count))
    return told(layers)


def onnx_precision(path: Path) -> Precision:
    """Tells that of an .onnx file by its convolutions and matrix products, with QDQ or integer operators."""
    import onnx

    from ..models.graph.reading import read_onnx

    graph = read_onnx(path).graph
    kinds = {number: name.lower() for name, number in onnx.TensorProto.DataType.items()}
    makers = {name: node for node in graph.node for name in node.output}
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            tensors[node.output[0]] = node.attribute[0].t
    layers: list[Layer] = []
    for node in graph.node:
        place = WEIGHTS_OF.get(node.op_type)
        name = "" if place is None or place >= len(node.input) else node.input[place]
        while name not in tensors and name in makers and makers[name].op_type in (*EXPANDS, "Transpose"):
            name = makers[name].input[0]
        if name in tensors:
            kind = spelt(kinds[tensors[name].data_type])
            layers.append((kind, _met(node, kind, makers), int(np.prod(tensors[name].dims, dtype=object))))
    return told(layers)


def spelt(kind: str) -> str:
    """Gives NumPy's name of a type that ONNX calls `kind`."""
    return {"float": "float32", "double": "float64"}.get(kind, kind)


def _met(node: Any, stored: str, producers: Mapping[str, Any]) -> str:
    """Gives the type of what an ONNX layer multiplies by its weights."""
    kind, inputs = node.op_type, node.input
    if kind in ("QLinearConv", "QLinearMatMul"):
        return stored
    maker = producers.get(inputs[0])
    if kind in ("ConvInteger", "MatMulInteger"):  # integers made of floats at once: "dynamic range"
        return DYNAMIC if maker is not None and maker.op_type == "DynamicQuantizeLinear" else stored
    return stored if maker is not None and maker.op_type == "DequantizeLinear" else "float32"


def coreml_precision(path: Path) -> Precision:
    """Tells that of an .mlpackage by how its program stores weights, and whether it rounds activations."""
    from .coreml.package import DATA_TYPES, import_protobuf, read_package

    layers: list[Layer] = []
    package, proto = read_package(path), import_protobuf()
    rounds = any(operation.type == "quantize" for operation in package.program.operations)

    def kind_of(value: Any) -> tuple[str, int]:
        tensor = value.type.tensorType
        name = proto.MIL_pb2.DataType.Name(tensor.dataType)
        bits = DATA_TYPES.get(name, ("", 0))
        count = int(np.prod([int(one.constant.size) for one in tensor.dimensions], dtype=object))
        return (bits[0] if bits[1] >= 8 else f"uint{bits[1]}"), count

    for operation in package.program.operations:
        values = {**operation.attributes}
        values |= {key: one.arguments[0].value for key, one in operation.inputs.items() if one.arguments}
        if operation.type == "const" and operation.outputs[0].type.tensorType.rank >= 2:
            kind, count = kind_of(operation.attributes["val"])
            if kind in FLOATS:
                layers.append((kind, "float32", count))
        for key in ("quantized_data", "data", "indices"):
            if operation.type.startswith("constexpr_") and key in values:
                layers.append(_compressed(operation, values, kind_of(values[key]), rounds))
                break
    return told(layers)


def _compressed(operation: Any, values: Mapping[str, Any], held: tuple[str, int], rounds: bool) -> Layer:
    """Describes weights that a constexpr operator expands; packed indices have the bits of their palette."""
    kind, count = held
    lut = values.get("lut")
    if lut is not None:
        sides = [int(one.constant.size) for one in lut.type.tensorType.dimensions]
        entries = sides[0] if len(sides) == 1 else sides[-2]
        kind = f"uint{max(entries - 1, 1).bit_length()}"
    dimensions = operation.outputs[0].type.tensorType.dimensions
    count = int(np.prod([int(one.constant.size) for one in dimensions], dtype=object)) or count
    return kind, "int8" if rounds else "float32", count


def ort_precision(path: Path) -> Precision:
    """Tells that of an .ort file by its initializers, and whether operators compute on integers."""
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.InferenceSession import InferenceSession
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.TensorDataType import TensorDataType

    kinds = {number: name.lower() for name, number in vars(TensorDataType).items() if isinstance(number, int)}
    graph = InferenceSession.GetRootAs(path.read_bytes(), 0).Model().Graph()
    operators = {(graph.Nodes(i).OpType() or b"").decode("utf-8", "replace") for i in range(graph.NodesLength())}
    integers = bool(operators & {"QLinearConv", "QLinearMatMul", "QGemm"})
    layers: list[Layer] = []
    for tensor in map(graph.Initializers, range(graph.InitializersLength())):
        kind = spelt(kinds[tensor.DataType()])
        if tensor.DimsLength() >= 2 and kind in (*FLOATS, *BITS):
            count = int(np.prod([tensor.Dims(i) for i in range(tensor.DimsLength())], dtype=object))
            layers.append((kind, "int8" if integers and kind in BITS else "float32", count))
    return told(layers)
