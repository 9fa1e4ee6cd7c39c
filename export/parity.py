"""Whether a file computes what its source computes: their unit embeddings of the same faces, compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..models.embedder import Embeddings
from .artifact import Artifact, ConversionError
from .recipe import ExportRecipe


@dataclass(frozen=True)
class Parity:
    """How far a file's unit embeddings lie from the source's, on `faces` faces."""

    largest_difference: float  # of any component
    cosine_min: float
    cosine_mean: float
    faces: int


def measure_parity(embeddings: Embeddings, source: Embeddings) -> Parity:
    """Compares two (N, D) sets of unit embeddings of the same faces.

    >>> measure_parity(np.float32([[1, 0]]), np.float32([[0, 1]]))
    Parity(largest_difference=1.0, cosine_min=0.0, cosine_mean=0.0, faces=1)
    """
    if embeddings.shape != source.shape:
        raise ConversionError(f"the file gives embeddings of {embeddings.shape[1]} numbers, not {source.shape[1]}")
    difference = np.abs(embeddings.astype(np.float64) - source)
    cosine = (embeddings.astype(np.float64) * source).sum(1)
    return Parity(float(difference.max()), float(cosine.min()), float(cosine.mean()), len(source))


def check_parity(artifact: Artifact, parity: Parity, recipe: ExportRecipe) -> None:
    """Refuses a float file that differs too much from its source; quantised files differ by design and are measured.

    Raises:
        ConversionError: With how far off it is and how far it may be.
    """
    name, precision = artifact.path.name, artifact.card.precision
    if precision == "fp32" and not parity.largest_difference <= recipe.largest_difference:
        raise ConversionError(
            f"{name} differs from its source by {parity.largest_difference:.1e} on {parity.faces} faces; "
            f"at most {recipe.largest_difference:.0e} is allowed"
        )
    if precision == "fp16" and not parity.cosine_min >= recipe.least_fp16_cosine:
        raise ConversionError(
            f"{name} has a cosine of {parity.cosine_min:.5f} to its source on {parity.faces} faces; "
            f"at least {recipe.least_fp16_cosine} is required"
        )
