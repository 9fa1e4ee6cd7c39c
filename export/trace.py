"""Where a file leaves its source: the values of both, layer by layer, under the names of the ONNX graph.

All files are made from one simplified ONNX graph, and keep its names where a layer is still the same layer. What has
no counterpart in the file (a clip that went into its convolution) is left out, not guessed.
"""

from __future__ import annotations

import math
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..faces.contract import Faces
from ..files import sha256_of
from ..models.embedder import Embedder, unit
from .artifact import Artifact, ConversionError, Format, Precision
from .coreml.mil_program import onnx_name
from .graph.adoption import OUTPUT
from .graph.reading import read_onnx
from .graph.to_onnx import adopt_onnx, to_onnx
from .reference import embed_source
from .targets import Source

if TYPE_CHECKING:
    import onnx

Array = NDArray[np.float32]
Values = dict[str, Array]  # ONNX name -> (N, ...) channels first

TOLERANCE: dict[Precision, float] = {"fp32": 1e-4, "fp16": 2e-2}
"""Largest difference of a layer, over its range, that rounding explains; integers have none, they lose by design."""

FACES = 4  # enough to tell a layer that is wrong
SOURCE_ITSELF = "(the graph all files are made from)"


@dataclass(frozen=True)
class TracedLayer:
    """One value of the graph, in the source and in the file."""

    name: str
    kind: str  # the ONNX operator that gives it
    difference: float  # the largest of any number, over the range of the source's
    cosine: float
    scaled: bool = False  # compared up to a factor for each channel, which a rewrite of the file may change


@dataclass(frozen=True)
class Trace:
    """All layers that source and file share, in the graph's order."""

    layers: tuple[TracedLayer, ...]
    missing: tuple[str, ...]  # values of the source that the file does not have
    tolerance: float | None

    @property
    def first(self) -> TracedLayer | None:
        """The first layer that rounding does not explain; None where none is, or the file computes in integers."""
        return next((one for one in self.layers if self.tolerance and not one.difference <= self.tolerance), None)

    @property
    def worst(self) -> TracedLayer:
        """The layer that is least like the source's."""
        return min(self.layers, key=lambda one: one.cosine)

    def verdict(self) -> str:
        """Gives the trace in a sentence."""
        if self.tolerance is None:
            worst = self.worst
            return f"integers lose by design: most at {worst.kind} {worst.name!r}, cosine {worst.cosine:.5f}"
        if self.first is None:
            return f"no layer leaves the source by more than {self.tolerance:.0e} of its range"
        return (
            f"leaves the source at {self.first.kind} {self.first.name!r}: by {self.first.difference:.1e} of its range, "
            f"{self.tolerance:.0e} is rounding; cosine {self.first.cosine:.5f}"
        )


def trace(source: Source, artifact: Artifact, faces: Faces) -> Trace:
    """Runs `faces` through source and file and compares every value that both have.

    Layers are those of the simplified ONNX graph; that its last one is what the source itself gives is the first row.
    Where the card says that channels were equalised, images are compared up to a positive factor for each channel
    (least squares); the embedding never is.

    Args:
        source: What the file was made from.
        artifact: An .onnx, .tflite or .mlpackage with its card.
        faces: (N, H, W, 3) uint8 crops; a few are enough.

    Raises:
        ValueError: The file was made from another source, or shares no layer with this one.
    """
    made_from = source.sha256 if isinstance(source, Embedder) else sha256_of(source.path)
    if artifact.card.source_sha256 not in ("", made_from):
        raise ValueError(f"{artifact.path.name} was made from another source than {source.name}")
    inputs = artifact.card.contract.preprocess(faces)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "source.onnx"
        if isinstance(source, Embedder):
            to_onnx(source, artifact.card, path)
        else:
            adopt_onnx(source.path, artifact.card, path)
        graph = read_onnx(path).graph
        theirs = onnx_values(path, inputs)
    ours = VALUES[artifact.format](artifact.path, inputs)
    own = embed_source(source, faces).embeddings
    layers = [_compared(SOURCE_ITSELF, "source", own, unit(theirs[OUTPUT].reshape(len(faces), -1)), False)]
    equalised = any(rewrite.startswith("equalise") for rewrite in artifact.card.rewrites)
    last_first = artifact.format == "tflite"
    rows, missing = _flattened(graph), []
    spelt = {name: onnx_name(name) if artifact.format == "coreml" else name for name in theirs}
    alike = Counter(spelt.values())  # "a/b" and "a.b" are both "a_b" there: neither is compared
    for name, kind in _computed(graph):
        value = ours.get(spelt[name]) if alike[spelt[name]] == 1 else None
        if value is None or value.size != theirs[name].size:
            missing.append(name)
            continue
        value = _channels_first(value, theirs[name], rows.get(name)) if last_first else value
        scaled = equalised and theirs[name].ndim == 4 and name != OUTPUT
        layers.append(_compared(name, kind, theirs[name], value.reshape(theirs[name].shape), scaled))
    if len(layers) < 2:
        raise ValueError(f"{artifact.path.name} has no value under a name of its source; export it anew")
    return Trace(tuple(layers), tuple(missing), TOLERANCE.get(artifact.card.precision))


def _compared(name: str, kind: str, source: Array, found: Array, scaled: bool) -> TracedLayer:
    a, b = source.astype(np.float64), found.astype(np.float64)
    if scaled:
        axes = (0, 2, 3)
        factor = (a * b).sum(axes, keepdims=True) / np.maximum((b * b).sum(axes, keepdims=True), 1e-30)
        b = b * np.maximum(factor, 0)
    spread = max(float(a.max() - a.min()), float(np.abs(a).max()), 1e-12)
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    cosine = float((a * b).sum()) / lengths if lengths else float(not a.any() and not b.any())
    difference = float(np.abs(a - b).max()) / spread
    return TracedLayer(name, kind, difference if np.isfinite(difference) else math.inf, cosine, scaled)


def _computed(graph: onnx.GraphProto) -> Iterator[tuple[str, str]]:
    for node in graph.node:
        if node.op_type != "Constant":
            yield node.output[0], node.op_type


def _flattened(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """Gives (C, H, W) of each row that was an image of several pixels: a channels-last file has it in that order."""
    shapes = {
        value.name: tuple(side.dim_value for side in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    rows: dict[str, tuple[int, ...]] = {}
    for node in graph.node:
        result = shapes.get(node.output[0], ())
        for name in node.input:
            image = rows.get(name) or (shapes[name][1:] if len(shapes.get(name, ())) == 4 else ())
            if len(result) == 2 and math.prod(image) == result[1] and math.prod(image[1:]) > 1:
                rows[node.output[0]] = image
    return rows


def _channels_first(value: Array, like: Array, row: tuple[int, ...] | None) -> Array:
    """Gives what a channels-last file holds in the source's order."""
    if row is not None:
        channels, height, width = row
        return value.reshape(len(value), height, width, channels).transpose(0, 3, 1, 2)
    return value.transpose(0, 3, 1, 2) if like.ndim == value.ndim == 4 else value


# ---- every value of a file


def onnx_values(path: Path, inputs: Array) -> Values:
    """Gives what onnxruntime computes for every node of a file, unoptimised."""
    import onnx
    import onnxruntime as ort

    model = read_onnx(path)
    names = [name for name, _ in _computed(model.graph)]
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        port = session.get_inputs()[0].name
        faces = [dict(zip(names, session.run(names, {port: face[None]}), strict=True)) for face in inputs]
    except Exception as error:  # onnxruntime has a class for each of its failures
        raise ConversionError(f"onnxruntime cannot run {path.name}: {str(error).splitlines()[0]}") from error
    values = _stacked(faces)
    # A quantised file clips and rounds a value where it is read, under this name.
    return values | {name: values[read] for name in values if (read := f"{name}_DequantizeLinear_Output") in values}


def tflite_values(path: Path, inputs: Array) -> Values:
    """Gives every tensor of a file as LiteRT's plain kernels compute it, dequantised, channels last."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    from .tflite.litert import dequantised, opened, quantised

    opened(path)  # which says in a sentence why it cannot be
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # keeping all values is for debugging: this is
        interpreter = Interpreter(
            model_path=str(path),
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,  # XNNPACK hides values
            experimental_preserve_all_tensors=True,
        )
    interpreter.allocate_tensors()
    (port,) = interpreter.get_input_details()
    constant = {int(index) for op in interpreter._get_ops_details() for index in op["inputs"]}
    constant -= {int(index) for op in interpreter._get_ops_details() for index in op["outputs"]}
    details = [one for one in interpreter.get_tensor_details() if one["name"] and one["index"] not in constant]
    faces = []
    for image in quantised(inputs.transpose(0, 2, 3, 1), port):
        interpreter.set_tensor(port["index"], image[None])
        interpreter.invoke()
        faces.append({one["name"]: dequantised(interpreter.get_tensor(one["index"]), one) for one in details})
    return _stacked(faces)


def coreml_values(path: Path, inputs: Array) -> Values:
    """Gives every value of a package's program as the evaluator computes it; names as `onnx_name` spells them."""
    from .coreml.evaluator import CoreMLEvaluator

    evaluator = CoreMLEvaluator(path)
    return _stacked(
        [
            {name.removesuffix("_cast_fp16"): value for name, value in evaluator.values(face[None]).items()}
            for face in inputs
        ]
    )


def _stacked(faces: list[dict[str, NDArray[Any]]]) -> Values:
    """Joins what each face gave; what is no value of one face (weights that the file dequantises) is left out."""
    return {
        name: np.concatenate([face[name] for face in faces]).astype(np.float32)
        for name, value in faces[0].items()
        if value.shape[:1] == (1,)
    }


VALUES: dict[Format, Callable[[Path, Array], Mapping[str, Array]]] = {
    "onnx": onnx_values,
    "tflite": tflite_values,
    "coreml": coreml_values,
}
