"""fp32 .tflite -> half precision in weights and, on the cores that have it, in arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...models.graph.rewrite import Rewrite
from ...models.tflite.tables import unpack
from ..artifact import Artifact, ConversionError, Note
from ..graph.ranges import activation_ranges
from .flatbuffer import set_metadata
from .quantise import fp16, quantised_content
from .to_tflite import write_tflite

KEY, VALUE = "reduced_precision_support", b"fp16accfp16"
"""The metadata entry by which LiteRT lets XNNPACK compute, and sum up, in half precision."""

WHERE_IT_HALVES = Note(
    "precision",
    "cores with half-precision arithmetic (ARMv8.2) use it; others run this file, and compare it, in single precision",
)

LARGEST = 65504.0 / 4  # half precision ends at 65504; sums on the way, and other faces, reach further than results
FACES = 8  # looked at; the values of a network's tensors hardly differ from face to face


def half_arithmetic(fp32: Artifact, path: Path, faces: NDArray[np.float32]) -> Artifact:
    """Writes fp16 weights so that ARMv8.2 cores compute in half precision, and others in single as with "fp16".

    Args:
        fp32: What `to_tflite` made.
        path: Where the file goes.
        faces: (N, 3, H, W) float32, preprocessed: the first `FACES` show how large the network's values get.

    Raises:
        ConversionError: Some tensor reaches values that half precision does not hold.
    """
    ranges = activation_ranges(fp32.path, faces[:FACES], "minmax")
    reached, tensor = max((max(-low, high), name) for name, (low, high) in ranges.items())
    if reached > LARGEST:
        raise ConversionError(
            f"{fp32.path.name}: {tensor!r} reaches {reached:.0f}, and half precision ends at 65504; "
            "use tflite-fp16, which computes in single precision"
        )
    model = unpack(quantised_content(fp32.path, fp16(fp32.path)))
    set_metadata(model, KEY, VALUE)
    card = fp32.card.with_tools("ai-edge-quantizer").but(
        precision="fp16",
        rewrites=(*fp32.card.rewrites, Rewrite("half-arithmetic")),
    )
    return write_tflite(model, card, path, notes=(WHERE_IT_HALVES,))
