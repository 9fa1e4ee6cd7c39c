"""Bias correction: each bias compensates the mean shift that int8 weights cause in its channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...models.graph.view import GraphView, attribute, copied
from .intermediates import capture_of, session_of

if TYPE_CHECKING:
    import onnx

FACES = 64  # that show the means, where there are more
LARGEST_STEP = 127  # of int8 weights, symmetric and with a step per output channel


def correct_biases(model: onnx.ModelProto, inputs: NDArray[np.float32]) -> tuple[onnx.ModelProto, int]:
    """Lowers each bias by the mean shift that rounding its channel's weights to int8 causes.

    Given:   conv W, b                    W becomes W + E when rounded; its inputs have the mean m
    Result:  conv W, b - E * m            rounded to int8, each channel has the mean it had before

    Errors of rounding are many and small, but behind a ReLU all inputs are positive, and they add up. A layer is
    linear, so one run that takes the mean of its input gives the mean of its error.

    Args:
        model: float32, batch 1; changed in a copy, which is only useful as the source of an int8 file.
        inputs: (N, 3, H, W) float32, preprocessed faces, of which at most `FACES` show the means.

    Returns:
        The network, and how many layers have another bias.

    Raises:
        ValueError: There are no faces.

    Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019,
    sec. 4.2, with means of data in place of those of batch norms.
    """
    if not len(inputs):
        raise ValueError("bias correction needs faces to measure the inputs' means; pass at least one")
    result = copied(model)
    view = GraphView(result.graph)
    layers = [node for node in result.graph.node if _is_layer(view, node)]
    means = _means(result, sorted({node.input[0] for node in layers}), inputs) if layers else {}
    for node in layers:
        exact = view.constants[node.input[1]]
        filters = exact.T if _has_filters_last(node) else exact
        error = rounded_to_int8(filters) - filters
        shift = _output_mean(
            node, error.T if _has_filters_last(node) else error, means[node.input[0]], result.opset_import
        )
        bias = view.constants[node.input[2]] if len(node.input) > 2 else np.zeros(len(shift), np.float32)
        name = f"{node.output[0]}/corrected"  # a name of its own: others may share the old one
        node.input[:] = [*node.input[:2], view.set_constant(name, (bias - shift).astype(np.float32))]
    view.drop_unread()
    return result, len(layers)


def rounded_to_int8(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rounds weights to int8 and back, with one step per output channel, the first axis.

    >>> rounded_to_int8(np.float32([[127, 0.6], [254, 3.2]])).tolist()
    [[127.0, 1.0], [254.0, 4.0]]
    """
    largest = np.abs(weights).max(axis=tuple(range(1, weights.ndim)), keepdims=True)
    step = np.maximum(largest, 1e-30) / LARGEST_STEP
    return np.asarray(np.round(weights / step) * step, np.float32)


def _is_layer(view: GraphView, node: onnx.NodeProto) -> bool:
    """Says whether the weights are constant, and the bias is constant or left out."""
    scaled = any(attribute(node, name, 1) != 1 for name in ("alpha", "beta"))
    return node.op_type in ("Conv", "Gemm") and not scaled and view.has_constant_weights(node)


def _has_filters_last(node: onnx.NodeProto) -> bool:
    """Says whether the weights' last axis is the output channel, not the first."""
    return node.op_type == "Gemm" and not attribute(node, "transB", 0)


def _means(model: onnx.ModelProto, names: list[str], inputs: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """Gives the mean of each tensor over some inputs, element by element."""
    capture = capture_of(model, names)
    sums: dict[str, NDArray[np.float64]] = {}
    shown = inputs[:: -(-len(inputs) // FACES)]
    for face in shown:
        for name, values in capture(face[None]).items():
            if name in sums:
                sums[name] += values
            else:
                sums[name] = values.astype(np.float64)
    return {name: total / len(shown) for name, total in sums.items()}


def _output_mean(
    node: onnx.NodeProto,
    weights: NDArray[np.float32],
    mean: NDArray[np.float64],
    opset: Sequence[onnx.OperatorSetIdProto],
) -> NDArray[np.float64]:
    """Gives (C,) the mean result of `node` with `weights`, no bias and the input `mean`."""
    import onnx

    alone = onnx.NodeProto()
    alone.CopyFrom(node)
    alone.input[:], alone.output[:] = ["mean", "weights"], ["result"]
    graph = onnx.helper.make_graph(
        [alone],
        "layer",
        [onnx.helper.make_tensor_value_info("mean", onnx.TensorProto.FLOAT, mean.shape)],
        [onnx.helper.make_tensor_value_info("result", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(weights), "weights")],
    )
    session = session_of(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9))
    result = session.run(None, {"mean": mean.astype(np.float32)})[0].astype(np.float64)
    return np.asarray(result.mean(axis=(0, *range(2, result.ndim))))
