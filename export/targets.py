"""The kinds of files that can be made: each one function and one line in `TARGETS`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..faces.contract import InputContract
from ..models.embedder import Embedder
from .artifact import Artifact, Card, ConversionError, Precision
from .coreml.to_coreml import to_coreml
from .graph.equalise import equalise
from .graph.to_onnx import adopt_onnx, read_onnx, to_onnx
from .recipe import ExportRecipe
from .tflite.quantise import quantise_tflite
from .tflite.to_tflite import to_tflite

EQUALISATION_FACES = 64


@dataclass(frozen=True)
class ForeignOnnx:
    """An ONNX file that somebody else made, and what it must be fed."""

    path: Path
    name: str
    contract: InputContract
    licence: str = "unknown"


Source = Embedder | ForeignOnnx


@dataclass(frozen=True)
class Job:
    """What every maker may need."""

    source: Source
    card: Card
    calibration: NDArray[np.float32]  # (N, 3, H, W), preprocessed
    recipe: ExportRecipe


@dataclass(frozen=True)
class Target:
    """One kind of file: its ending, the target it is made from, and what makes it."""

    suffix: str
    base: str | None
    make: Callable[[Job, Artifact | None, Path], Artifact]


def _onnx(job: Job, base: Artifact | None, path: Path) -> Artifact:
    if isinstance(job.source, ForeignOnnx):
        return adopt_onnx(job.source.path, job.card, path)
    return to_onnx(job.source, job.card, path)


def _dynamic_onnx(job: Job, base: Artifact | None, path: Path) -> Artifact:
    if isinstance(job.source, ForeignOnnx):
        raise ConversionError(f"{job.source.path.name} is given as ONNX; a dynamic batch wants the PyTorch network")
    return to_onnx(job.source, job.card, path, dynamic=True)


def _tflite(job: Job, base: Artifact | None, path: Path) -> Artifact:
    assert base is not None
    return to_tflite(base.path, job.card, path)


def _quantised(precision: Precision) -> Callable[[Job, Artifact | None, Path], Artifact]:
    def make(job: Job, base: Artifact | None, path: Path) -> Artifact:
        assert base is not None
        return quantise_tflite(base, precision, path, job.calibration)

    return make


def _integer_tflite(job: Job, base: Artifact | None, path: Path) -> Artifact:
    """Quantises weights and activations; the channels around PReLUs are equalised before."""
    assert base is not None
    import onnx

    model = read_onnx(base.path)
    sites = 0
    # Measured on trained nets: 0.965 -> 0.996 cosine with PReLU; with ReLU6 there is nothing to gain.
    if any(node.op_type == "PRelu" for node in model.graph.node):
        model, sites = equalise(model, job.calibration[:EQUALISATION_FACES])
    card = job.card.but(rewrites=(f"equalise {sites} sites",) if sites else ())
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / base.path.name
        onnx.save(model, graph)
        fp32 = to_tflite(graph, card, graph.with_suffix(".tflite"))
        return quantise_tflite(fp32, "w8a8", path, job.calibration)


def _coreml(precision: Precision) -> Callable[[Job, Artifact | None, Path], Artifact]:
    def make(job: Job, base: Artifact | None, path: Path) -> Artifact:
        assert base is not None
        return to_coreml(base.path, job.card, path, precision)

    return make


TARGETS: dict[str, Target] = {
    "onnx": Target(".onnx", None, _onnx),
    "onnx-dynamic": Target(".dynamic.onnx", None, _dynamic_onnx),
    "tflite-fp32": Target(".tflite", "onnx", _tflite),
    "tflite-fp16": Target(".fp16.tflite", "tflite-fp32", _quantised("fp16")),
    "tflite-w8": Target(".w8.tflite", "tflite-fp32", _quantised("w8")),
    "tflite-w8a8": Target(".w8a8.tflite", "onnx", _integer_tflite),
    "coreml-fp32": Target(".mlpackage", "onnx", _coreml("fp32")),
    "coreml-fp16": Target(".fp16.mlpackage", "onnx", _coreml("fp16")),
    "coreml-w8": Target(".w8.mlpackage", "onnx", _coreml("w8")),
}


def with_bases(targets: tuple[str, ...]) -> list[str]:
    """Gives `targets` and what they are made from, bases first.

    >>> with_bases(("tflite-w8",))
    ['onnx', 'tflite-fp32', 'tflite-w8']
    """
    ordered: list[str] = []
    for target in targets:
        chain: list[str] = []
        step: str | None = target
        while step is not None:
            chain.insert(0, step)
            step = TARGETS[step].base
        ordered += [name for name in chain if name not in ordered]
    return ordered
