"""The kinds of files that can be made, a function and a line in `TARGETS` each; importing it loads no converter."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..faces.contract import InputContract
from ..files import checked_name, sha256_of
from ..models.graph.reading import read_onnx
from ..models.network_conversion import ConvertedNetwork, onnx_origin
from ..spelling import known_names
from .artifact import Artifact, Card, ConversionError, Precision
from .calibration import parted
from .coreml.to_coreml import to_coreml
from .graph.batch import free_batch
from .graph.dynamic_int8 import quantise_dense_layers
from .graph.float16 import to_half
from .graph.qdq import quantise_onnx
from .graph.ranges import RangeMethod, activation_ranges
from .graph.rewrites import CalibratedGraphs, RewriteChain
from .graph.to_onnx import adopted_graph, exported_graph, to_onnx, write_onnx
from .ort_format import to_ort
from .tflite.fastest_int8 import FileCost, time_here
from .tflite.half_precision import half_arithmetic
from .tflite.int8_ways import fastest, int8_weights, mixed_int8, quantised, static_int8
from .tflite.quantise import quantise_tflite
from .tflite.to_tflite import to_tflite
from .to_executorch import to_executorch

if TYPE_CHECKING:
    import onnx

    from ..models.embedder import Embedder

TRACED_BY, FOLDED_BY = ("torch", "onnxscript"), ("onnx", "onnxsim")  # the packages that make an ONNX graph


@dataclass(frozen=True)
class ForeignOnnx:
    """An ONNX file that somebody else made, and what its input must be."""

    path: Path  # of the ONNX file
    name: str
    contract: InputContract
    licence: str = "unknown"
    output: str = ""  # the name of the embedding; "": the only output that can be it
    converted: ConvertedNetwork | None = None  # the file of another tool that the ONNX file was made from

    def __post_init__(self) -> None:
        """Refuses a name that is a path: files are called by it."""
        checked_name(self.name, "network")

    @property
    def ancestry(self) -> tuple[Mapping[str, Any], ...]:
        """Where it comes from, as an embedder's `ancestry`."""
        return (onnx_origin(self.path) if self.converted is None else self.converted.origin,)


Source: TypeAlias = "Embedder | ForeignOnnx"


def source_sha256(source: Source) -> str:
    """Gives the SHA-256 that files made from `source` name: of its weights, or of the file that it is in."""
    if not isinstance(source, ForeignOnnx):
        return source.sha256
    return sha256_of(source.path) if source.converted is None else source.converted.sha256


class ExportSettings(Protocol):
    """The fields of an `ExportRecipe` that makers read."""

    @property
    def ranges(self) -> RangeMethod: ...  # noqa: D102

    @property
    def least_int8_cosine(self) -> float: ...  # noqa: D102

    @property
    def least_mixed_cosine(self) -> float: ...  # noqa: D102

    @property
    def minimum_ios(self) -> int: ...  # noqa: D102

    @property
    def coreml_image(self) -> bool: ...  # noqa: D102


@dataclass(frozen=True)
class ExportJob:
    """What a maker may need besides the file that it starts from."""

    source: Source
    card: Card
    calibration: NDArray[np.float32]  # (N, 3, H, W), preprocessed
    recipe: ExportSettings
    progress: Callable[[str], None] = lambda line: None  # receives a line for each step that takes long
    int8_cost: Callable[[], FileCost] = time_here  # which of several int8 files is the faster one

    @cached_property
    def graph(self) -> tuple[onnx.ModelProto, Card]:
        """The source as an ONNX graph for one face, and its card: traced once, whatever is made of it."""
        if isinstance(self.source, ForeignOnnx):
            return adopted_graph(self.source.path, self.card.with_tools(*FOLDED_BY), self.source.output)
        return exported_graph(self.source, self.card.with_tools(*TRACED_BY, *FOLDED_BY))

    def calibrated(self, base: Artifact) -> CalibratedGraphs:
        """Gives what the int8 files of `base` start from, which all targets of the job share."""
        return self._calibrated.setdefault(base.path, CalibratedGraphs(base, self.calibration))

    @cached_property
    def _calibrated(self) -> dict[Path, CalibratedGraphs]:
        return {}


@dataclass(frozen=True)
class FromSource:
    """Makes a file from the source itself."""

    make: Callable[[ExportJob, Path], Artifact]
    base: None = None

    def __call__(self, job: ExportJob, files: Mapping[str, Artifact], path: Path) -> Artifact:
        """Writes the file at `path`."""
        return self.make(job, path)


@dataclass(frozen=True)
class FromFile:
    """Makes a file from that of another target, its base."""

    base: str
    make: Callable[[ExportJob, Artifact, Path], Artifact]

    def __call__(self, job: ExportJob, files: Mapping[str, Artifact], path: Path) -> Artifact:
        """Writes the file at `path`; `files` holds the base."""
        return self.make(job, files[self.base], path)


@dataclass(frozen=True)
class Target:
    """One kind of file."""

    format: str  # a key of `FORMATS`
    suffix: str  # after the model's name
    make: FromSource | FromFile
    precision: Precision = "fp32"
    calibrated: bool = False  # the calibration faces decide what it computes


def _onnx(job: ExportJob, path: Path) -> Artifact:
    return write_onnx(*job.graph, path, batch=1)


def _dynamic_onnx(job: ExportJob, path: Path) -> Artifact:
    """Frees the batch of the graph for one face; a network of which that cannot be proven is traced again."""
    graph, card = job.graph
    try:
        name = job.source.path.name if isinstance(job.source, ForeignOnnx) else job.source.name
        return write_onnx(free_batch(graph, name), card, path, batch=None)
    except ConversionError:
        if isinstance(job.source, ForeignOnnx):
            raise
        return to_onnx(job.source, job.card.with_tools(*TRACED_BY, *FOLDED_BY), path, dynamic=True)


def _half_onnx(job: ExportJob, base: Artifact, path: Path) -> Artifact:
    card = base.card.with_tools("onnxruntime").but(precision="fp16")
    return write_onnx(to_half(read_onnx(base.path)), card, path, batch=1)


def _integer_onnx(job: ExportJob, base: Artifact, path: Path) -> Artifact:
    """Quantises as for TFLite, with PReLUs rewritten, for which onnxruntime has no int8 kernel."""
    graph = job.calibrated(base).levelled.skipping().corrected(job.calibration)
    return quantise_onnx(graph.model, graph.card, path, job.calibration, job.recipe.ranges)


def _dynamic_int8_onnx(job: ExportJob, base: Artifact, path: Path) -> Artifact:
    graph = job.calibrated(base).folded
    return quantise_dense_layers(graph.model, graph.card, path)


def _quick_onnx(job: ExportJob, base: Artifact, path: Path) -> Artifact:
    """Writes PReLUs as onnxruntime computes them fastest."""
    graph = _without_prelus(RewriteChain.of(base), "onnx")
    return write_onnx(graph.model, graph.card, path, batch=1)


def _ort(job: ExportJob, base: Artifact, path: Path) -> Artifact:
    graph = RewriteChain.of(base).skipping()
    return to_ort(graph.model, graph.card, path)


def _executorch(job: ExportJob, path: Path) -> Artifact:
    if isinstance(job.source, ForeignOnnx):
        raise ConversionError(f"{job.source.path.name} is given as ONNX; executorch needs the PyTorch network")
    return to_executorch(job.source, job.card, path)


def _tflite(job: ExportJob, base: Artifact, path: Path) -> Artifact:
    return to_tflite(base.path, base.card, path)


def _half_tflite(job: ExportJob, base: Artifact, path: Path) -> Artifact:
    return quantise_tflite(base, "fp16", path)


def _half_arithmetic_tflite(job: ExportJob, base: Artifact, path: Path) -> Artifact:
    return half_arithmetic(base, path, job.calibration)


def _weights_tflite(precision: Precision) -> Callable[[ExportJob, Artifact, Path], Artifact]:
    def make(job: ExportJob, base: Artifact, path: Path) -> Artifact:
        return int8_weights(job.calibrated(base), precision, job.recipe.ranges, path)

    return make


def _integer_tflite(job: ExportJob, base: Artifact, path: Path) -> Artifact:
    return static_int8(job.calibrated(base), job.recipe.ranges, path)


def _integer_only_tflite(job: ExportJob, base: Artifact, path: Path) -> Artifact:
    """Quantises the same with each PReLU written as two operators that have int8 kernels."""
    graph = _without_prelus(job.calibrated(base).levelled, "tflite-w8a8")
    return quantised(graph.corrected(job.calibration), "w8a8", job.calibration, job.recipe.ranges, path)


def _mixed_tflite(job: ExportJob, base: Artifact, path: Path) -> Artifact:
    faces, recipe = parted(job.calibration, base.path), job.recipe
    return mixed_int8(
        CalibratedGraphs(base, faces.fit), faces, recipe.least_mixed_cosine, recipe.ranges, path, job.progress
    )


def _fastest_tflite(job: ExportJob, base: Artifact, path: Path) -> Artifact:
    faces, recipe = parted(job.calibration, base.path), job.recipe
    return fastest(base, faces, recipe.least_int8_cosine, recipe.ranges, path, job.int8_cost(), job.progress)


def _coreml(precision: Precision) -> Callable[[ExportJob, Artifact, Path], Artifact]:
    def make(job: ExportJob, base: Artifact, path: Path) -> Artifact:
        ios, image = job.recipe.minimum_ios, job.recipe.coreml_image
        card = base.card.with_tools("coremltools")
        return to_coreml(base.path, card, path, precision, minimum_ios=ios, image=image)

    return make


def _integer_coreml(job: ExportJob, base: Artifact, path: Path) -> Artifact:
    """Quantises weights and activations, equalised and by ranges as for TFLite."""
    graph = job.calibrated(base).static
    card = graph.card.with_tools("onnxruntime", "coremltools")
    card = card.but(calibration_sha256=hashlib.sha256(job.calibration.tobytes()).hexdigest())
    recipe = job.recipe
    with graph.saved() as saved:
        ranges = activation_ranges(saved, job.calibration, recipe.ranges)
        return to_coreml(
            saved, card, path, "w8a8", minimum_ios=recipe.minimum_ios, image=recipe.coreml_image, ranges=ranges
        )


def _without_prelus(graph: RewriteChain, otherwise: str) -> RewriteChain:
    """Rewrites PReLUs; refuses a network without them, whose file would equal that of the target `otherwise`."""
    skipping = graph.skipping()
    if skipping is graph:
        raise ConversionError(f"{graph.card.model} has no PReLU with a slope per channel; take {otherwise}")
    return skipping


TARGETS: dict[str, Target] = {
    "onnx": Target("onnx", ".onnx", FromSource(_onnx)),
    "onnx-dynamic": Target("onnx", ".dynamic.onnx", FromSource(_dynamic_onnx)),
    "onnx-ort": Target("onnx", ".ort.onnx", FromFile("onnx", _quick_onnx)),
    "onnx-fp16": Target("onnx", ".fp16.onnx", FromFile("onnx", _half_onnx), "fp16"),
    "onnx-w8-dynamic": Target("onnx", ".w8-dynamic.onnx", FromFile("onnx", _dynamic_int8_onnx), "w8-dynamic"),
    "onnx-w8a8": Target("onnx", ".w8a8.onnx", FromFile("onnx", _integer_onnx), "w8a8", True),
    "ort": Target("ort", ".ort", FromFile("onnx", _ort)),
    "executorch": Target("executorch", ".pte", FromSource(_executorch)),
    "tflite-fp32": Target("tflite", ".tflite", FromFile("onnx", _tflite)),
    "tflite-fp16": Target("tflite", ".fp16.tflite", FromFile("tflite-fp32", _half_tflite), "fp16"),
    "tflite-fp16-arithmetic": Target(
        "tflite", ".fp16-arithmetic.tflite", FromFile("tflite-fp32", _half_arithmetic_tflite), "fp16"
    ),
    "tflite-w8": Target("tflite", ".w8.tflite", FromFile("onnx", _weights_tflite("w8")), "w8", True),
    "tflite-w8-dynamic": Target(
        "tflite", ".w8-dynamic.tflite", FromFile("onnx", _weights_tflite("w8-dynamic")), "w8-dynamic", True
    ),
    "tflite-w8a8": Target("tflite", ".w8a8.tflite", FromFile("onnx", _integer_tflite), "w8a8", True),
    "tflite-w8a8-skip": Target("tflite", ".w8a8-skip.tflite", FromFile("onnx", _integer_only_tflite), "w8a8", True),
    "tflite-w8a8-mixed": Target("tflite", ".w8a8-mixed.tflite", FromFile("onnx", _mixed_tflite), "w8a8", True),
    "tflite-int8": Target("tflite", ".int8.tflite", FromFile("onnx", _fastest_tflite), "w8a8", True),
    "tflite-w8a16": Target("tflite", ".w8a16.tflite", FromFile("onnx", _weights_tflite("w8a16")), "w8a16", True),
    "coreml-fp32": Target("coreml", ".mlpackage", FromFile("onnx", _coreml("fp32"))),
    "coreml-fp16": Target("coreml", ".fp16.mlpackage", FromFile("onnx", _coreml("fp16")), "fp16"),
    "coreml-w8": Target("coreml", ".w8.mlpackage", FromFile("onnx", _coreml("w8")), "w8"),
    "coreml-w6": Target("coreml", ".w6.mlpackage", FromFile("onnx", _coreml("w6")), "w6"),
    "coreml-w4": Target("coreml", ".w4.mlpackage", FromFile("onnx", _coreml("w4")), "w4"),
    "coreml-w8a8": Target("coreml", ".w8a8.mlpackage", FromFile("onnx", _integer_coreml), "w8a8", True),
}

ALIASES = {
    "tflite-float32": "tflite-fp32",
    "tflite-float16": "tflite-fp16",
    "coreml-float16": "coreml-fp16",
    "onnx-int8": "onnx-w8a8",
    "coreml-int8": "coreml-w8a8",
}
"""What other tools call some targets."""


def known_target(name: str) -> str:
    """Gives the target that `name` or its alias means.

    >>> known_target("onnx-int8")
    'onnx-w8a8'

    Raises:
        ValueError: There is none of that name; the nearest is named.
    """
    target = ALIASES.get(name, name)
    if target in TARGETS:
        return target
    raise ValueError(f"no target {name!r}; {known_names(name, TARGETS, ALIASES)}")


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
            step = TARGETS[step].make.base
        ordered += [name for name in chain if name not in ordered]
    return ordered
