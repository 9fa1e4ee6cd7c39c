"""Reads foreign ONNX files: what a file claims is checked before any runtime sees it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...spelling import first_line
from ..file_kinds import NO_NETWORKS, way_in
from .conversion_error import ConversionError

if TYPE_CHECKING:
    import onnx

LARGEST_FILE = 1 << 30  # bytes; face embedders for phones have some MB
MOST_FIELDS = 200_000  # of the file's structure; two bytes can become a node of 200 in memory
MOST_NODES = 20_000  # the largest embedder has some thousand
DEEPEST = 40  # messages inside messages; a weight in a node in the graph is the fifth

OLDEST_OPSET = 7  # the oldest that onnxruntime runs
TENSOR_TYPES = "FLOAT FLOAT16 BFLOAT16 DOUBLE INT8 INT16 INT32 INT64 UINT8 UINT16 UINT32 UINT64 BOOL".split()
RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}


def read_onnx(path: Path) -> onnx.ModelProto:
    """Reads an ONNX file without following it to other files, and refuses anything but a network of plain layers.

    The work and the memory are in proportion to the file's size, whatever it claims. How large its results
    become is checked by `size_limits.check_sizes`.

    Raises:
        ConversionError: It is missing, too large, damaged, keeps weights elsewhere, or has what no embedder needs:
            control flow, functions or operators of its own, random numbers, types that the formats do not have.
    """
    return parse_onnx(_content(path), path.name)


def parse_onnx(content: bytes, name: str, beside: Path | None = None) -> onnx.ModelProto:
    """Reads the bytes of an ONNX file as `read_onnx` does.

    Args:
        content: Of the file.
        name: What errors call it.
        beside: The one other file that weights may be in; they are taken into the graph.
    """
    import onnx

    try:
        _count(content, onnx.ModelProto.DESCRIPTOR)
        model = onnx.load_model_from_string(content)
    except ConversionError as error:
        raise ConversionError(f"{name} {error}") from None
    except Exception as error:  # protobuf raises its own kinds
        raise ConversionError(f"{name} is damaged or no ONNX file: {first_line(error)}") from error
    try:
        if beside is not None:
            _take_in(model, beside)
        _check(model)
        onnx.checker.check_model(model)
    except ConversionError as error:
        raise ConversionError(f"{name} {error}") from None
    except Exception as error:  # the checker raises its own kinds
        raise ConversionError(f"{name} is damaged or no ONNX file: {first_line(error)}") from error
    return model


def tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Gives every tensor that the file holds: weights, and values of Constant and like nodes."""
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _take_in(model: onnx.ModelProto, beside: Path) -> None:
    """Puts the weights that `beside` holds into the graph, each the bytes that the graph says, where it has them."""
    import onnx

    size, total = beside.stat().st_size, 0
    with beside.open("rb") as file:
        for tensor in tensors(model):
            if tensor.data_location != onnx.TensorProto.EXTERNAL:
                continue
            said = {entry.key: entry.value for entry in tensor.external_data}
            if (place := said.get("location", "")) != beside.name:
                raise ConversionError(f"keeps weights in {place[:100]!r}; only {beside.name}, beside it, is read")
            try:
                start = int(said.get("offset") or 0)
                length = int(said.get("length") or size - start)
            except ValueError:
                start, length = -1, 0
            total += max(0, length)
            if start < 0 or length < 0 or start + length > size or total > LARGEST_FILE:
                raise ConversionError(f"takes {tensor.name!r} from where {beside.name} has no such bytes; save it anew")
            file.seek(start)
            tensor.raw_data = file.read(length)
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]


def _content(path: Path) -> bytes:
    if path.is_dir():
        raise ConversionError(f"{path} is a folder; an ONNX file is wanted")
    if not path.is_file():
        raise ConversionError(f"no ONNX file at {path}")
    size = path.stat().st_size
    if not 0 < size <= LARGEST_FILE:
        raise ConversionError(f"{path.name} has {size} bytes; an embedder's ONNX file has 1 to {LARGEST_FILE}")
    if known := way_in(path, NO_NETWORKS):
        raise ConversionError(f"{path.name} {known}")
    return path.read_bytes()


def _count(content: bytes, descriptor: Any) -> None:
    """Counts the fields of a protobuf message and of those inside it, before any is built.

    Raises:
        ConversionError: They are too many, too deep, or run over the end.
    """
    view, left = memoryview(content), MOST_FIELDS
    todo = [(0, len(content), descriptor, 0)]
    while todo:
        at, end, kind, depth = todo.pop()
        if depth > DEEPEST:
            raise ConversionError(f"nests graphs more than {DEEPEST} messages deep; an embedder's is a plain list")
        fields = kind.fields_by_number
        while at < end:
            if (left := left - 1) < 0:
                raise ConversionError(f"lists more than {MOST_FIELDS} things; an embedder has some thousand")
            key, at = _varint(view, at)
            match key & 7:
                case 0:
                    _, at = _varint(view, at)
                case 1:
                    at += 8
                case 5:
                    at += 4
                case 2:
                    size, at = _varint(view, at)
                    field = fields.get(key >> 3)
                    if field is not None and field.message_type is not None:
                        todo.append((at, at + size, field.message_type, depth + 1))
                    at += size
                case _:
                    raise ConversionError("is damaged or no ONNX file: it is no protobuf message")
            if at > end:
                raise ConversionError("is cut short or damaged: a part ends outside of it")


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        if at + place >= len(view):
            break
        byte = view[at + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise ConversionError("is damaged or no ONNX file: it is no protobuf message")


def _check(model: onnx.ModelProto) -> None:
    """Refuses what no embedder needs; the sentences go on after the file's name."""
    graph = model.graph
    if not graph.node:
        raise ConversionError("is damaged or no ONNX file: it has no nodes")
    if len(graph.node) > MOST_NODES:
        raise ConversionError(f"has {len(graph.node)} nodes; an embedder has at most {MOST_NODES}")
    if len(model.functions):
        raise ConversionError("has functions of its own; write them out with onnx.inliner.inline_local_functions")
    if len(graph.sparse_initializer):
        raise ConversionError("has sparse weights; save them dense")
    _check_operators(model)
    for tensor in tensors(model):
        _check_tensor(tensor)
    _check_order(graph)


def _check_operators(model: onnx.ModelProto) -> None:
    import onnx

    newest = onnx.defs.onnx_opset_version()
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if len(versions) != 1 or not OLDEST_OPSET <= versions[0] <= newest:
        shown = ", ".join(map(str, versions)) or "none"
        raise ConversionError(f"says opset {shown}; export it with one of {OLDEST_OPSET} to {newest}")
    foreign = sorted({node.op_type for node in model.graph.node if node.domain not in ("", "ai.onnx")})
    if foreign:
        raise ConversionError(f"uses operators that are not ONNX's own: {', '.join(foreign)}")
    for node in model.graph.node:
        where = f"{node.op_type} {node.name or ', '.join(node.output)!r}"
        if not onnx.defs.has(node.op_type, versions[0]):
            raise ConversionError(f"uses {where}, which ONNX has not in opset {versions[0]}")
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise ConversionError(f"has control flow ({where}); trace it in eval mode with a fixed input size")
        if node.op_type in RANDOM:
            raise ConversionError(f"draws random numbers ({where}); export it in eval mode")
        if any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute):
            raise ConversionError(f"has {where} in training mode; export it in eval mode")


def _check_tensor(tensor: onnx.TensorProto) -> None:
    """Compares what a tensor claims with what it holds."""
    import onnx

    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise ConversionError(
            f"keeps weights in other files ({tensor.name!r}); put the file of its weights beside it, called as the "
            "tool that wrote it did, or save it with them inside"
        )
    types = {number: name for name, number in onnx.TensorProto.DataType.items()}
    kind = types.get(tensor.data_type, str(tensor.data_type))
    if kind not in TENSOR_TYPES:
        raise ConversionError(f"has {tensor.name!r} of type {kind}; known: {', '.join(TENSOR_TYPES)}")
    shape = "x".join(map(str, tensor.dims))
    if any(side < 1 for side in tensor.dims) and (list(tensor.dims) != [0] or tensor.raw_data):
        raise ConversionError(f"has {tensor.name!r} of shape {shape}; every side is at least 1")
    count = int(np.prod([int(side) for side in tensor.dims], dtype=object))
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    field = onnx.helper.tensor_dtype_to_field(tensor.data_type)
    held = len(tensor.raw_data) // dtype.itemsize if tensor.HasField("raw_data") else len(getattr(tensor, field))
    if held != count:
        raise ConversionError(f"has {tensor.name!r} of shape {shape}, but {held} numbers for it; save it anew")
    if kind in ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE"):
        values = onnx.numpy_helper.to_array(tensor).astype(np.float64, copy=False)
        bound = values.size == 1 and not np.isnan(values).any()  # of a Clip, of padding or of a mask
        if not bound and not np.isfinite(values).all():
            raise ConversionError(f"has numbers in {tensor.name!r} that are not finite; its training went wrong")


def _check_order(graph: onnx.GraphProto) -> None:
    """Each value is made once, before it is read."""
    known = {tensor.name for tensor in graph.initializer}
    if len(known) != len(graph.initializer):
        raise ConversionError("is damaged: two weights have one name")
    known |= {value.name for value in graph.input} | {""}
    for node in graph.node:
        if missing := [name for name in node.input if name not in known]:
            made = any(missing[0] in other.output for other in graph.node)
            why = "only computes later: its nodes are out of order, or in a circle" if made else "never computes"
            raise ConversionError(f"is damaged: {node.op_type} reads {missing[0]!r}, which it {why}")
        for name in node.output:
            if name and name in known:
                raise ConversionError(f"is damaged: {name!r} is computed twice")
            known.add(name)
    for output in graph.output:
        if output.name not in known:
            raise ConversionError(f"is damaged: nothing computes its output {output.name!r}")
