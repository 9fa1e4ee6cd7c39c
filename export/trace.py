"""Where a file differs from its source: the values of both, layer by layer, under the names of the ONNX graph.

All files are made from one simplified ONNX graph, and keep its names where a layer is still the same layer. What has
no counterpart in the file (a clip that was fused into its convolution) is left out, not guessed.
"""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..faces.contract import Faces
from ..models.embedder import Embedder, unit
from ..models.graph.adoption import OUTPUT
from ..models.graph.reading import read_onnx
from .artifact import Artifact, Precision
from .formats import FORMATS
from .graph.to_onnx import adopt_onnx, to_onnx
from .layer_values import onnx_values
from .reference import embed_source
from .targets import Source, source_sha256
from .trial import try_in_child

if TYPE_CHECKING:
    import onnx

Array = NDArray[np.float32]

TOLERANCE: dict[Precision, float] = {"fp32": 1e-4, "fp16": 2e-2}
"""Largest difference of a layer, over its range, that rounding explains; quantised files differ by design."""

FACES = 4  # enough to find a layer that is wrong
SOURCE_ITSELF = "(the graph all files are made from)"


SCALED_RANKS: dict[str, tuple[int, ...]] = {"equalise": (4,), "equalise-streams": (2, 3, 4)}
"""By the kind of a rewrite that scales channels, the ranks of the values it may scale."""


@dataclass(frozen=True)
class TracedLayer:
    """One value of the graph, in the source and in the file."""

    name: str
    kind: str  # the ONNX operator that gives it
    difference: float  # the largest of any number, divided by the range of the source's values
    cosine: float
    scaled: bool = False  # compared up to a factor for each channel, which a rewrite of the file may change


@dataclass(frozen=True)
class Trace:
    """All layers that source and file share, in the graph's order."""

    layers: tuple[TracedLayer, ...]
    missing: tuple[str, ...]  # values of the source that the file does not have
    tolerance: float | None

    @property
    def first(self) -> TracedLayer | None:
        """The first layer that rounding does not explain; None where none is, or the file computes in integers."""
        return next((one for one in self.layers if self.tolerance and not one.difference <= self.tolerance), None)

    @property
    def worst(self) -> TracedLayer:
        """The layer with the lowest cosine to the source's."""
        return min(self.layers, key=lambda one: one.cosine)

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Gives name, operator, difference and cosine of each layer, for a table."""
        scaled = {False: "", True: " (channels scaled)"}
        return [
            (one.name, one.kind, f"{one.difference:.1e}{scaled[one.scaled]}", f"{one.cosine:.6f}")
            for one in self.layers
        ]

    def verdict(self) -> str:
        """Gives the trace in a sentence."""
        if self.tolerance is None:
            worst = self.worst
            return f"quantised values differ by design: most at {worst.kind} {worst.name!r}, cosine {worst.cosine:.5f}"
        if self.first is None:
            return f"no layer differs from the source by more than {self.tolerance:.0e} of its range"
        place, difference = f"{self.first.kind} {self.first.name!r}", f"{self.first.difference:.1e}"
        return (
            f"first differs from the source at {place}: by {difference} of its range, "
            f"where rounding explains {self.tolerance:.0e}; cosine {self.first.cosine:.5f}"
        )


def trace(source: Source, artifact: Artifact, faces: Faces) -> Trace:
    """Runs `faces` through source and file and compares every value that both have.

    Layers are those of the simplified ONNX graph; the first row compares its output with what the source itself gives.
    Where the card says that channels were equalised, images (of residual streams, rows too) are compared up to a
    positive factor for each channel (least squares); the embedding never is.

    Args:
        source: What the file was made from.
        artifact: A file with a card, of a format whose values inside can be read.
        faces: (N, H, W, 3) uint8 crops; a few are enough.

    Raises:
        ValueError: The file was made from another source, or shares no layer with this one.
    """
    file_format = FORMATS[artifact.format]
    if file_format.values is None:
        raise ValueError(f"{artifact.path.name}: the values inside {file_format.title} files cannot be read")
    if artifact.card.source_sha256 not in ("", source_sha256(source)):
        before = artifact.card.pruned_from
        hint = f"; it is pruned from {before}, give the checkpoint of what it was pruned to" if before else ""
        raise ValueError(f"{artifact.path.name} was made from another source than {source.name}{hint}")
    inputs = artifact.card.contract.preprocess(faces)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "source.onnx"
        if isinstance(source, Embedder):
            to_onnx(source, artifact.card, path)
        else:
            adopt_onnx(source.path, artifact.card, path, source.output)
        graph = read_onnx(path).graph
        theirs = onnx_values(path, inputs)
    try_in_child(artifact.path, artifact.card.contract, artifact.output)
    ours = file_format.values(artifact.path, inputs)
    own = embed_source(source, faces).embeddings
    layers = [traced_layer(SOURCE_ITSELF, "source", own, unit(theirs[OUTPUT].reshape(len(faces), -1)), False)]
    scaled_ranks = {rank for rewrite in artifact.card.rewrites for rank in SCALED_RANKS.get(rewrite.kind, ())}
    rows, missing = _flattened(graph), []
    spelt = {name: file_format.value_name(name) for name in theirs}
    alike = Counter(spelt.values())  # "a/b" and "a.b" are both "a_b" there: neither is compared
    for name, kind in _computed(graph):
        value = ours.get(spelt[name]) if name in theirs and alike[spelt[name]] == 1 else None
        if value is None or value.size != theirs[name].size:
            missing.append(name)
            continue
        value = _channels_first(value, theirs[name], rows.get(name)) if file_format.channels_last else value
        scaled = theirs[name].ndim in scaled_ranks and name != OUTPUT
        layers.append(traced_layer(name, kind, theirs[name], value.reshape(theirs[name].shape), scaled))
    if len(layers) < 2:
        raise ValueError(f"{artifact.path.name} has no value under a name of its source; export it anew")
    return Trace(tuple(layers), tuple(missing), TOLERANCE.get(artifact.card.precision))


def traced_layer(name: str, kind: str, source: Array, file: Array, scaled: bool) -> TracedLayer:
    """Compares one value of the source with the file's, up to a factor for each channel where it is `scaled`."""
    a, b = source.astype(np.float64), file.astype(np.float64)
    if scaled:
        channels = 1 if a.ndim == 4 else a.ndim - 1
        axes = tuple(axis for axis in range(a.ndim) if axis != channels)
        factor = (a * b).sum(axes, keepdims=True) / np.maximum((b * b).sum(axes, keepdims=True), 1e-30)
        b = b * np.maximum(factor, 0)
    spread = max(float(a.max() - a.min()), float(np.abs(a).max()), 1e-12)
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    cosine = float((a * b).sum()) / lengths if lengths else float(not a.any() and not b.any())
    difference = float(np.abs(a - b).max()) / spread
    return TracedLayer(name, kind, difference if np.isfinite(difference) else math.inf, cosine, scaled)


def _computed(graph: onnx.GraphProto) -> Iterator[tuple[str, str]]:
    for node in graph.node:
        if node.op_type != "Constant":
            yield node.output[0], node.op_type


def _flattened(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """Gives (C, H, W) of each row that was an image of several pixels: a channels-last file has it in that order."""
    shapes = {
        value.name: tuple(side.dim_value for side in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    rows: dict[str, tuple[int, ...]] = {}
    for node in graph.node:
        result = shapes.get(node.output[0], ())
        for name in node.input:
            image = rows.get(name) or (shapes[name][1:] if len(shapes.get(name, ())) == 4 else ())
            if len(result) == 2 and math.prod(image) == result[1] and math.prod(image[1:]) > 1:
                rows[node.output[0]] = image
    return rows


def _channels_first(value: Array, like: Array, row: tuple[int, ...] | None) -> Array:
    """Gives a value of a channels-last file in the source's order."""
    if row is not None:
        channels, height, width = row
        return value.reshape(len(value), height, width, channels).transpose(0, 3, 1, 2)
    return value.transpose(0, 3, 1, 2) if like.ndim == value.ndim == 4 else value
