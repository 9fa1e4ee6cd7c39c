"""Batch norms that an ONNX file had folded, fitted to the faces of a training before it begins."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ...faces.folders import LabelledFaces
from ...models.batch_norm import fit_fresh_norms
from ...models.embedder import Embedder
from ...models.graph.imported_network import ImportedNetwork

SAMPLED, AT_ONCE = 256, 32  # faces


def with_fitted_norms(embedder: Embedder, faces: LabelledFaces, seed: int) -> Embedder:
    """Gives an imported network whose new batch norms fit `faces`; its embeddings stay what they are.

    Args:
        embedder: Left as it is; given back where it was no ONNX file, or has statistics already.
        faces: Crops of its size; up to 256 random ones are looked at.
        seed: Of their choice.
    """
    if not isinstance(embedder.backbone, ImportedNetwork) or len(faces.faces) < 2:
        return embedder
    fitted = embedder.clone()
    return fitted if fit_fresh_norms(fitted.backbone, _batches(fitted, faces, seed)) else embedder


def _batches(embedder: Embedder, faces: LabelledFaces, seed: int) -> Iterator[Tensor]:
    chosen = np.random.default_rng(seed).permutation(len(faces.faces))[:SAMPLED]
    for batch in np.array_split(chosen, -(-len(chosen) // AT_ONCE)):
        yield torch.from_numpy(embedder.contract.preprocess(faces.faces[batch]))
