"""fp32 ONNX -> int8 ONNX: each layer between quantise and dequantise nodes, which onnxruntime runs in integers."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...models.graph.channel_paths import NORMS
from ...models.graph.norm_idioms import recognise_norms
from ...models.graph.view import copied, with_nodes_named, with_shapes
from ...spelling import first_line
from ..artifact import Artifact, Card, ConversionError, Note
from .float16 import after_the_weights
from .ranges import Range, RangeMethod, activation_ranges
from .to_onnx import write_onnx

if TYPE_CHECKING:
    import onnx

OPERATORS = (
    "Add",
    "AveragePool",
    "Clip",
    "Concat",
    "Conv",
    "Flatten",
    "Gemm",
    "GlobalAveragePool",
    "MatMul",
    "MaxPool",
    "Mul",
    "Pad",
    "Relu",
    "Reshape",
    "Transpose",
)
"""What is computed in int8; the rest stays float32 between two conversions."""

ELEMENTWISE = ("Add", "Mul")
"""Of these, what stays float32 in a network with layer norms: residual streams and GELUs, which 8 bits blur."""

OLDEST_OPSET = 13  # the first that dequantises by channel

ACROSS_CPUS = Note(
    "precision",
    "onnxruntime's int8 kernels on ARM64 do not give the bits that those on x86 give: verify the accuracy on a phone",
)


def quantise_onnx(
    model: onnx.ModelProto, card: Card, path: Path, calibration: NDArray[np.float32], ranges: RangeMethod = "mse"
) -> Artifact:
    """Writes `model` with int8 weights, a step per channel, and uint8 activations; input and output are float32.

    Given:   x -> Conv W, b -> y
    Result:  x -> Q -> DQ -> Conv DQ(int8 W), DQ(int32 b) -> Q -> DQ -> y

    Activations are uint8, not int8: onnxruntime makes the same integer layers of them on x86 and ARM64, but leaves a
    third of int8 convolutions float on x86, so that measurements there would not be valid for a phone. Cores
    without VNNI (x86 before 2019) may overflow in such layers; phone cores do not.

    Args:
        model: Float32, batch 1, our names; its PReLUs, for which there is no integer kernel, rewritten.
        card: Of `model`.
        path: Where to.
        calibration: (N, 3, H, W) float32, preprocessed: the faces that set the ranges.
        ranges: How they set them; see `activation_ranges`.

    Returns:
        The file; the same model, card and calibration give the same bytes.

    Raises:
        ConversionError: onnxruntime's quantiser cannot express the network.
        ValueError: There are no faces.
    """
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "float.onnx"
        graph.write_bytes(model.SerializeToString())
        seen = activation_ranges(graph, calibration, ranges)
    quantised = to_qdq(model, seen)
    card = card.with_tools("onnxruntime").but(
        precision="w8a8",
        calibration_sha256=hashlib.sha256(np.ascontiguousarray(calibration).tobytes()).hexdigest(),
    )
    return replace(write_onnx(quantised, card, path, batch=1), notes=(ACROSS_CPUS,))


def to_qdq(model: onnx.ModelProto, ranges: Mapping[str, Range]) -> onnx.ModelProto:
    """Gives `model` with every layer of `OPERATORS` between quantise and dequantise nodes.

    What follows the last weights stays float32: an L2 norm has nothing to gain by int8.

    Args:
        model: Float32.
        ranges: (low, high) of every activation, by its name.

    Raises:
        ConversionError: onnxruntime's quantiser cannot express the network.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    normed = _has_norms(model)
    operators = [kind for kind in OPERATORS if not (normed and kind in ELEMENTWISE)]
    named = with_nodes_named(_of_an_opset_that_knows(model))
    bounds = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    try:
        quantiser = QDQQuantizer(
            named,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, bounds),
            nodes_to_quantize=[],
            nodes_to_exclude=sorted(after_the_weights(named.graph)),
            op_types_to_quantize=operators,
            extra_options={},
        )
        quantiser.quantize_model()
        quantiser.model.topological_sort()
        result: onnx.ModelProto = quantiser.model.model
        result.producer_name, result.producer_version = model.producer_name, model.producer_version
        onnx.checker.check_model(result)
    except Exception as error:  # the quantiser, the checker and protobuf raise their own kinds
        raise ConversionError(f"the network cannot be quantised: {first_line(error)}") from error
    return result


def _of_an_opset_that_knows(model: onnx.ModelProto) -> onnx.ModelProto:
    """Gives `model`, of `OLDEST_OPSET` at least."""
    import onnx

    if max(one.version for one in model.opset_import if one.domain in ("", "ai.onnx")) < OLDEST_OPSET:
        try:
            return onnx.version_converter.convert_version(model, OLDEST_OPSET)
        except Exception as error:
            raise ConversionError(f"the network cannot be brought to opset {OLDEST_OPSET}: {error}") from error
    return model


def _has_norms(model: onnx.ModelProto) -> bool:
    """Says whether there are layer norms or the like, be they spelt out."""
    whole = with_shapes(copied(model))
    recognise_norms(whole.graph)
    return any(node.op_type in NORMS for node in whole.graph.node)
