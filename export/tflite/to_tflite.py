"""ONNX to fp32 .tflite, operator by operator: no TensorFlow, no TRANSPOSE, PReLU and L2 norm kept whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...files import sha256_of, written_whole
from ...models.graph.activation_idioms import recognise_activations
from ...models.graph.idioms import recognise_prelus
from ...models.graph.norm_idioms import recognise_norms
from ...models.graph.reading import read_onnx
from ...models.graph.resizing import rewrite_upsamples
from ...models.graph.simplification import simplified
from ...models.graph.view import GraphView, with_shapes
from ...models.tflite.tables import DAMAGES, unpack
from ..artifact import METADATA_KEY, Artifact, Card, ConversionError, Note
from ..graph.composition import compose_lacking
from ..graph.compositions import COMPOSITIONS
from .context import Context, Value
from .delegation import delegation
from .flatbuffer import pack, set_metadata
from .operators import OPERATORS, tflite_lacks

if TYPE_CHECKING:
    from onnx import GraphProto


def to_tflite(onnx_path: Path, card: Card, path: Path) -> Artifact:
    """Writes the network of an ONNX file as a float32 .tflite file that carries `card`.

    Batch norms are folded into what they follow, clips are fused, and a graph in NCHW becomes one in NHWC
    without a TRANSPOSE. The same ONNX file and card give the same bytes.

    Args:
        onnx_path: One input (N, C, H, W), N = 1 or free; one output (N, D) or (N, D, 1, 1).
        card: Goes into the file's metadata; precision, tools and a missing source hash are filled in.
        path: Where the file goes.

    Returns:
        The file: input `input` (1, H, W, C) and output `embedding` (1, D), both float32, in the signature
        `serving_default`.

    Raises:
        ConversionError: An operator that cannot be expressed, or a graph that is not what the card says.
    """
    graph = _graph(onnx_path, card)
    context = Context(graph, onnx_path.name)
    shape = (1, card.contract.height, card.contract.width, card.contract.channels)
    faces = context.writer.tensor("input", shape)
    context.values[context.view.ports(onnx_path.name)[0].name] = Value(faces, shape)
    for node in graph.node:
        if node.output[0] in context.fused or node.op_type == "Constant":
            continue
        if node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx"):
            raise context.refuse(node, f"has no counterpart here; known: {', '.join(OPERATORS)}")
        OPERATORS[node.op_type](context, node)
    embedding = _embedding(context, graph.output[0].name, card)
    card = card.with_tools("onnx", "ai-edge-litert").but(
        precision="fp32", source_sha256=card.source_sha256 or sha256_of(onnx_path)
    )
    return write_tflite(context.writer.finish({"input": faces}, {"embedding": embedding}), card, path)


def write_tflite(model: Any, card: Card, path: Path, notes: tuple[Note, ...] = ()) -> Artifact:
    """Writes the schema's `model` with `card` in its metadata, whole or not at all.

    How much of it XNNPACK runs is added to the artifact's `notes`.

    Raises:
        ConversionError: LiteRT cannot load it; it is taken away again.
    """
    _write(model, card, path)
    try:
        taken = delegation(path)
    except ValueError as error:
        path.unlink()
        raise ConversionError(str(error)) from error
    return Artifact(path, "tflite", card, notes=(taken.note(), *notes))


def write_tflite_card(path: Path, card: Card, to: Path) -> None:
    """Writes the .tflite file at `path` with another card; LiteRT, which a damaged file may crash, never sees it.

    Raises:
        ValueError: The file is damaged.
    """
    try:
        _write(unpack(path.read_bytes()), card, to)
    except DAMAGES as error:
        raise ValueError(f"{path.name} is damaged: its tables cannot be read ({type(error).__name__})") from error


def _write(model: Any, card: Card, path: Path) -> None:
    model.description = "\n".join(card.sentences().values())
    set_metadata(model, METADATA_KEY, card.to_json().encode())
    with written_whole(path) as beside:
        beside.write_bytes(pack(model))


def _graph(path: Path, card: Card) -> GraphProto:
    """Reads the graph with batch 1, the card's size and every shape known."""
    import onnx

    model = read_onnx(path)
    graph = model.graph
    face, embedding = GraphView(graph).ports(path.name)
    sides = face.type.tensor_type.shape.dim
    wanted = (1, card.contract.channels, card.contract.height, card.contract.width)
    if len(sides) != 4 or not all(side.dim_value in (0, want) for side, want in zip(sides, wanted, strict=True)):
        shown = "x".join(str(side.dim_value or side.dim_param or "?") for side in sides)
        raise ConversionError(f"{path.name} takes {shown}; the card's input is {'x'.join(map(str, wanted))}")
    free = not all(side.dim_value for side in sides)
    for side, want in zip(sides, wanted, strict=True):
        side.dim_value = want
    if free:
        del graph.value_info[:]
        for side in embedding.type.tensor_type.shape.dim:
            side.Clear()
    if free or {node.op_type for node in graph.node} - set(OPERATORS) - set(COMPOSITIONS) - {"Constant", "Upsample"}:
        model = simplified(model, path.name)  # what computes shapes becomes constant
    try:
        model = with_shapes(model, strict=True)
    except onnx.shape_inference.InferenceError as error:
        reason = " ".join(str(error).split())
        raise ConversionError(f"{path.name}: its shapes contradict each other: {reason}") from error
    rewrite_upsamples(model.graph)
    recognise_prelus(model.graph)
    recognise_norms(model.graph)
    recognise_activations(model.graph, OPERATORS)
    return compose_lacking(model, tflite_lacks, COMPOSITIONS).graph


def _embedding(context: Context, name: str, card: Card) -> int:
    """Gives the tensor (1, D) that is handed out."""
    value = context.values.get(name)
    if value is None:
        raise ConversionError(f"{context.file}: nothing computes its output {name!r}")
    shape = (1, card.embedding_size)
    if value.flattened or value.shape not in (shape, (1, 1, *shape)):
        raise ConversionError(f"{context.file} gives {context.shape(name)}; the card's embedding is {shape}")
    if len(value.shape) == 2:
        return value.tensor
    tensor = context.writer.tensor("embedding", shape)
    target = context.writer.constant("embedding/shape", np.array(shape))
    context.writer.operator("RESHAPE", [value.tensor, target], [tensor], newShape=list(shape))
    return tensor
