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

BINS = 8192  # around zero; at least a quarter of them lie between a tensor's bounds
COUNTED = 2**20  # values of a tensor that fill its histogram, over all faces; the bounds are of all values
SMOOTHING = 0.95  # weight of the past faces in the moving mean
PERCENTILE = 99.99  # of a tensor's values lie within its range, on either side
STEPS = 255  # of int8
SHRINK = np.linspace(1, 0.1, 46)  # the shares of a range that are tried as its clipping bound


@dataclass
class ValueHistogram:
    """The values of one tensor over all faces, as they come."""

    low: float
    high: float
    smooth: Range  # moving mean of each face's least and largest
    width: float  # of a bin
    counts: NDArray[np.int64]  # (BINS,) how many values lie in each bin; half of the bins lie below zero

    @classmethod
    def of(cls, least: float, most: float) -> ValueHistogram:
        """Starts an empty one, with bins that reach as far as the bounds of the first face."""
        reach = max(abs(least), abs(most), 1e-20)  # of a tensor of zeros too
        width = 2.0 ** np.ceil(np.log2(reach / (BINS // 2)))
        return cls(least, most, (least, most), width, np.zeros(BINS, np.int64))

    def add(self, values: NDArray[np.float32], least: float, most: float) -> None:
        """Counts some values of one face, whose least and largest are given.

        A bin doubles its width, and takes in its neighbour, until the outermost value lies in one: the counts are
        those of bins that were as wide from the start.
        """
        self.low, self.high = min(self.low, least), max(self.high, most)
        past = self.smooth
        self.smooth = SMOOTHING * past[0] + (1 - SMOOTHING) * least, SMOOTHING * past[1] + (1 - SMOOTHING) * most
        while max(-least, most) > self.width * (BINS // 2):
            quarter = BINS // 4
            self.counts = np.pad(self.counts.reshape(-1, 2).sum(axis=1), (quarter, quarter))
            self.width *= 2
        bins = np.floor(values * np.float32(1 / self.width)) + np.float32(BINS // 2)
        self.counts += np.bincount(np.minimum(bins, BINS - 1).astype(np.intp), minlength=BINS)

    def edges(self) -> NDArray[np.float64]:
        """Gives (BINS + 1,) where the bins begin and end."""
        return np.asarray((np.arange(BINS + 1) - BINS // 2) * self.width, np.float64)


def activation_ranges(path: Path, inputs: NDArray[np.float32], how: RangeMethod = "mse") -> dict[str, Range]:
    """Gives the range that the int8 steps of each activation should span.

    The faces are run one by one, and only a histogram of each tensor is kept: any number fits.

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

    >>> histogram = ValueHistogram.of(-1, 1)
    >>> histogram.add(np.float32([-1, *[0.5] * 99_999]), -1, 0.5)
    >>> _percentile(histogram)
    (0.0, 0.500244140625)
    """
    share = np.cumsum(values.counts) / values.counts.sum()
    edges = values.edges()
    low = max(edges[np.searchsorted(share, 1 - PERCENTILE / 100, side="right")], values.low)
    high = min(edges[np.searchsorted(share, PERCENTILE / 100) + 1], values.high)
    return min(float(low), 0.0), max(float(high), 0.0)


def _mse(values: ValueHistogram) -> Range:
    """Tries shorter ranges, from above and from below in turns, until neither gains."""
    filled = np.flatnonzero(values.counts)
    centres = (values.edges()[filled] + 0.5 * values.width).astype(np.float32)
    counts = values.counts[filled].astype(np.float32)
    best = _minmax(values)
    for _ in range(4):
        before = best
        best = best[0], _least_loss([(best[0], values.high * share) for share in SHRINK], centres, counts)[1]
        best = _least_loss([(values.low * share, best[1]) for share in SHRINK], centres, counts)[0], best[1]
        if best == before:
            break
    return best


def _least_loss(candidates: list[Range], values: NDArray[np.float32], counts: NDArray[np.float32]) -> Range:
    """Gives the range whose int8 steps lie nearest to `values`, by squares."""
    candidates = [(min(low, 0.0), max(high, 0.0)) for low, high in candidates]
    low, high = np.array(candidates, np.float32).T[:, :, None]
    step = np.maximum(high - low, 1e-30) / STEPS
    zero = np.round(low / step)
    losses = ((values - np.clip(np.round(values / step), zero, zero + STEPS) * step) ** 2) @ counts
    return candidates[int(np.argmin(losses))]


RANGE_METHODS: dict[str, Callable[[ValueHistogram], Range]] = {
    "minmax": _minmax,
    "smooth": _smooth,
    "percentile": _percentile,
    "mse": _mse,
}


def _observe(capture: Capture, inputs: NDArray[np.float32], file: str) -> dict[str, ValueHistogram]:
    """Runs every face once. Of a large tensor every n-th value is counted, others of each face."""
    seen: dict[str, ValueHistogram] = {}
    for number, face in enumerate(inputs):
        for name, values in capture(face[None]).items():
            least, most = float(values.min()), float(values.max())
            if not np.isfinite((least, most)).all():
                raise ConversionError(f"{file}: {name!r} holds numbers that are not finite; it has no range")
            every = -(-values.size * len(inputs) // COUNTED)
            histogram = seen.setdefault(name, ValueHistogram.of(least, most))
            histogram.add(values.reshape(-1)[number % every :: every], least, most)
    return seen


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
