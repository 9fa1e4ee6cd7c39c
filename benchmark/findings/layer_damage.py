"""Where quantisation does its damage: every value that a file shares with its source, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from ...export.formats import FORMATS
from ...export.trace import FACES, trace
from ...faces.contract import Faces
from ..accuracy.intervals import Estimate
from ..measurement import Measurement
from ..subjects import Subject, row_maker

NOT_FINITE = Estimate(None, reason="the layer gives numbers that are not finite")


def layer_rows(
    subjects: Sequence[Subject], faces: Faces, folder: Path, progress: Callable[[str], None] = lambda line: None
) -> list[Measurement]:
    """Gives for every quantised file how far each of its layers lies from the source's.

    Two rows a layer, its name in the condition `part`: `layer_change`, the largest difference as a share of the
    source's range, and `layer_cosine`. Formats whose values cannot be looked at (ORT, ExecuTorch) have none.

    Args:
        subjects: Embedders with what was made of them.
        faces: (N, H, W, 3) crops; the first four are looked at.
        folder: The run folder.
        progress: Told a line per file.
    """
    rows: list[Measurement] = []
    for subject in subjects:
        for result in subject.exported:
            artifact = result.artifact
            if artifact is None or FORMATS[artifact.format].values is None or artifact.card.precision == "fp32":
                continue
            row = row_maker(artifact, folder)
            try:
                tracing = trace(subject.embedder, artifact, faces[:FACES])
            except ValueError as error:
                rows.append(row.missing("layer_cosine", str(error)))
                continue
            progress(f"{artifact.path.name}: {tracing.verdict()}")
            for layer in tracing.layers:
                part = row.under(part=f"{layer.name} ({layer.kind})", to=subject.embedder.name)
                for metric, value in (("layer_change", layer.difference), ("layer_cosine", layer.cosine)):
                    estimate = Estimate(value) if math.isfinite(layer.difference) else NOT_FINITE
                    rows.append(part.estimate(metric, estimate, min(FACES, len(faces))))
    return rows
