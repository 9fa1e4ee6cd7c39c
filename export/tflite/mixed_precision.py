"""Mixed precision: int8, except for the layers whose rounding costs the embeddings most."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...models.graph.rewrite import Rewrite
from ...models.tflite.tables import unpack
from ..artifact import Artifact, ConversionError, Note
from ..calibration import PartedFaces
from ..graph.ranges import RangeMethod, activation_ranges
from .flatbuffer import pack
from .litert import LiteRTSession, cosine_of
from .quantise import Recipe, float_sums, operator_scope, quantised_content, w8a8
from .rounding import IntegerLayer, RoundingPlan, plan_of, with_rounded
from .to_tflite import write_tflite

if TYPE_CHECKING:
    pass

PROBE_FACES = 16  # rank the tensors; more give the same order
SHOWN = 6  # layers a note names


def mixed_precision(
    fp32: Artifact,
    path: Path,
    faces: PartedFaces,
    least_cosine: float,
    ranges: RangeMethod = "mse",
    progress: Callable[[str], None] = lambda line: None,
) -> Artifact:
    """Writes `fp32` in int8, with as few layers in float arithmetic as `least_cosine` allows.

    Each activation is rounded alone, and the loss of cosine it causes is its cost; costs are small and add up. Then
    the layers leave int8 one by one or with their neighbours, most cost per MAC first, until the file itself, run on
    faces that set no range, reaches the cosine. A float layer keeps int8 weights, so its file is no larger.

    Args:
        fp32: What `to_tflite` made.
        path: Where the file goes.
        faces: Some set the ranges and rank the layers, others decide when the file is accurate enough.
        least_cosine: What the mean cosine on the latter must reach.
        ranges: How they are set; see `activation_ranges`.
        progress: Told a line a step.

    Returns:
        The file; takes and gives int8. Its notes name the layers left float, what they gain and what they cost.

    Raises:
        ConversionError: No choice of layers comes that near.
    """
    from ...models.embedder import unit

    nhwc = np.ascontiguousarray(faces.fit.transpose(0, 2, 3, 1)).tobytes()
    content, seen = fp32.path.read_bytes(), activation_ranges(fp32.path, faces.fit, ranges)

    whole = best = quantised_content(fp32.path, w8a8(fp32.path), seen)
    plan, kept = plan_of(content, whole), frozenset[str]()
    before = after = cosine_of(whole, faces.judged, faces.exact)
    progress(f"int8 throughout: cosine {before:.5f}")
    if after < least_cosine:
        probe = faces.fit[:PROBE_FACES]
        own = unit(LiteRTSession(fp32.path).run(probe))
        costs = {
            tensor: max(0.0, 1 - cosine_of(pack(with_rounded(content, tensor, seen[tensor])), probe, own))
            for tensor in sorted(plan.rounded_tensors(frozenset()))
        }
        for kept in _fewer_and_fewer(plan, costs):
            best = quantised_content(fp32.path, _rows(fp32.path, plan, kept), seen)
            after = cosine_of(best, faces.judged, faces.exact)
            progress(f"{len(kept)} of {len(plan.layers)} layers in float: cosine {after:.5f}")
            if after >= least_cosine:
                break
        else:
            raise ConversionError(
                f"{path.name}: no choice of layers reaches cosine {least_cosine}; with {len(kept)} of them in float "
                f"it is {after:.5f}; lower the bound or take tflite-w8"
            )
    card = fp32.card.with_tools("ai-edge-quantizer").but(
        precision="w8a8",
        calibration_sha256=hashlib.sha256(nhwc).hexdigest(),
        rewrites=(*fp32.card.rewrites, *([Rewrite("float-layers", len(kept))] if kept else [])),
    )
    notes = _notes(plan, kept, before, after, len(faces.judged), len(best) - len(whole))
    return write_tflite(unpack(best), card, path, (*notes, *float_sums(content)))


def _fewer_and_fewer(plan: RoundingPlan, costs: Mapping[str, float]) -> Iterator[frozenset[str]]:
    """Gives growing sets of layers to keep float, the best bargain first, until nothing is left to gain."""
    kept: frozenset[str] = frozenset()
    work = {layer.name: layer.macs or layer.elements for layer in plan.layers}
    while True:
        cost = sum(costs[tensor] for tensor in plan.rounded_tensors(kept))
        bargains = []
        for more in _candidates(plan, kept):
            gain = cost - sum(costs[tensor] for tensor in plan.rounded_tensors(kept | more))
            bargains.append((gain / sum(work[name] for name in more), sorted(more)))
        if not bargains or (best := max(bargains))[0] <= 0:
            return
        kept |= frozenset(best[1])
        yield kept


def _candidates(plan: RoundingPlan, kept: frozenset[str]) -> set[frozenset[str]]:
    """Gives each layer alone, and the layers around each tensor, which free it together."""
    around: dict[str, set[str]] = {layer.name: {layer.name} for layer in plan.layers}
    for layer in plan.layers:
        for tensor in layer.reads:
            around.setdefault(tensor, set()).add(layer.name)
    alone = (frozenset({layer.name}) for layer in plan.layers)
    return {left for more in (*alone, *map(frozenset, around.values())) if (left := more - kept)}


def _rows(fp32: Path, plan: RoundingPlan, kept: frozenset[str]) -> Recipe:
    """Gives the quantiser's recipe: int8, but for the layers `kept`, and what only moves between float tensors."""
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.recipe_manager import RecipeManager

    manager, every = RecipeManager(), TFLOperationName.ALL_SUPPORTED
    manager.load_quantization_recipe(w8a8(fp32))
    rounded = plan.rounded_tensors(kept)
    moves = [result for result, tensor in plan.moved.items() if tensor not in rounded]
    bare = [layer.name for layer in plan.layers if layer.name in kept and not layer.weighted]
    for name in (*bare, *moves):
        manager.add_quantization_config(operator_scope(name), every, algorithm_key=AlgorithmName.NO_QUANTIZE)
    for layer in plan.layers:
        if layer.name in kept and layer.weighted:
            manager.add_weight_only_config(operator_scope(layer.name), every, num_bits=8)
    rows: Recipe = manager.get_quantization_recipe()
    return rows


def _notes(
    plan: RoundingPlan, kept: frozenset[str], before: float, after: float, faces: int, growth: int
) -> Iterator[Note]:
    judged = f"on {faces} faces that set no range"
    if not kept:
        text = f"int8 throughout is near enough: cosine {before:.5f} {judged}; no layer stays float"
        yield Note("precision", text)
        return
    floats: list[IntegerLayer] = [layer for layer in plan.layers if layer.name in kept]
    share = 1 - sum(layer.macs for layer in floats) / max(sum(layer.macs for layer in plan.layers), 1)
    names = ", ".join(layer.name for layer in floats[:SHOWN]) + (" and others" if len(floats) > SHOWN else "")
    yield Note("float-layers", f"{len(floats)} of {len(plan.layers)} int8 layers stay in float arithmetic: {names}")
    yield Note("precision", f"cosine {judged}: {after:.5f}, int8 throughout {before:.5f}")
    text = f"int8 computes {share:.1%} of the MACs; the file is {growth:+,} bytes against int8 throughout"
    yield Note("precision", text)
