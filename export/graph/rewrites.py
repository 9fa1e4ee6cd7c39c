"""A chain of graph rewrites: each gives the next graph and adds a line to the card."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...models.graph.affine_folding import fold_channel_affines
from ...models.graph.reading import read_onnx
from ...models.graph.rewrite import Rewrite
from ..artifact import Artifact, Card
from .bias_correction import correct_biases
from .cross_layer_equalisation import equalise_across_layers
from .prelu import decompose_prelu
from .stream_equalisation import equalise_streams

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class RewriteChain:
    """A graph and its card, which lists its rewrites; each rewrite gives the next link."""

    model: onnx.ModelProto
    card: Card

    @classmethod
    def of(cls, base: Artifact) -> RewriteChain:
        """Starts from the .onnx file that all other formats are made from."""
        return cls(read_onnx(base.path), base.card)

    def folded(self) -> RewriteChain:
        """Makes scales and shifts per channel part of the layers beside them: `fold_channel_affines`."""
        model, affines = fold_channel_affines(self.model)
        return self._then(model, Rewrite("fold-affines", affines))

    def equalised(self, faces: NDArray[np.float32]) -> RewriteChain:
        """Gives the channels between layers the same range: `equalise_across_layers`."""
        model, sites = equalise_across_layers(self.model, faces)
        return self._then(model, Rewrite("equalise", sites), "onnxruntime")

    def streams_equalised(self, faces: NDArray[np.float32]) -> RewriteChain:
        """Gives the channels of residual streams that layer norms read nearly the same range: `equalise_streams`."""
        model, channels = equalise_streams(self.model, faces)
        return self._then(model, Rewrite("equalise-streams", channels), "onnxruntime")

    def skipping(self) -> RewriteChain:
        """Writes PReLUs as two operators that have fast kernels: `decompose_prelu`."""
        model, sites = decompose_prelu(self.model)
        return self._then(model, Rewrite("prelu-skip", sites))

    def corrected(self, faces: NDArray[np.float32]) -> RewriteChain:
        """Compensates the shift that int8 weights cause; only useful for an int8 file: `correct_biases`."""
        model, layers = correct_biases(self.model, faces)
        return self._then(model, Rewrite("correct-biases", layers), "onnxruntime")

    @contextmanager
    def saved(self) -> Iterator[Path]:
        """Writes the graph to a temporary file, which a converter can read inside the `with` block."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{self.card.model}.onnx"
            path.write_bytes(self.model.SerializeToString())
            yield path

    def _then(self, model: onnx.ModelProto, rewrite: Rewrite, *tools: str) -> RewriteChain:
        """Gives the rewritten graph, or this one where nothing was rewritten."""
        if not rewrite.count:
            return self
        card = self.card.with_tools(*tools).but(rewrites=(*self.card.rewrites, rewrite))
        return dataclasses.replace(self, model=model, card=card)


@dataclass(frozen=True, eq=False)
class CalibratedGraphs:
    """What the int8 files of one network start from: each graph is rewritten once, whatever is made of it."""

    base: Artifact  # a float32 .onnx file
    faces: NDArray[np.float32]  # (N, C, H, W), preprocessed

    @cached_property
    def folded(self) -> RewriteChain:
        """The graph without scales and shifts that a layer beside them can take in."""
        return RewriteChain.of(self.base).folded()

    @cached_property
    def corrected(self) -> RewriteChain:
        """The same with biases for int8 weights: activations stay float, or get their ranges as they come."""
        return self.folded.corrected(self.faces)

    @cached_property
    def levelled(self) -> RewriteChain:
        """The folded graph with its channels brought to like ranges, which static int8 needs."""
        return self.folded.equalised(self.faces).streams_equalised(self.faces)

    @cached_property
    def static(self) -> RewriteChain:
        """The levelled graph with biases for int8 weights."""
        return self.levelled.corrected(self.faces)
