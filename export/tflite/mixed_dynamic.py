"""Dynamic range, except for the layers whose activations it rounds at the greatest cost."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from ...models.graph.rewrite import Rewrite
from ...models.tflite.tables import unpack
from ..artifact import Artifact, ConversionError, Note
from ..calibration import PartedFaces
from .litert import LiteRTSession, cosine_of
from .quantise import Recipe, operator_scope, quantised_content, w8_dynamic
from .rounding import weighted_in_int8
from .to_tflite import write_tflite

if TYPE_CHECKING:
    pass

PROBE_FACES = 16  # rank the layers; more give the same order


def mixed_dynamic(
    fp32: Artifact,
    path: Path,
    faces: PartedFaces,
    least_cosine: float,
    progress: Callable[[str], None] = lambda line: None,
) -> Artifact:
    """Writes `fp32` with int8 weights, and activations in int8 as they come in as many layers as the bound allows.

    Each layer alone is given dynamic range, and the loss of cosine it causes is its cost. Then the layers leave it,
    the costliest first, until the file itself reaches the cosine; their weights stay int8 and are expanded when the
    file is loaded.

    Args:
        fp32: What `to_tflite` made.
        path: Where the file goes.
        faces: Some rank the layers, others decide when the file is accurate enough.
        least_cosine: What the mean cosine on the latter must reach.
        progress: Told a line a step.

    Returns:
        The file; its notes say how many layers compute in float.

    Raises:
        ConversionError: Not even int8 weights alone come that near.
    """
    from ...models.embedder import unit

    layers = weighted_in_int8(quantised_content(fp32.path, w8_dynamic(fp32.path)))
    probe = faces.fit[:PROBE_FACES]
    own = unit(LiteRTSession(fp32.path).run(probe))

    def written(float_layers: Collection[str]) -> bytes:
        return quantised_content(fp32.path, _rows(fp32.path, float_layers))

    costs = {layer: 1 - cosine_of(written(set(layers) - {layer}), probe, own) for layer in layers}
    order = sorted(layers, key=lambda layer: -costs[layer])
    after = 0.0
    for count in range(1, len(order) + 1):
        content = written(order[:count])
        after = cosine_of(content, faces.judged, faces.exact)
        progress(f"{count} of {len(order)} layers of dynamic range in float: cosine {after:.5f}")
        if after >= least_cosine:
            break
    else:
        raise ConversionError(f"with all {len(order)} layers in float the cosine is {after:.5f}")
    card = fp32.card.with_tools("ai-edge-quantizer").but(
        precision="w8-dynamic", rewrites=(*fp32.card.rewrites, Rewrite("float-layers", count))
    )
    text = f"{count} of {len(order)} layers of dynamic range stay in float arithmetic: {', '.join(order[:count])}"
    return write_tflite(unpack(content), card, path, (Note("float-layers", text),))


def _rows(fp32: Path, float_layers: Collection[str]) -> Recipe:
    """Gives the quantiser's recipe: dynamic range, but for some layers, whose weights are expanded."""
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.recipe_manager import RecipeManager

    manager = RecipeManager()
    manager.load_quantization_recipe(w8_dynamic(fp32))
    for layer in sorted(float_layers):
        manager.add_weight_only_config(operator_scope(layer), TFLOperationName.ALL_SUPPORTED, num_bits=8)
    rows: Recipe = manager.get_quantization_recipe()
    return rows
