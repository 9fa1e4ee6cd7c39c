"""From an ONNX graph to int8 .tflite files: what is rewritten before each way, and the fastest of all."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..artifact import Artifact, Precision
from ..calibration import PartedFaces
from ..graph.ranges import RangeMethod
from ..graph.rewrites import CalibratedGraphs, RewriteChain
from .fastest_int8 import FileCost, WayToInt8, fastest_int8
from .mixed_dynamic import mixed_dynamic
from .mixed_precision import mixed_precision
from .quantise import quantise_tflite
from .to_tflite import to_tflite, write_tflite_card

Progress = Callable[[str], None]


def quantised(
    graph: RewriteChain, precision: Precision, faces: NDArray[np.float32], ranges: RangeMethod, path: Path
) -> Artifact:
    """Writes a rewritten graph in one precision; (N, C, H, W) preprocessed `faces` set the ranges that it needs."""
    with _in_float(graph) as fp32:
        return quantise_tflite(fp32, precision, path, faces, ranges)


def static_int8(graphs: CalibratedGraphs, ranges: RangeMethod, path: Path) -> Artifact:
    """Writes a network with weights and activations in int8; channels are equalised before."""
    return quantised(graphs.static, "w8a8", graphs.faces, ranges, path)


def int8_weights(graphs: CalibratedGraphs, precision: Precision, ranges: RangeMethod, path: Path) -> Artifact:
    """Writes a network with weights in int8, and activations as `precision` says; biases are corrected before."""
    return quantised(graphs.corrected, precision, graphs.faces, ranges, path)


def mixed_int8(
    graphs: CalibratedGraphs, faces: PartedFaces, least: float, ranges: RangeMethod, path: Path, progress: Progress
) -> Artifact:
    """Writes it as `static_int8`, but for the most sensitive layers, which stay float: see `mixed_precision`."""
    with _in_float(graphs.static) as fp32:
        return mixed_precision(fp32, path, faces, least, ranges, progress)


def fastest(
    base: Artifact,
    faces: PartedFaces,
    least: float,
    ranges: RangeMethod,
    path: Path,
    cost: FileCost,
    progress: Progress,
) -> Artifact:
    """Makes files in every way, and keeps the fastest that is near enough to its source.

    Args:
        base: An fp32 ONNX file.
        faces: Some set the ranges, others judge the files.
        least: What the mean cosine to the source must reach on the latter.
        ranges: How the former set them; see `activation_ranges`.
        path: Where the file goes.
        cost: Which file is the faster one.
        progress: Told a line for each way.

    Returns:
        The file, with the trade-off in its notes.

    Raises:
        ConversionError: No way comes that near.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        fp32 = to_tflite(base.path, base.card, folder / "fp32.tflite")
        graphs = CalibratedGraphs(base, faces.fit)
        static, dynamic, weights = (folder / f"{name}.tflite" for name in ("w8a8", "w8-dynamic", "w8"))
        ways = {
            "w8a8": WayToInt8(
                partial(static_int8, graphs, ranges, static),
                partial(mixed_int8, graphs, faces, least, ranges, folder / "w8a8-mixed.tflite", progress),
            ),
            "w8-dynamic": WayToInt8(
                partial(int8_weights, graphs, "w8-dynamic", ranges, dynamic),
                partial(_mixed_dynamic, graphs, faces, least, folder / "w8-dynamic-mixed.tflite", progress),
            ),
            "w8": WayToInt8(partial(int8_weights, graphs, "w8", ranges, weights)),
        }
        taken = fastest_int8(fp32.path, ways, faces, least, cost, progress)
        write_tflite_card(taken.path, taken.card, path)
    return dataclasses.replace(taken, path=path)


def _mixed_dynamic(
    graphs: CalibratedGraphs, faces: PartedFaces, least: float, path: Path, progress: Progress
) -> Artifact:
    with _in_float(graphs.corrected) as fp32:
        return mixed_dynamic(fp32, path, faces, least, progress)


@contextmanager
def _in_float(graph: RewriteChain) -> Iterator[Artifact]:
    with graph.saved() as saved:
        yield to_tflite(saved, graph.card, saved.with_suffix(".tflite"))
