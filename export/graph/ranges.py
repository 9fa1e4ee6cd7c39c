"""Activation ranges for int8, measured on calibration faces: the same for every format."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...models.graph.view import GraphView
from ..artifact import ConversionError
from .intermediates import Capture, capture_of

RangeMethod = Literal["minmax", "smooth", "percentile", "mse"]
Range = tuple[float, float]

BINS = 2048
SMOOTHING = 0.95  # weight of the past faces in the moving mean
PERCENTILE = 99.99  # of a tensor's values lie within its range, on either side
STEPS = 255  # of int8
SHRINK = np.linspace(1, 0.1, 46)  # the shares of a range that are tried as its clipping bound


@dataclass(frozen=True)
class ValueHistogram:
    """The values of one tensor over all faces."""

    low: float
    high: float
    smooth: Range  # moving mean of each face's least and largest
    counts: NDArray[np.int64]  # (BINS,) how many values lie in each part of low to high


def activation_ranges(path: Path, inputs: NDArray[np.float32], how: RangeMethod = "mse") -> dict[str, Range]:
    """Gives the range that the int8 steps of each activation should span.

    The faces are run one by one, twice, and only a histogram of each tensor is kept.

    Args:
        path: A float32 network: .onnx or .tflite. The latter's tensors bear the names of the ONNX file's.
        inputs: (N, 3, H, W) float32, preprocessed.
        how: "minmax": every value seen; "smooth": the moving mean of each face's bounds; "percentile": without the
            outermost values on either side; "mse": where rounding and clipping together cost least.

    Returns:
        (low, high) of every float tensor that is computed, and of the input, by its name; low <= 0 <= high.

    Raises:
        ValueError: No faces, or no such way.
        ConversionError: The network gives numbers that are not finite.

    Source: Nagel et al., A White Paper on Neural Network Quantization, 2021, sec. 3.1.
    """
    if how not in RANGE_METHODS:
        raise ValueError(f"no ranges {how!r}; known: {', '.join(RANGE_METHODS)}")
    if not len(inputs):
        raise ValueError("activation ranges need calibration faces; pass at least one")
    capture = _onnx(path) if path.suffix == ".onnx" else _tflite(path)
    return {name: RANGE_METHODS[how](values) for name, values in _observe(capture, inputs, path.name).items()}


def _minmax(values: ValueHistogram) -> Range:
    return min(values.low, 0.0), max(values.high, 0.0)


def _smooth(values: ValueHistogram) -> Range:
    return min(values.smooth[0], 0.0), max(values.smooth[1], 0.0)


def _percentile(values: ValueHistogram) -> Range:
    """Leaves out the outermost values, to a bin's width.

    >>> _percentile(ValueHistogram(-1, 1, (-1, 1), np.array([1, *[0] * 1023, *[10**6] * 1023, 1])))
    (0.0, 0.9990234375)
    """
    share = np.cumsum(values.counts) / values.counts.sum()
    edges = np.linspace(values.low, values.high, BINS + 1)
    low = edges[np.searchsorted(share, 1 - PERCENTILE / 100, side="right")]
    high = edges[np.searchsorted(share, PERCENTILE / 100) + 1]
    return min(float(low), 0.0), max(float(high), 0.0)


def _mse(values: ValueHistogram) -> Range:
    """Tries shorter ranges, from above and from below in turns, until neither gains."""
    low, high = _minmax(values)
    width = (values.high - values.low) / BINS
    filled = np.flatnonzero(values.counts)
    centres, counts = values.low + (filled + 0.5) * width, values.counts[filled]
    best = low, high
    for _ in range(4):
        before = best
        best = best[0], float(_least_loss([(best[0], high * share) for share in SHRINK], centres, counts)[1])
        best = float(_least_loss([(low * share, best[1]) for share in SHRINK], centres, counts)[0]), best[1]
        if best == before:
            break
    return best


def _least_loss(candidates: list[Range], values: NDArray[np.floating], counts: NDArray[np.int64]) -> Range:
    """Gives the range whose int8 steps lie nearest to `values`, by squares."""
    losses = []
    for low, high in candidates:
        step = max(high - low, 1e-30) / STEPS
        zero = np.round(low / step)
        rounded = np.clip(np.round(values / step), zero, zero + STEPS) * step
        losses.append(((values - rounded) ** 2 * counts).sum())
    return candidates[int(np.argmin(losses))]


RANGE_METHODS: dict[str, Callable[[ValueHistogram], Range]] = {
    "minmax": _minmax,
    "smooth": _smooth,
    "percentile": _percentile,
    "mse": _mse,
}


def _observe(capture: Capture, inputs: NDArray[np.float32], file: str) -> dict[str, ValueHistogram]:
    """Runs all faces twice: for the bounds, then for the histograms between them."""
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    smooth: dict[str, Range] = {}
    for face in inputs:
        for name, values in capture(face[None]).items():
            least, most = float(values.min()), float(values.max())
            if not np.isfinite((least, most)).all():
                raise ConversionError(f"{file}: {name!r} holds numbers that are not finite; it has no range")
            low[name], high[name] = min(low.get(name, least), least), max(high.get(name, most), most)
            past = smooth.get(name, (least, most))
            smooth[name] = (
                SMOOTHING * past[0] + (1 - SMOOTHING) * least,
                SMOOTHING * past[1] + (1 - SMOOTHING) * most,
            )
    counts = {name: np.zeros(BINS, np.int64) for name in low}
    for face in inputs:
        for name, values in capture(face[None]).items():
            bins = (values.reshape(-1) - low[name]) * (BINS / max(high[name] - low[name], 1e-30))
            counts[name] += np.bincount(np.minimum(bins, BINS - 1).astype(np.intp), minlength=BINS)
    return {name: ValueHistogram(low[name], high[name], smooth[name], counts[name]) for name in low}


def _onnx(path: Path) -> Capture:
    """Runs an ONNX file with every float tensor handed out."""
    import onnx

    from ...models.graph.reading import read_onnx

    graph = (model := onnx.shape_inference.infer_shapes(read_onnx(path))).graph
    known = (*graph.input, *graph.value_info, *graph.output)
    floats = {value.name for value in known if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    entering = [value.name for value in GraphView(graph).entries()]
    computed = [name for node in graph.node if node.op_type != "Constant" for name in node.output]
    return capture_of(model, [name for name in (*entering, *computed) if name in floats])


def _tflite(path: Path) -> Capture:
    """Runs a .tflite file that keeps every tensor."""
    from ai_edge_litert.interpreter import Interpreter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that keeping all tensors takes memory
        interpreter = Interpreter(model_path=str(path), num_threads=1, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    port = interpreter.get_input_details()[0]
    tensors = [(row["name"], row["index"]) for row in _computed(interpreter)]

    def capture(face: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        image = np.ascontiguousarray(face.transpose(0, 2, 3, 1))
        interpreter.set_tensor(port["index"], image)
        interpreter.invoke()
        return {port["name"]: image, **{name: interpreter.get_tensor(index) for name, index in tensors}}

    return capture


def _computed(interpreter: Any) -> Iterable[dict[str, Any]]:
    results = {index for operator in interpreter._get_ops_details() for index in operator["outputs"]}
    return (row for row in interpreter.get_tensor_details() if row["index"] in results and row["dtype"] == np.float32)
