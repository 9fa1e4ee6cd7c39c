"""The kinds of files that can be made: each one function and one line in `TARGETS`."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..faces.contract import InputContract
from ..models.embedder import Embedder, unit
from .artifact import Artifact, Card, ConversionError, Precision
from .coreml.to_coreml import to_coreml
from .graph.batch import free_batch
from .graph.float16 import to_half
from .graph.qdq import quantise_onnx
from .graph.ranges import activation_ranges
from .graph.reading import read_onnx
from .graph.rewrites import Lowering
from .graph.to_onnx import adopt_onnx, to_onnx, write_onnx
from .ort_format import to_ort
from .recipe import ExportRecipe
from .formats import open_session
from .tflite.half_precision import half_arithmetic
from .tflite.mixed_precision import mixed_precision
from .tflite.quantise import quantise_tflite
from .tflite.to_tflite import to_tflite
from .to_executorch import to_executorch

JUDGED = 4  # every fourth face judges what the others set


@dataclass(frozen=True)
class ForeignOnnx:
    """An ONNX file that somebody else made, and what it must be fed."""

    path: Path
    name: str
    contract: InputContract
    licence: str = "unknown"


Source = Embedder | ForeignOnnx


@dataclass(frozen=True)
class ExportJob:
    """What every maker may need."""

    source: Source
    card: Card
    calibration: NDArray[np.float32]  # (N, 3, H, W), preprocessed
    recipe: ExportRecipe
    progress: Callable[[str], None] = lambda line: None  # told what takes long


Maker = Callable[[ExportJob, Artifact | None, Path], Artifact]
"""Makes one file of a job, from the file of its base."""


@dataclass(frozen=True)
class Target:
    """One kind of file: its ending, the target it is made from, and what makes it."""

    suffix: str
    base: str | None
    make: Maker


def _onnx(job: ExportJob, base: Artifact | None, path: Path) -> Artifact:
    if isinstance(job.source, ForeignOnnx):
        return adopt_onnx(job.source.path, job.card, path)
    return to_onnx(job.source, job.card, path)


def _dynamic_onnx(job: ExportJob, base: Artifact | None, path: Path) -> Artifact:
    if isinstance(job.source, ForeignOnnx):
        with tempfile.TemporaryDirectory() as folder:
            one = adopt_onnx(job.source.path, job.card, Path(folder) / "one.onnx")
            return write_onnx(free_batch(read_onnx(one.path), job.source.path.name), one.card, path, batch=None)
    return to_onnx(job.source, job.card, path, dynamic=True)


def _half_onnx(job: ExportJob, base: Artifact | None, path: Path) -> Artifact:
    assert base is not None
    return write_onnx(to_half(read_onnx(base.path)), base.card.but(precision="fp16"), path, batch=1)


def _integer_onnx(job: ExportJob, base: Artifact | None, path: Path) -> Artifact:
    """Quantises as for TFLite, with PReLUs rewritten: onnxruntime has no int8 kernel for them."""
    assert base is not None
    graph = Lowering.of(base).equalised(job.calibration).skipping().corrected(job.calibration)
    return quantise_onnx(graph.model, graph.card, path, job.calibration, job.recipe.ranges)


def _quick_onnx(job: ExportJob, base: Artifact | None, path: Path) -> Artifact:
    """Writes PReLUs as onnxruntime computes them fastest."""
    assert base is not None
    graph = _without_prelus(Lowering.of(base), "onnx")
    return write_onnx(graph.model, graph.card, path, batch=1)


def _ort(job: ExportJob, base: Artifact | None, path: Path) -> Artifact:
    assert base is not None
    graph = Lowering.of(base).skipping()
    return to_ort(graph.model, graph.card, path)


def _executorch(job: ExportJob, base: Artifact | None, path: Path) -> Artifact:
    if isinstance(job.source, ForeignOnnx):
        raise ConversionError(f"{job.source.path.name} is given as ONNX; executorch wants the PyTorch network")
    return to_executorch(job.source, job.card, path)


def _tflite(job: ExportJob, base: Artifact | None, path: Path) -> Artifact:
    assert base is not None
    return to_tflite(base.path, job.card, path)


def _half_tflite(job: ExportJob, base: Artifact | None, path: Path) -> Artifact:
    assert base is not None
    return quantise_tflite(base, "fp16", path)


def _half_arithmetic_tflite(job: ExportJob, base: Artifact | None, path: Path) -> Artifact:
    assert base is not None
    return half_arithmetic(base, path, job.calibration)


def _integer_weights_tflite(precision: Precision) -> Maker:
    def make(job: ExportJob, base: Artifact | None, path: Path) -> Artifact:
        assert base is not None
        return _quantised_tflite(job, Lowering.of(base).corrected(job.calibration), precision, path)

    return make


def _integer_tflite(job: ExportJob, base: Artifact | None, path: Path) -> Artifact:
    """Quantises weights and activations; channels are equalised before."""
    assert base is not None
    graph = Lowering.of(base).equalised(job.calibration).corrected(job.calibration)
    return _quantised_tflite(job, graph, "w8a8", path)


def _integer_only_tflite(job: ExportJob, base: Artifact | None, path: Path) -> Artifact:
    """Does the same with each PReLU written as two operators that int8 kernels exist for."""
    assert base is not None
    graph = _without_prelus(Lowering.of(base).equalised(job.calibration), "tflite-w8a8")
    return _quantised_tflite(job, graph.corrected(job.calibration), "w8a8", path)


def _mixed_tflite(job: ExportJob, base: Artifact | None, path: Path) -> Artifact:
    """Quantises as `_integer_tflite`, and leaves the layers float that cost most; every fourth face is their judge."""
    assert base is not None
    judged = job.calibration[::JUDGED]
    fit = np.delete(job.calibration, np.s_[::JUDGED], axis=0)
    if not len(fit):
        raise ConversionError(f"one face cannot set ranges and judge them; {path.name} wants two at least")
    exact = unit(open_session(base.path).run(judged))
    graph, recipe = Lowering.of(base).equalised(fit).corrected(fit), job.recipe
    with graph.saved() as saved:
        fp32 = to_tflite(saved, graph.card, saved.with_suffix(".tflite"))
        return mixed_precision(fp32, path, fit, judged, exact, recipe.least_int8_cosine, recipe.ranges, job.progress)


def _coreml(precision: Precision) -> Maker:
    def make(job: ExportJob, base: Artifact | None, path: Path) -> Artifact:
        assert base is not None
        recipe = job.recipe
        return to_coreml(
            base.path, job.card, path, precision, minimum_ios=recipe.minimum_ios, image=recipe.coreml_image
        )

    return make


def _integer_coreml(job: ExportJob, base: Artifact | None, path: Path) -> Artifact:
    """Quantises weights and activations, equalised and by ranges as for TFLite."""
    assert base is not None
    graph = Lowering.of(base).equalised(job.calibration).corrected(job.calibration)
    card = graph.card.but(calibration_sha256=hashlib.sha256(job.calibration.tobytes()).hexdigest())
    recipe = job.recipe
    with graph.saved() as saved:
        ranges = activation_ranges(saved, job.calibration, recipe.ranges)
        return to_coreml(
            saved, card, path, "w8a8", minimum_ios=recipe.minimum_ios, image=recipe.coreml_image, ranges=ranges
        )


def _quantised_tflite(job: ExportJob, graph: Lowering, precision: Precision, path: Path) -> Artifact:
    with graph.saved() as saved:
        fp32 = to_tflite(saved, graph.card, saved.with_suffix(".tflite"))
        return quantise_tflite(fp32, precision, path, job.calibration, job.recipe.ranges)


def _without_prelus(graph: Lowering, otherwise: str) -> Lowering:
    """Rewrites PReLUs; a file that would be the same as another is not made."""
    skipping = graph.skipping()
    if skipping is graph:
        raise ConversionError(f"{graph.card.model} has no PReLU with a slope per channel; take {otherwise}")
    return skipping


TARGETS: dict[str, Target] = {
    "onnx": Target(".onnx", None, _onnx),
    "onnx-dynamic": Target(".dynamic.onnx", None, _dynamic_onnx),
    "onnx-ort": Target(".ort.onnx", "onnx", _quick_onnx),
    "onnx-fp16": Target(".fp16.onnx", "onnx", _half_onnx),
    "onnx-w8a8": Target(".w8a8.onnx", "onnx", _integer_onnx),
    "ort": Target(".ort", "onnx", _ort),
    "executorch": Target(".pte", None, _executorch),
    "tflite-fp32": Target(".tflite", "onnx", _tflite),
    "tflite-fp16": Target(".fp16.tflite", "tflite-fp32", _half_tflite),
    "tflite-fp16-arithmetic": Target(".fp16-arithmetic.tflite", "tflite-fp32", _half_arithmetic_tflite),
    "tflite-w8": Target(".w8.tflite", "onnx", _integer_weights_tflite("w8")),
    "tflite-w8a8": Target(".w8a8.tflite", "onnx", _integer_tflite),
    "tflite-w8a8-skip": Target(".w8a8-skip.tflite", "onnx", _integer_only_tflite),
    "tflite-w8a8-mixed": Target(".w8a8-mixed.tflite", "onnx", _mixed_tflite),
    "tflite-w8a16": Target(".w8a16.tflite", "onnx", _integer_weights_tflite("w8a16")),
    "coreml-fp32": Target(".mlpackage", "onnx", _coreml("fp32")),
    "coreml-fp16": Target(".fp16.mlpackage", "onnx", _coreml("fp16")),
    "coreml-w8": Target(".w8.mlpackage", "onnx", _coreml("w8")),
    "coreml-w6": Target(".w6.mlpackage", "onnx", _coreml("w6")),
    "coreml-w4": Target(".w4.mlpackage", "onnx", _coreml("w4")),
    "coreml-w8a8": Target(".w8a8.mlpackage", "onnx", _integer_coreml),
}


def with_bases(targets: tuple[str, ...]) -> list[str]:
    """Gives `targets` and what they are made from, bases first.

    >>> with_bases(("tflite-fp16",))
    ['onnx', 'tflite-fp32', 'tflite-fp16']
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
