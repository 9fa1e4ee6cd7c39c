"""fp32 .tflite -> smaller: half precision, int8 weights, or integers throughout, by ai-edge-quantizer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...models.quiet import quiet
from ...models.tflite.tables import unpack
from ..artifact import Artifact, ConversionError, Note, Precision
from ..graph.composition import WIDE
from ..graph.ranges import Range, RangeMethod, activation_ranges
from .layouts import NORM_STEPS, SQUARED
from .rounding import sums_beside, sums_with_epsilon
from .to_tflite import write_tflite

Recipe = list[dict[str, Any]]
SHOWN = 5  # names in a note

FLOAT_IN_INT8 = tuple(
    "BATCH_MATMUL DIV EQUAL GELU HARD_SWISH MAXIMUM NOT_EQUAL RELU RSQRT SELECT SELECT_V2 SOFTMAX SQRT".split()
)
# as the quantiser names operators: by their results
WIDE_STEPS = rf"(/({'|'.join(NORM_STEPS)})|/{WIDE}/[^/;]*)(/as it lies)?;$"


def fp16(fp32: Path) -> Recipe:
    """Weights in half precision, arithmetic in single: half the file, the same speed."""
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.recipe_manager import RecipeManager

    manager = RecipeManager()
    manager.add_quantization_config(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        op_config=qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT),
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        ),
        algorithm_key=AlgorithmName.FLOAT_CASTING,
    )
    recipe: Recipe = manager.get_quantization_recipe()
    return recipe


def w8(fp32: Path) -> Recipe:
    """Weights in int8 with a step per channel, expanded when loaded: a third of the file, the same speed."""
    from ai_edge_quantizer import recipe

    rows: Recipe = recipe.weight_only_wi8_afp32()
    return rows


def w8_dynamic(fp32: Path) -> Recipe:
    """Weights in int8, activations in int8 as they come ("dynamic range"): float in and out, no faces set a range.

    A linear layer gives each row of its input a step of its own, so that one large value costs the other rows nothing:
    what hybrids of convolutions and attention need, whose activations have such values. A convolution has one step for
    its input. Layers of fewer than 1,024 weights stay float.
    """
    from ai_edge_quantizer import recipe

    rows: Recipe = recipe.dynamic_legacy_wi8_afp32()
    return rows


def w8a8(fp32: Path) -> Recipe:
    """Weights and activations in int8: a third of the file, and faster.

    What has no int8 kernel in XNNPACK (PReLU, GELU, hard-swish, divisions, bounds, attention) stays float between two
    conversions, which XNNPACK runs in one piece with the rest; so do the steps inside a norm, whose squares 8 bits
    cannot hold, and inside what exponentials are written for. So do the sums of a residual stream that layer norms
    read: each would round anew what all earlier layers added up, for a saving of 0.1 % of the instructions. So does
    the sum with an epsilon, which no int8 step of the sum can hold, and which XNNPACK refuses for that.
    """
    from ai_edge_quantizer import recipe
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.recipe_manager import RecipeManager

    manager = RecipeManager()
    manager.load_quantization_recipe(recipe.static_wi8_ai8())
    left = [(".*", getattr(TFLOperationName, name)) for name in FLOAT_IN_INT8]
    every = TFLOperationName.ALL_SUPPORTED
    content = fp32.read_bytes()
    names = (*sums_beside(content, SQUARED), *sums_with_epsilon(content))
    sums = [(operator_scope(name), every) for name in dict.fromkeys(names)]
    for scope, operator in (*left, (WIDE_STEPS, every), *sums):
        manager.add_quantization_config(scope, operator, algorithm_key=AlgorithmName.NO_QUANTIZE)
    rows: Recipe = manager.get_quantization_recipe()
    return rows


def w8a16(fp32: Path) -> Recipe:
    """Weights in int8, activations in int16: for digital signal processors; LiteRT runs it in plain kernels.

    Bounds stay float: the quantiser cannot give their constants, one number a channel, the step of what they bound.
    """
    from ai_edge_quantizer import recipe
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.recipe_manager import RecipeManager

    manager = RecipeManager()
    manager.load_quantization_recipe(recipe.static_wi8_ai16())
    manager.add_quantization_config(".*", TFLOperationName.MAXIMUM, algorithm_key=AlgorithmName.NO_QUANTIZE)
    rows: Recipe = manager.get_quantization_recipe()
    return rows


PRECISIONS: dict[Precision, Callable[[Path], Recipe]] = {
    "fp16": fp16,
    "w8": w8,
    "w8-dynamic": w8_dynamic,
    "w8a8": w8a8,
    "w8a16": w8a16,
}

NOTES: dict[Precision, tuple[Note, ...]] = {
    "w8a16": (
        Note("slow", "int16 activations are for processors that have them: LiteRT takes 100 times as long as for int8"),
    ),
}


def quantise_tflite(
    fp32: Artifact,
    precision: Precision,
    path: Path,
    calibration: NDArray[np.float32] | None = None,
    ranges: RangeMethod = "mse",
) -> Artifact:
    """Writes a float32 .tflite file again in `precision`, with its card brought up to date.

    The same file, precision and calibration give the same bytes.

    Args:
        fp32: What `to_tflite` made.
        precision: A key of `PRECISIONS`.
        path: Where the file goes.
        calibration: (N, 3, H, W) float32, preprocessed: the faces that set the ranges of "w8a8" and "w8a16".
        ranges: How they set them; see `activation_ranges`.

    Returns:
        The file; "w8a8" takes and gives int8, "w8a16" int16, the others float32.

    Raises:
        ConversionError: No such precision, no faces where some are needed, or the quantiser gives up.
    """
    if precision not in PRECISIONS:
        raise ConversionError(f"no TFLite precision {precision!r}; known: {', '.join(PRECISIONS)}")
    from ai_edge_quantizer.quantizer import Quantizer

    card = fp32.card.with_tools("ai-edge-quantizer").but(precision=precision)
    rows, seen = PRECISIONS[precision](fp32.path), None
    if Quantizer(str(fp32.path), rows).need_calibration:
        faces = _checked(calibration, fp32, precision)
        card = card.but(calibration_sha256=hashlib.sha256(faces.tobytes()).hexdigest())
        assert calibration is not None
        how: RangeMethod = "minmax" if precision == "w8a16" else ranges  # 65,536 steps gain nothing by clipping
        seen = activation_ranges(fp32.path, calibration, how)
    model = unpack(quantised_content(fp32.path, rows, seen))
    notes = float_sums(fp32.path.read_bytes()) if precision == "w8a8" else ()
    return write_tflite(model, card, path, notes=(*NOTES.get(precision, ()), *notes))


def float_sums(fp32: bytes) -> tuple[Note, ...]:
    """Says which sums `w8a8` leaves in float arithmetic, and why; those inside a norm are not listed."""
    reasons = {
        "of a stream that norms read, which int8 would round at each of them": sums_beside(fp32, SQUARED),
        "with an epsilon that no int8 step holds": sums_with_epsilon(fp32),
    }
    notes = []
    for reason, found in reasons.items():
        names = [name for name in found if not re.search(WIDE_STEPS, f"{name};")]
        if names:
            shown = ", ".join(names[:SHOWN]) + (" and others" if len(names) > SHOWN else "")
            notes.append(Note("float-sums", f"sums in float arithmetic: {len(names)} {reason} ({shown})"))
    return tuple(notes)


def operator_scope(result: str) -> str:
    """Gives the pattern of the quantiser's name of the operator that gives the tensor `result`."""
    return f"^{re.escape(result)};$"


def quantised_content(fp32: Path, rows: Recipe, ranges: Mapping[str, Range] | None = None) -> bytes:
    """Gives the .tflite file that the quantiser makes of `fp32` by `rows`, with `ranges` for its activations.

    Raises:
        ConversionError: The quantiser gives up.
    """
    from ai_edge_quantizer.quantizer import Quantizer

    bounds = None
    if ranges is not None:
        bounds = {
            name: {"min": np.full((1, 1), low), "max": np.full((1, 1), high)} for name, (low, high) in ranges.items()
        }
    with quiet():
        try:
            return bytes(Quantizer(str(fp32), rows).quantize(bounds).quantized_model)
        except (RuntimeError, ValueError, KeyError) as error:
            raise ConversionError(f"{fp32.name} cannot be quantised: {error}") from error


def _checked(calibration: NDArray[np.float32] | None, fp32: Artifact, precision: Precision) -> NDArray[np.float32]:
    """Gives (N, H, W, 3) float32 faces that can set ranges, or raises."""
    contract = fp32.card.contract
    if calibration is None or len(calibration) == 0:
        raise ConversionError(f"{precision} of {fp32.path.name} needs faces to set its ranges; pass calibration")
    if calibration.ndim != 4 or calibration.shape[1:] != (contract.channels, contract.height, contract.width):
        wanted = f"(N, {contract.channels}, {contract.height}, {contract.width})"
        raise ConversionError(f"calibration faces must be {wanted}, not {calibration.shape}")
    if not np.isfinite(calibration).all():
        raise ConversionError("calibration faces hold numbers that are not finite; ranges cannot be set by them")
    return np.ascontiguousarray(calibration.transpose(0, 2, 3, 1), np.float32)
