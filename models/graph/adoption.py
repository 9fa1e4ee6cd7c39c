"""Adopts a foreign ONNX file: one face in, one embedding out, float32 throughout, and our names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...faces.contract import InputContract
from ...spelling import first_line
from .conversion_error import ConversionError
from .onnx_ports import model_ports
from .reading import read_onnx, tensors
from .rewrite import Rewrite
from .size_limits import check_sizes
from .transposed_convolutions import state_transposed_pads
from .view import GraphView, attribute, constant_value

if TYPE_CHECKING:
    import onnx

INPUT, OUTPUT = "input", "embedding"
USUAL_OPSET, USUAL_IR = 18, 10
ELEMENTWISE = ("Add", "Cast", "Div", "Mul", "Sub")  # what prepares pixels one by one
WIDE = ("FLOAT16", "BFLOAT16", "DOUBLE")  # what becomes FLOAT


@dataclass(frozen=True)
class Foreign:
    """A foreign network: input (1, C, H, W), output (1, D), nothing folded or left out yet."""

    model: onnx.ModelProto
    rewrites: tuple[Rewrite, ...]  # made so that it fits
    rounds: bool  # the file itself rounds every layer to half precision, which `model` does not


def foreign_graph(path: Path, contract: InputContract, output: str = "") -> Foreign:
    """Reads the network of a file, with its layers as they are.

    Args:
        path: The file.
        contract: What it is fed.
        output: The name of the embedding; "": the only output that can be it.

    Raises:
        ConversionError: The file is damaged or hostile, or is no embedder of `contract`.
    """
    import onnx

    model = read_onnx(path)
    remove_initializers_from_inputs(model)
    ports = model_ports(model, path.name, output)
    ports.check(contract)
    keep_output(model, ports.embedding.name)
    face, embedding = GraphView(model.graph).ports(path.name)
    fix_batch(model, face)
    lift_constants_to_initializers(model)
    eliminate_dropout_and_identity(model)
    rounds = computes_in_half(model)
    rewrites = (*align_prelu_slopes(model), *upcast_to_float32(model))
    accept_floats(model, face)
    if ports.channels_last:
        put_channels_first(model, face)
    flatten_output(model, embedding)
    sides = (1, contract.channels, contract.height, contract.width)
    for side, want in zip(face.type.tensor_type.shape.dim, sides, strict=True):
        side.dim_value = want
    state_transposed_pads(model)
    rename_values(model, {face.name: INPUT, model.graph.output[0].name: OUTPUT})
    lower_opset(model)
    check_sizes(model, path.name)
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        raise ConversionError(f"{path.name} is damaged or no ONNX file: {first_line(error)}") from error
    return Foreign(model, rewrites, rounds)


def keep_output(model: onnx.ModelProto, name: str) -> None:
    """Removes all outputs but one, and the nodes and weights that only the others need.

    Given   ... -> y;  ReduceL2(y) -> norm;  outputs y, norm
    Result  ... -> y;  output y
    """
    outputs = [value for value in model.graph.output if value.name == name]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    GraphView(model.graph).drop_unneeded()


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
    """Sets the batch dimension to 1, whether it was free or another number.

    Given   input (2, 3, 112, 112), Reshape to (2, 512), output (2, 512)
    Result  input (1, 3, 112, 112), Reshape to (1, 512), output (1, 512)
    """
    import onnx

    batch = face.type.tensor_type.shape.dim[0].dim_value
    if batch > 1:
        view = GraphView(onnx.shape_inference.infer_shapes(model).graph)
        edit = GraphView(model.graph)
        for node in model.graph.node:
            sides = view.shape(node.input[0])
            target = view.constant(node.input[1]) if node.op_type == "Reshape" else None
            if target is not None and target.size and sides and sides[0] == target[0] == batch:
                one = np.array([1, *target[1:]], np.int64)
                if node.input[1] in edit.constants:
                    node.input[1] = edit.set_constant(f"{node.output[0]}/one_face", one)
    for value in (face, *model.graph.output):
        dimensions = value.type.tensor_type.shape.dim
        if len(dimensions) and (dimensions[0].dim_value < 1 or dimensions[0].dim_value == batch):
            dimensions[0].dim_value = 1
    del model.graph.value_info[:]


def accept_floats(model: onnx.ModelProto, face: onnx.ValueInfoProto) -> None:
    """Gives an input of integers, whose pixels the network itself prepares, the same numbers as float32.

    Given   input uint8 -> Cast to float -> Sub 127.5
    Result  input float32 -> Sub 127.5
    """
    import onnx

    if face.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
        return
    face.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] == face.name and attribute(node, "to") == onnx.TensorProto.FLOAT:
            node.op_type = "Identity"
            del node.attribute[:]
    eliminate_dropout_and_identity(model)


def put_channels_first(model: onnx.ModelProto, face: onnx.ValueInfoProto) -> None:
    """Gives an input that has its channels last the layout of all others.

    What prepares the pixels one by one before the network turns them itself is turned with them; where it does not
    turn them so soon, a Transpose does.

    Given   input (1, H, W, 3) -> Sub (3,) -> Transpose (0, 3, 1, 2) -> Conv
    Result  input (1, 3, H, W) -> Sub (3, 1, 1) -> Conv
    """
    import onnx

    view, name = GraphView(model.graph), face.name
    batch, height, width, channels = (side.dim_value for side in face.type.tensor_type.shape.dim)
    for side, size in zip(face.type.tensor_type.shape.dim, (batch, channels, height, width), strict=True):
        side.dim_value = size
    chain: list[onnx.NodeProto] = []
    while (node := view.sole_consumer(name)) is not None and node.op_type in ELEMENTWISE:
        constants = [view.constants[one] for one in node.input if one in view.constants]
        if any(one.size != 1 and one.shape != (*(1,) * (one.ndim - 1), channels) for one in constants):
            break
        chain.append(node)
        name = node.output[0]
    if node is not None and node.op_type == "Transpose" and tuple(attribute(node, "perm", ())) == (0, 3, 1, 2):
        for step in chain:
            for place, one in enumerate(step.input):
                if one in view.constants and view.constants[one].size > 1:
                    turned = view.constants[one].reshape(-1, 1, 1)
                    step.input[place] = view.set_constant(f"{step.output[0]}/channels_first", turned)
        node.op_type = "Identity"
        del node.attribute[:]
        eliminate_dropout_and_identity(model)
        return
    turned_name = f"{face.name}/channels_last"
    for reader in view.consumers(face.name):
        reader.input[:] = [turned_name if one == face.name else one for one in reader.input]
    turn = onnx.helper.make_node("Transpose", [face.name], [turned_name], name=turned_name, perm=[0, 2, 3, 1])
    view.set_nodes([turn, *model.graph.node])


def flatten_output(model: onnx.ModelProto, embedding: onnx.ValueInfoProto) -> None:
    """Makes the output a row (1, D), where it has sides of 1 besides or lacks the batch.

    Given   Conv -> (1, 512, 1, 1)
    Result  Conv -> Reshape -> (1, 512)
    """
    import onnx

    sides = [side.dim_value for side in embedding.type.tensor_type.shape.dim]
    if len(sides) == 2 and sides[0] == 1:
        return
    size = next((side for side in sides if side > 1), 0)
    shape = GraphView(model.graph).set_constant(f"{embedding.name}/row_shape", np.array([1, size or -1], np.int64))
    row = f"{embedding.name}/row"
    model.graph.node.append(onnx.helper.make_node("Reshape", [embedding.name, shape], [row], name=row))
    kind = embedding.type.tensor_type.elem_type
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info(row, kind, [1, size or None]))


def rename_values(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Renames values of the graph wherever they occur; a value that has one of the new names is moved aside."""
    taken = {name for node in model.graph.node for name in (*node.input, *node.output)} - set(names)
    names = {new: f"{new}/theirs" for new in names.values() if new in taken} | dict(names)
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.name = names.get(value.name, value.name)
