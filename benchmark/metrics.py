"""Metrics: unit, title, family, which way is better and how a number is printed, one line for each."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

Kind = Literal["bytes", "count", "ms", "share", "points", "cosine", "tiny", "plain", "any", "times"]
"""How a number is printed; see `figures.KINDS`."""

SPEED, SIZE = "Speed and memory", "Size"
VERIFICATION, IDENTIFICATION = "Verification", "Identification"
DRIFT, PARITY = "Drift from the source embedder", "Parity with PyTorch"
SLICES, LAYERS, DISTURBED = "Damage by slice", "Damage by layer", "Disturbed faces"
TEMPLATES, OPERATORS, KERNELS = "Templates of several images", "Time of each operator", "Kinds of ARM64 instructions"
STORED, SUSTAINED = "Templates stored as int8", "Under sustained load"
OTHER = "Other"
UNITS: dict[Kind, str] = {"bytes": "bytes", "ms": "ms"}  # of all other kinds "1"


@dataclass(frozen=True)
class Metric:
    """What a row of measurements.json measures; in a name and its title `{}` stands for a parameter ("1e-3")."""

    name: str  # as the rows name it: "tar_at_far_1e-3"
    title: str  # for people: "TAR at FAR 1e-3"
    family: str  # metrics that a report shows together
    kind: Kind
    better: Literal["low", "high", ""] = ""  # "" where neither is
    about: Literal["run", "file", "model"] = "run"  # a file in a runtime; a file in any runtime; all files of a model
    by_threads: bool = False  # each number of threads, and each batch size, has a number of its own
    unit: str = ""  # "ms", "bytes", "count"; "1" for a share
    parameter: str = ""  # what `{}` stands for in this name: "1e-3"

    def __post_init__(self) -> None:
        """Takes the unit from the kind where none is given."""
        object.__setattr__(self, "unit", self.unit or UNITS.get(self.kind, "1"))


METRICS: tuple[Metric, ...] = (
    Metric("size_bytes", "Size", SIZE, "bytes", "low", "file"),
    Metric("size_ratio", "Smaller", SIZE, "times", "high"),
    Metric("compressed_bytes", "Compressed size", SIZE, "bytes", "low", "file"),
    Metric("weights_bytes", "Weights", SIZE, "bytes", "low", "file"),
    Metric("parameters", "Parameters", SIZE, "count", "low", "model"),
    Metric("macs", "MACs", SIZE, "count", "low", "model"),
    Metric("latency_ms_p50", "Median latency", SPEED, "ms", "low", by_threads=True),
    Metric("latency_ms_p90", "p90 latency", SPEED, "ms", "low", by_threads=True),
    Metric("latency_ms_p99", "p99 latency", SPEED, "ms", "low", by_threads=True),
    Metric("latency_ms_mean", "Mean latency", SPEED, "ms", "low", by_threads=True),
    Metric("latency_ms_min", "Lowest latency", SPEED, "ms", "low", by_threads=True),
    Metric("cpu_ms", "CPU time", SPEED, "ms", "low", by_threads=True),
    Metric("latency_per_face_ms_p50", "Median latency per face", SPEED, "ms", "low", by_threads=True),
    Metric("latency_ratio", "Faster", SPEED, "times", "high"),
    Metric("first_ms", "First run", SPEED, "ms", "low"),
    Metric("load_ms", "Load time", SPEED, "ms", "low"),
    Metric("peak_memory_bytes", "Peak memory", SPEED, "bytes", "low"),
    Metric("arena_bytes", "Tensor arena", SPEED, "bytes", "low"),
    Metric("xnnpack_partitions", "XNNPACK partitions", SPEED, "count", "low"),
    Metric("arm64_instructions", "Instructions", SPEED, "count", "low", unit="count"),
    Metric("arm64_instruction_share", "Share of instructions", KERNELS, "share"),
    Metric("operator_ms", "Time", OPERATORS, "ms", "low"),
    Metric("sustained_latency_ms", "Mean latency", SUSTAINED, "ms", "low"),
    Metric("sustained_celsius", "Temperature", SUSTAINED, "plain", "low", unit="°C"),
    Metric("sustained_mhz", "Fastest core", SUSTAINED, "count", unit="MHz"),
    Metric("verification_accuracy", "Accuracy", VERIFICATION, "share", "high"),
    Metric("verification_accuracy_fold_sd", "Standard deviation over folds", VERIFICATION, "share", "low"),
    Metric("eer", "EER", VERIFICATION, "share", "low"),
    Metric("auc", "AUC", VERIFICATION, "cosine", "high"),
    Metric("tar_at_far_{}", "TAR at FAR {}", VERIFICATION, "share", "high"),
    Metric("threshold_at_far_{}", "Threshold at FAR {}", VERIFICATION, "plain"),
    Metric("rank1", "Rank-1 accuracy", IDENTIFICATION, "share", "high"),
    Metric("tpir_at_fpir_{}", "TPIR at FPIR {}", IDENTIFICATION, "share", "high"),
    Metric("accuracy_difference", "Accuracy against the source", DRIFT, "points", "high"),
    Metric("tar_at_far_{}_difference", "TAR at FAR {} against the source", DRIFT, "points", "high"),
    Metric("decisions_flipped_{}", "Decisions flipped at the source's threshold for FAR {}", DRIFT, "share", "low"),
    Metric("far_at_old_threshold_{}", "FAR at the source's threshold for FAR {}", DRIFT, "tiny", "low"),
    Metric("tar_at_old_threshold_{}", "TAR at the source's threshold for FAR {}", DRIFT, "share", "high"),
    Metric("cross_accuracy_difference", "Accuracy with the source's templates, not new ones", DRIFT, "points", "high"),
    Metric("cross_accuracy", "Accuracy against the source's templates", DRIFT, "share", "high"),
    Metric("cross_tar_at_far_{}", "TAR at FAR {} against the source's templates", DRIFT, "share", "high"),
    Metric("embedding_cosine_mean", "Mean cosine to the source", DRIFT, "cosine", "high"),
    Metric("embedding_cosine_min", "Lowest cosine to the source", DRIFT, "cosine", "high"),
    Metric("embedding_cosine_p01", "Cosine to the source, 1st percentile", DRIFT, "cosine", "high"),
    Metric("neighbour_overlap_{}", "Overlap of the {} nearest faces", DRIFT, "share", "high"),
    Metric("jitter_consistency", "Cosine under jitter", DRIFT, "cosine"),
    Metric("transported_threshold_{}", "Threshold for FAR {}, estimated without labels", DRIFT, "plain"),
    Metric("runtime_difference", "Largest difference to the usual runtime", PARITY, "tiny", "low"),
    Metric("largest_difference", "Parity: largest difference", PARITY, "tiny", "low"),
    Metric("parity_cosine_mean", "Parity: mean cosine", PARITY, "cosine", "high"),
    Metric("parity_cosine_min", "Parity: lowest cosine", PARITY, "cosine", "high"),
    Metric("emulated_accuracy_difference", "Emulated: accuracy against this machine", PARITY, "points", "high"),
    Metric("emulated_largest_difference", "Emulated: largest difference", PARITY, "tiny", "low"),
    Metric("emulated_cosine_min", "Emulated: lowest cosine", PARITY, "cosine", "high"),
    Metric("slice_accuracy", "Accuracy", SLICES, "share", "high"),
    Metric("slice_accuracy_difference", "Against the source", SLICES, "points", "high"),
    Metric("layer_change", "Largest change, share of the range", LAYERS, "share", "low"),
    Metric("layer_cosine", "Cosine to the source", LAYERS, "cosine", "high"),
    Metric("disturbed_accuracy", "Accuracy", DISTURBED, "share", "high"),
    Metric("disturbed_accuracy_difference", "Against the source", DISTURBED, "points", "high"),
    Metric("disturbed_cosine_mean", "Mean cosine", DISTURBED, "cosine", "high"),
    Metric("template_similarity_mean", "Mean similarity", TEMPLATES, "share"),
    Metric("template_eer", "EER", TEMPLATES, "share", "low"),
    Metric("template_tar_at_far_{}", "TAR at FAR {}", TEMPLATES, "share", "high"),
    Metric("int8_template_bytes", "Bytes", STORED, "count", "low", unit="bytes"),
    Metric("int8_template_cosine_min", "Lowest cosine to float32", STORED, "cosine", "high"),
    Metric("int8_template_accuracy", "Accuracy", STORED, "share", "high"),
    Metric("int8_template_accuracy_difference", "Accuracy against float32", STORED, "points", "high"),
    Metric("int8_template_tar_at_far_{}_difference", "TAR at FAR {} against float32", STORED, "points", "high"),
    Metric("int8_template_threshold_at_far_{}", "Threshold at FAR {}", STORED, "plain"),
    Metric("int8_template_flipped_{}", "Decisions flipped at float32's threshold for FAR {}", STORED, "share", "low"),
    Metric("export", "Export", OTHER, "any"),
)
FAMILIES = (
    *(SPEED, VERIFICATION, IDENTIFICATION, DRIFT, PARITY, SIZE),
    *(SLICES, LAYERS, DISTURBED, TEMPLATES, STORED, SUSTAINED, OPERATORS, KERNELS, OTHER),
)
"""In the order in which a report shows them."""

_NAMED = {metric.name: metric for metric in METRICS if "{}" not in metric.name}
_PATTERNS = [
    (re.compile(re.escape(metric.name).replace(r"\{\}", r"([\d.]+(?:e[+-]?\d+)?)")), metric)
    for metric in METRICS
    if "{}" in metric.name
]


def metric_of(name: str) -> Metric:
    """Gives the metric of that name; a plain one of the family "Other" where the table does not hold it.

    >>> metric_of("tar_at_far_1e-3").title, metric_of("tar_at_far_1e-3").parameter
    ('TAR at FAR 1e-3', '1e-3')
    """
    return known_metric(name) or Metric(name, name.replace("_", " "), OTHER, "any")


@lru_cache
def known_metric(name: str) -> Metric | None:
    """Gives the metric of that name, its parameter filled in; None where the table does not hold it."""
    if name in _NAMED:
        return _NAMED[name]
    for pattern, metric in _PATTERNS:
        if found := pattern.fullmatch(name):
            return replace(metric, name=name, title=metric.title.format(found[1]), parameter=found[1])
    return None
