"""The source's own embeddings of some faces, with which those of every file made from it are compared."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..faces.contract import Faces
from ..models.embedder import Embedder, Embeddings, unit
from ..models.graph.adoption import foreign_graph
from ..models.graph.rewrite import Rewrite
from .artifact import ConversionError
from .formats import open_session
from .session import raw_embeddings
from .targets import ForeignOnnx, Source

UNIT_WITHIN = 1e-3  # of one: float16 keeps a length that precisely


@dataclass(frozen=True)
class Reference:
    """A source's own embeddings of some faces, and what is known of the source from them."""

    embeddings: Embeddings
    normalised: bool  # the source gives unit vectors by itself
    rewrites: tuple[Rewrite, ...] = ()  # what had to be changed before it could be converted


def embed_source(source: Source, faces: Faces) -> Reference:
    """Embeds `faces` with the source itself: in PyTorch, or for a foreign file in onnxruntime.

    A foreign file is run unchanged. Where onnxruntime cannot run it, or where it rounds every layer to half precision
    and the files made from it do not, the graph that `foreign_graph` gives is run, before anything is folded.

    Raises:
        ConversionError: The file is no embedder of its contract, or gives numbers that are not finite.
    """
    if isinstance(source, Embedder):
        raw, rewrites = raw_embeddings(_Eager(source), source.contract, faces), tuple[Rewrite, ...]()
    else:
        raw, rewrites = _of_file(source, faces)
    if raw.ndim != 2:
        name = source.name if isinstance(source, Embedder) else source.path.name
        raise ConversionError(f"{name} gives {raw.shape[1:]} for a face; an embedder gives a row of numbers")
    lengths = np.linalg.norm(raw.astype(np.float64), axis=1)
    return Reference(unit(raw), bool((np.abs(lengths - 1) < UNIT_WITHIN).all()), rewrites)


def _of_file(source: ForeignOnnx, faces: Faces) -> tuple[NDArray[np.float32], tuple[Rewrite, ...]]:
    foreign = foreign_graph(source.path, source.contract, source.output)
    if not foreign.rounds:
        with contextlib.suppress(ConversionError):
            return raw_embeddings(
                open_session(source.path, output=source.output), source.contract, faces
            ), foreign.rewrites
    with tempfile.TemporaryDirectory() as folder:
        changed = Path(folder) / source.path.name
        changed.write_bytes(foreign.model.SerializeToString())
        return raw_embeddings(open_session(changed), source.contract, faces), foreign.rewrites


@dataclass
class _Eager:
    """The embedder's own network as a session."""

    embedder: Embedder
    runtime: str = "torch"

    def run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.embedder.run(inputs)
