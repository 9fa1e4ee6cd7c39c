"""PyTorch to ONNX, once: the graph from which TFLite and Core ML are made too."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...models.embedder import Embedder
from ...models.files import written_whole
from ..artifact import METADATA_KEY, Artifact, Card, ConversionError

if TYPE_CHECKING:
    import onnx

OPSET = 18  # the oldest that the dynamo exporter writes, so the one most runtimes read
INPUT, OUTPUT = "input", "embedding"
LARGEST_GRAPH = 1 << 30  # bytes; face embedders for phones have some MB


def to_onnx(embedder: Embedder, card: Card, path: Path, *, dynamic: bool = False) -> Artifact:
    """Writes `embedder`'s backbone as one ONNX file: input (N, 3, H, W), output (N, D), any length.

    Args:
        embedder: What to write.
        card: Goes into the file's metadata.
        path: Where to.
        dynamic: True: any N; False: N = 1, as a phone app calls it, and as TFLite and Core ML are made.

    Raises:
        ConversionError: The exporter cannot trace the network.
    """
    import torch

    backbone = embedder.backbone.eval()
    # torch.export specialises a batch of 1, so a dynamic one is traced with 2
    example = embedder.example(2 if dynamic else 1)
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    try:
        with quiet():
            program = torch.onnx.export(
                backbone,
                (example,),
                dynamo=True,
                dynamic_shapes=shapes,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # the exporter wraps whatever the traced code raised
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConversionError(f"{embedder.name} cannot be exported to ONNX: {first}") from error
    assert program is not None
    graph = simplified(program.model_proto, embedder.name)
    return write_onnx(graph, card, path, batch=None if dynamic else 1)


def adopt_onnx(source: Path, card: Card, path: Path) -> Artifact:
    """Writes an ONNX file that somebody else made as ours: batch 1, one input, one output, our names, our card.

    Raises:
        ConversionError: The file is damaged, or is no embedder of the contract's input.
    """
    model = read_onnx(source)
    graph = model.graph
    constants = {constant.name for constant in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise ConversionError(
            f"{source.name} has {len(inputs)} inputs and {len(graph.output)} outputs; an embedder has one of each"
        )
    fix_batch(model, inputs[0])
    contract = card.contract
    shape = [dimension.dim_value for dimension in inputs[0].type.tensor_type.shape.dim]
    if shape != [1, 3, contract.height, contract.width]:
        raise ConversionError(
            f"{source.name} takes {shape}; the contract says [1, 3, {contract.height}, {contract.width}]"
        )
    rename(model, {inputs[0].name: INPUT, graph.output[0].name: OUTPUT})
    return write_onnx(simplified(model, source.name), card, path, batch=1)


def read_onnx(path: Path) -> onnx.ModelProto:
    """Reads an ONNX file without following it to other files.

    Raises:
        ConversionError: It is missing, too large, damaged, or keeps weights outside itself.
    """
    import onnx

    if not path.is_file():
        raise ConversionError(f"no ONNX file at {path}")
    if path.stat().st_size > LARGEST_GRAPH:
        raise ConversionError(f"{path.name} has {path.stat().st_size} bytes; at most {LARGEST_GRAPH} are read")
    try:
        model = onnx.load(str(path), load_external_data=False)
        if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
            raise ConversionError(f"{path.name} keeps weights in other files; save it with them inside")
        onnx.checker.check_model(model)
    except ConversionError:
        raise
    except Exception as error:  # protobuf and the checker raise their own kinds
        raise ConversionError(f"{path.name} is damaged or no ONNX file: {_first_line(error)}") from error
    return model


def simplified(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Folds constants and batch norms (onnxsim), and drops what only the exporter's authors need."""
    import onnx
    import onnxsim

    before = ", ".join(sorted({node.op_type for node in model.graph.node if node.domain not in ("", "ai.onnx")}))
    if before:
        raise ConversionError(f"{name} uses operators that are not ONNX's own: {before}")
    try:
        with quiet():
            smaller, same = onnxsim.simplify(model)
    except Exception as error:  # onnxsim passes on whatever onnxruntime says
        raise ConversionError(f"{name} cannot be simplified: {_first_line(error)}") from error
    if not same:
        raise ConversionError(f"{name}: the simplified graph computes something else")
    # Traces and paths of the exporting machine are nobody's business, and differ from run to run.
    del smaller.metadata_props[:]
    smaller.doc_string, smaller.graph.doc_string = "", ""
    smaller.producer_name, smaller.producer_version, smaller.graph.name = "pocketface", "", "embedder"
    for item in (*smaller.graph.node, *smaller.graph.value_info, *smaller.graph.input, *smaller.graph.output):
        item.doc_string = ""
        del item.metadata_props[:]
    for tensor in smaller.graph.initializer:
        del tensor.metadata_props[:]
    result: onnx.ModelProto = onnx.shape_inference.infer_shapes(smaller)
    return result


def write_onnx(model: onnx.ModelProto, card: Card, path: Path, batch: int | None) -> Artifact:
    """Writes `model` with `card` in its metadata, whole or not at all."""
    import onnx

    onnx.helper.set_model_props(model, {METADATA_KEY: card.to_json()})
    with written_whole(path) as beside:
        beside.write_bytes(model.SerializeToString(deterministic=True))
    return Artifact(path, "onnx", card, batch)


def read_card(path: Path) -> Card | None:
    """Gives the card in an ONNX file's metadata, or None."""
    properties: Mapping[str, str] = {item.key: item.value for item in read_onnx(path).metadata_props}
    return Card.from_json(properties[METADATA_KEY]) if METADATA_KEY in properties else None


def fix_batch(model: onnx.ModelProto, value: Any) -> None:
    """Makes a dynamic batch 1."""
    for item in (value, *model.graph.output):
        dimensions = item.type.tensor_type.shape.dim
        if len(dimensions) and dimensions[0].dim_value < 1:
            dimensions[0].dim_value = 1
    del model.graph.value_info[:]


def rename(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Renames values of the graph wherever they occur."""
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*model.graph.input, *model.graph.output):
        value.name = names.get(value.name, value.name)


@contextlib.contextmanager
def quiet() -> Any:
    """Silences the exporter's progress lines and version warnings; errors still rise."""
    previous = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(previous)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
