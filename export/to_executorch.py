"""PyTorch -> .pte: ExecuTorch with XNNPACK, float32; needs the extra `executorch`."""

from __future__ import annotations

from collections import Counter
from operator import getitem
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import written_whole
from ..models.quiet import quiet
from ..spelling import first_line
from .artifact import METADATA_KEY, Artifact, Card, ConversionError, Note
from .executorch_session import MISSING

if TYPE_CHECKING:
    from ..models.embedder import Embedder


def to_executorch(embedder: Embedder, card: Card, path: Path) -> Artifact:
    """Writes `embedder`'s backbone as an ExecuTorch program, with XNNPACK for all that it has kernels for.

    The program's method `forward` maps (1, 3, H, W) float32 to (1, D); the method `pocketface` takes nothing and
    gives the card's text. The same embedder and card give the same bytes.

    Args:
        embedder: What to write.
        card: Goes into the file.
        path: Where to.

    Raises:
        ConversionError: ExecuTorch is not installed, or cannot express the network.
    """
    import torch

    with quiet():
        try:
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower
        except ImportError as error:
            raise ConversionError(MISSING) from error
    card = card.with_tools("torch", "executorch")
    try:
        with quiet():
            program = torch.export.export(embedder.backbone.eval(), (embedder.example(),))
            lowered = to_edge_transform_and_lower(
                program, partitioner=[XnnpackPartitioner()], constant_methods={METADATA_KEY: card.to_json()}
            )
            notes = (_partitions(lowered.exported_program().graph),)
            content = lowered.to_executorch().buffer
    except Exception as error:  # the exporter wraps whatever the traced code raised
        raise ConversionError(f"{embedder.name} cannot be written for ExecuTorch: {first_line(error)}") from error
    with written_whole(path) as beside:
        beside.write_bytes(content)
    return Artifact(path, "executorch", card, notes=notes)


def _partitions(graph: Any) -> Note:
    """Says in how many parts XNNPACK runs the network, and which operators it leaves to plain kernels."""
    targets = [node.target for node in graph.nodes if node.op == "call_function" and node.target is not getitem]
    called = [str(getattr(target, "__name__", target)) for target in targets]
    left = [name for name in called if name != "executorch_call_delegate"]
    parts, counts = len(called) - len(left), Counter(left).most_common()
    text = f"XNNPACK runs {parts} part{'s' if parts != 1 else ''} of it"
    if left:
        text += f"; left to plain kernels: {', '.join(f'{count} {name}' for name, count in counts)}"
    return Note("one-partition" if parts == 1 and not left else "partitions", text, parts)
