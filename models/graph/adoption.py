"""Adopts a foreign ONNX file: one face in, one embedding out, float32 throughout, and our names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...faces.contract import InputContract
from .conversion_error import ConversionError
from .reading import first_line, read_onnx, tensors
from .rewrite import Rewrite
from .size_limits import check_sizes
from .view import GraphView, attribute, constant_value

if TYPE_CHECKING:
    import onnx

INPUT, OUTPUT = "input", "embedding"
USUAL_OPSET, USUAL_IR = 18, 10
WIDE = ("FLOAT16", "BFLOAT16", "DOUBLE")  # what becomes FLOAT


@dataclass(frozen=True)
class Foreign:
    """A foreign network: input (1, 3, H, W), output (1, D), nothing folded or left out yet."""

    model: onnx.ModelProto
    rewrites: tuple[Rewrite, ...]  # made so that it fits
    rounds: bool  # the file itself rounds every layer to half precision, which `model` does not


def foreign_graph(path: Path, contract: InputContract) -> Foreign:
    """Reads the network of a file, with its layers as they are.

    Raises:
        ConversionError: The file is damaged or hostile, or is no embedder of `contract`.
    """
    import onnx

    model = read_onnx(path)
    remove_initializers_from_inputs(model)
    face, embedding = GraphView(model.graph).ports(path.name)
    _check_face(face.type.tensor_type, contract, path.name)
    fix_batch(model, face)
    lift_constants_to_initializers(model)
    eliminate_dropout_and_identity(model)
    rounds = computes_in_half(model)
    rewrites = (*align_prelu_slopes(model), *upcast_to_float32(model))
    rename_values(model, {face.name: INPUT, embedding.name: OUTPUT})
    lower_opset(model)
    check_sizes(model, path.name)
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        raise ConversionError(f"{path.name} is damaged or no ONNX file: {first_line(error)}") from error
    return Foreign(model, rewrites, rounds)


def _check_face(face: onnx.TypeProto.Tensor, contract: InputContract, name: str) -> None:
    """Compares the input with the contract; a batch that is free will be 1."""
    import onnx

    kind = onnx.TensorProto.DataType.Name(face.elem_type)
    shown = "x".join(
        str(side.dim_value) if side.HasField("dim_value") else side.dim_param or "?" for side in face.shape.dim
    )
    wanted = (1, 3, contract.height, contract.width)
    sides = tuple(side.dim_value if side.HasField("dim_value") else None for side in face.shape.dim)
    if kind not in ("FLOAT", *WIDE):
        raise ConversionError(
            f"{name} takes {shown} of type {kind}; export the network without its preprocessing, from float32"
        )
    if sides[1:] == (contract.height, contract.width, 3):
        raise ConversionError(
            f"{name} takes {shown}, channels last; the contract says {'x'.join(map(str, wanted))}: "
            "export it channels first (tf2onnx: --inputs-as-nchw)"
        )
    if len(sides) == 4 and (sides[0] or 1) > 1:
        raise ConversionError(f"{name} takes {sides[0]} faces at once; export it with a batch of 1, or a free one")
    if len(sides) != 4 or not all(side in (None, want) for side, want in zip(sides, wanted, strict=True)):
        raise ConversionError(
            f"{name} takes {shown}; the contract says {'x'.join(map(str, wanted))}; give its own size with --size"
        )
    for side, want in zip(face.shape.dim, wanted, strict=True):
        side.dim_value = want


def remove_initializers_from_inputs(model: onnx.ModelProto) -> None:
    """Removes weights from the inputs of the graph, where files before IR version 4 list them too.

    Given   input: face, conv.weight    initializer: conv.weight
    Result  input: face                 initializer: conv.weight
    """
    inputs = GraphView(model.graph).entries()
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, 4)


def lift_constants_to_initializers(model: onnx.ModelProto) -> None:
    """Turns Constant nodes into initializers.

    Given   Constant -> w    Conv(x, w)
    Result  initializer w    Conv(x, w)
    """
    import onnx

    for node in model.graph.node:
        if node.op_type == "Constant":
            model.graph.initializer.append(onnx.numpy_helper.from_array(constant_value(node), node.output[0]))
    GraphView(model.graph).set_nodes(node for node in model.graph.node if node.op_type != "Constant")


def eliminate_dropout_and_identity(model: onnx.ModelProto) -> None:
    """Removes Dropout and Identity, which do nothing at inference.

    Given   Dropout(x) -> y, Gemm(y)
    Result  Gemm(x)
    """
    names: dict[str, str] = {}
    kept = []
    outputs = {output.name for output in model.graph.output}
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        if node.op_type in ("Dropout", "Identity") and node.output[0] not in outputs and len(node.output) == 1:
            names[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    GraphView(model.graph).set_nodes(kept)


def align_prelu_slopes(model: onnx.ModelProto) -> tuple[Rewrite, ...]:
    """Aligns PReLU slopes with the channels, where they broadcast along the width but only channels can be meant.

    ONNX aligns shapes from the right, so (C,) is along the width; some exporters write it for the channels.

    Given   PRelu(x: (N, 64, 56, 56), slope: (64,))
    Result  PRelu(x: (N, 64, 56, 56), slope: (64, 1, 1))

    Returns:
        What to write into the card.
    """
    import onnx

    view = GraphView(model.graph)
    prelus = [node for node in model.graph.node if node.op_type == "PRelu" and node.input[1] in view.constants]
    flat = [node for node in prelus if view.constants[node.input[1]].ndim == 1]
    inferred = GraphView(onnx.shape_inference.infer_shapes(model).graph) if flat else view
    changed = 0
    for node in flat:
        sides, slopes = inferred.shape(node.input[0]), view.constants[node.input[1]]
        if sides is not None and len(sides) == 4 and len(slopes) > 1 and sides[1] == len(slopes) != sides[3]:
            node.input[1] = view.set_constant(f"{node.output[0]}/slopes", slopes.reshape(-1, 1, 1))
            changed += 1
    return (Rewrite("prelu-slopes", changed),) if changed else ()


def upcast_to_float32(model: onnx.ModelProto) -> tuple[Rewrite, ...]:
    """Converts floats of 16 and 64 bits to float32, which every format computes in.

    Given   weights float16 -> Conv in float16
    Result  weights float32 -> Conv in float32

    Returns:
        What to write into the card: half precision is rounded at every layer, and now is not.
    """
    import onnx

    numbers = {onnx.TensorProto.DataType.Value(name): name for name in WIDE}
    found: set[str] = set()
    for tensor in tensors(model):
        if tensor.data_type in numbers:
            found.add(numbers[tensor.data_type])
            values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type in numbers:
            found.add(numbers[value.type.tensor_type.elem_type])
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    for node in model.graph.node:
        for one in node.attribute:
            if one.name in ("to", "dtype") and one.i in numbers:
                found.add(numbers[one.i])
                one.i = onnx.TensorProto.FLOAT
    del model.graph.value_info[:]
    return tuple(Rewrite(f"widen-{name.lower()}") for name in sorted(found))


def computes_in_half(model: onnx.ModelProto) -> bool:
    """Says whether layers compute in float16, rather than only store their weights in it."""
    import onnx

    halves = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    casts = [node for node in model.graph.node if node.op_type == "Cast" and attribute(node, "to") in halves]
    return bool(casts) or any(value.type.tensor_type.elem_type in halves for value in model.graph.input)


def lower_opset(model: onnx.ModelProto) -> None:
    """Lowers the opset to the oldest, from 18 on, in which each operator of the graph means the same.

    onnx defines opsets before onnxruntime runs them.

    Given   opset 28, Conv (since 22), Relu (since 14)
    Result  opset 22, Conv, Relu
    """
    import onnx

    version = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    since = max(onnx.defs.get_schema(node.op_type, version, "").since_version for node in model.graph.node)
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", min(version, max(since, USUAL_OPSET))))
    model.ir_version = min(model.ir_version, USUAL_IR)


def fix_batch(model: onnx.ModelProto, face: onnx.ValueInfoProto) -> None:
    """Sets a free batch dimension to 1.

    Given   input (N, 3, 112, 112), output (N, 512)
    Result  input (1, 3, 112, 112), output (1, 512)
    """
    for value in (face, *model.graph.output):
        sides = value.type.tensor_type.shape.dim
        if len(sides) and sides[0].dim_value < 1:
            sides[0].dim_value = 1
    del model.graph.value_info[:]


def rename_values(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Renames values of the graph wherever they occur; a value that has one of the new names is moved aside."""
    taken = {name for node in model.graph.node for name in (*node.input, *node.output)} - set(names)
    names = {new: f"{new}/theirs" for new in names.values() if new in taken} | dict(names)
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.name = names.get(value.name, value.name)
