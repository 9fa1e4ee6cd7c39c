"""fp32 ONNX -> int8 weights in dense layers, whose inputs onnxruntime rounds to 8 bits as they come."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ...models.graph.view import GraphView, with_nodes_named
from ...models.quiet import quiet
from ...spelling import first_line
from ..artifact import Artifact, Card, ConversionError
from .qdq import ACROSS_CPUS
from .to_onnx import write_onnx

if TYPE_CHECKING:
    import onnx

DENSE = ("Gemm", "MatMul")


def quantise_dense_layers(model: onnx.ModelProto, card: Card, path: Path) -> Artifact:
    """Writes `model` with int8 weights in its dense layers; no faces set a range.

    Given:   x -> MatMul W -> y
    Result:  x -> DynamicQuantizeLinear -> MatMulInteger int8 W -> Cast, Mul by both steps -> y

    For hybrids of convolutions and attention, whose activations have a few large values that a range for all faces
    does not fit. Convolutions stay float: onnxruntime has a fast integer kernel for products alone.

    Args:
        model: Float32, batch 1, our names.
        card: Of `model`.
        path: Where to.

    Returns:
        The file; the same model and card give the same bytes.

    Raises:
        ConversionError: There are no dense layers, or onnxruntime's quantiser cannot express the network.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    view = GraphView(model.graph)
    if not any(node.op_type in DENSE and node.input[1] in view.constants for node in model.graph.node):
        raise ConversionError(f"{card.model} has no dense layers, which alone are rounded as they come; take onnx-w8a8")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        whole, small = folder / "whole.onnx", folder / "small.onnx"
        whole.write_bytes(with_nodes_named(model).SerializeToString())
        try:
            with quiet():
                quantize_dynamic(
                    whole, small, op_types_to_quantize=list(DENSE), per_channel=True, weight_type=QuantType.QInt8
                )
            result = onnx.load_model_from_string(small.read_bytes())
        except Exception as error:  # the quantiser raises its own kinds
            raise ConversionError(f"{card.model} cannot be quantised: {first_line(error)}") from error
    result.producer_name, result.producer_version = model.producer_name, model.producer_version
    del result.metadata_props[:]
    written = write_onnx(result, card.with_tools("onnxruntime").but(precision="w8-dynamic"), path, batch=1)
    return Artifact(written.path, written.format, written.card, notes=(ACROSS_CPUS,))
