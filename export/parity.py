"""Whether a file computes what its source computes: their unit embeddings of the same faces, compared."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from ..models.embedder import Embeddings
from .artifact import Artifact, ConversionError, Note, Precision
from .recipe import ExportRecipe

INSTEAD: dict[tuple[str, Precision], str] = {("tflite", "w8a8"): "; tflite-int8 looks for a way that loses less"}
"""What to try where a precision of a format ruins a network."""


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


def check_parity(artifact: Artifact, parity: Parity, recipe: ExportRecipe) -> Artifact:
    """Refuses a file that differs too much from its source, or gives it with a note where the recipe allows drift.

    An fp32 file is held to a largest difference and an fp16 file to a least cosine, both of any face; a quantised file
    differs by design, so it is held to a mean cosine that only a ruined one falls below.

    Raises:
        ConversionError: With how far off it is and how far it may be.
    """
    name, precision = artifact.path.name, artifact.card.precision
    if precision == "fp32":
        if not parity.largest_difference <= recipe.largest_difference:
            raise ConversionError(
                f"{name} differs from its source by {parity.largest_difference:.1e} on {parity.faces} faces; "
                f"at most {recipe.largest_difference:.0e} is allowed"
            )
        return artifact
    cosine = parity.cosine_min if precision == "fp16" else parity.cosine_mean
    least: float = getattr(recipe, f"least_{precision.replace('-', '_')}_cosine")
    if cosine >= least:
        return artifact
    found = (
        f"{name} has a cosine of {cosine:.5f} to its source on {parity.faces} faces; at least {least} is asked of "
        f"{precision}"
    )
    if not recipe.allow_drift or not np.isfinite(cosine):
        instead = INSTEAD.get((artifact.format, precision), "")
        raise ConversionError(f"{found}, and --allow-drift (allow_drift in a recipe) writes it all the same{instead}")
    return dataclasses.replace(artifact, notes=(*artifact.notes, Note("drift", f"{found}, and drift is allowed")))
