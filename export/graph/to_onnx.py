"""PyTorch to ONNX, once: the graph from which TFLite and Core ML are made too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...files import written_whole
from ...models.graph.adoption import INPUT, OUTPUT, foreign_graph
from ...models.graph.parallel_branches import merge_branches
from ...models.graph.reading import read_onnx
from ...models.graph.rewrite import Rewrite
from ...models.graph.simplification import simplified
from ...models.quiet import quiet
from ...spelling import first_line
from ..artifact import METADATA_KEY, Artifact, Card, ConversionError

if TYPE_CHECKING:
    import onnx

    from ...models.embedder import Embedder

OPSET = 18  # the oldest that the dynamo exporter writes, so the one most runtimes read


def to_onnx(embedder: Embedder, card: Card, path: Path, *, dynamic: bool = False) -> Artifact:
    """Writes `embedder`'s backbone as one ONNX file; see `exported_graph`.

    Args:
        embedder: What to write.
        card: Goes into the file's metadata.
        path: Where to.
        dynamic: True: any N; False: N = 1.

    Raises:
        ConversionError: The exporter cannot trace the network.
    """
    return write_onnx(*exported_graph(embedder, card, dynamic=dynamic), path, batch=None if dynamic else 1)


def exported_graph(embedder: Embedder, card: Card, *, dynamic: bool = False) -> tuple[onnx.ModelProto, Card]:
    """Gives `embedder`'s backbone as one ONNX graph: input (N, C, H, W), output (N, D), any length.

    Args:
        embedder: What to export.
        card: Of the file to be written.
        dynamic: True: any N; False: N = 1, as a phone app calls it, and as TFLite and Core ML are made.

    Returns:
        The graph, and the card with what was rewritten.

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
        raise ConversionError(f"{embedder.name} cannot be exported to ONNX: {first_line(error)}") from error
    assert program is not None
    graph, merged = merge_branches(simplified(program.model_proto, embedder.name))
    return graph, _with_merged(card, merged)


def adopt_onnx(source: Path, card: Card, path: Path, output: str = "") -> Artifact:
    """Writes a foreign ONNX file as ours at `path`; see `adopted_graph`."""
    return write_onnx(*adopted_graph(source, card, output), path, batch=1)


def adopted_graph(source: Path, card: Card, output: str = "") -> tuple[onnx.ModelProto, Card]:
    """Gives a foreign ONNX file's graph as ours: batch 1, one input, one output, our names.

    Args:
        source: The file.
        card: Of the file to be written; its contract says what the source is fed.
        output: The name of the embedding; "": the only output that can be it.

    Returns:
        The graph, and the card with what was rewritten.

    Raises:
        ConversionError: The file is damaged or hostile, or is no embedder of the contract's input.
    """
    foreign = foreign_graph(source, card.contract, output)
    card = card.but(rewrites=tuple(dict.fromkeys((*foreign.rewrites, *card.rewrites))))
    graph, merged = merge_branches(simplified(foreign.model, source.name))
    return graph, _with_merged(card, merged)


def _with_merged(card: Card, merged: Sequence[str]) -> Card:
    """Gives the card with the sums of branches that became one convolution each."""
    if not merged:
        return card
    return card.but(rewrites=(*card.rewrites, Rewrite("merge-branches", len(merged))))


def write_onnx(model: onnx.ModelProto, card: Card, path: Path, batch: int | None) -> Artifact:
    """Writes `model` with `card` in its metadata, whole or not at all."""
    import onnx

    onnx.helper.set_model_props(model, {METADATA_KEY: card.to_json(), **card.sentences()})
    with written_whole(path) as beside:
        beside.write_bytes(model.SerializeToString(deterministic=True))
    return Artifact(path, "onnx", card, batch)


def read_onnx_card(path: Path) -> Card | None:
    """Gives the card in an ONNX file's metadata, or None."""
    properties: Mapping[str, str] = {item.key: item.value for item in read_onnx(path).metadata_props}
    return Card.from_json(properties[METADATA_KEY]) if METADATA_KEY in properties else None


def write_onnx_card(path: Path, card: Card, to: Path) -> None:
    """Writes the .onnx file at `path` with another card."""
    write_onnx(read_onnx(path), card, to, batch=None)
