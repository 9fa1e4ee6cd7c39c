"""The columns of the table: what each is called, how its numbers are written, and which are axes of the plot."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from ..figures import KINDS
from ..measurement import Measurement


class Column(NamedTuple):
    """A column of the table, and an axis of the plot where `axis` says so."""

    key: str  # a metric; with @threads or @core where that is part of the question
    title: str
    kind: str  # how its numbers are written: a key of KINDS
    axis: str = ""  # "x", "y" or none
    better: str = "low"
    main: bool = False  # stays when only the main columns are shown


COLUMNS = (
    Column("size_bytes", "Size", "bytes", "x", main=True),
    Column("size_ratio", "Smaller", "times", "", "high"),
    Column("compressed_bytes", "Download", "bytes", "x"),
    Column("weights_bytes", "Weights", "bytes"),
    Column("arena_bytes", "Arena", "bytes"),
    Column("parameters", "Parameters", "count", "x"),
    Column("macs", "MACs", "count", "x"),
    Column("latency_ms_p50@1", "Latency on 1 thread", "ms", "x", main=True),
    Column("latency_ratio", "Faster", "times", "", "high", main=True),
    Column("arm64_instructions@a53", "Instructions, A53", "count", "x", main=True),
    Column("arm64_instructions@a55", "Instructions, A55", "count", "x"),
    Column("arm64_instructions@a76", "Instructions, A76", "count", "x", main=True),
    Column("arm64_instructions@i8mm", "Instructions, i8mm", "count", "x"),
    Column("latency_ms_p50@2", "Latency on 2 threads", "ms", "x"),
    Column("latency_ratio@2", "Faster on 2 threads", "times", "", "high"),
    Column("latency_ms_p50@4", "Latency on 4 threads", "ms", "x"),
    Column("latency_ratio@4", "Faster on 4 threads", "times", "", "high"),
    Column("latency_ms_p90@1", "p90 on 1 thread", "ms"),
    Column("first_ms", "First run", "ms"),
    Column("load_ms", "Load", "ms"),
    Column("peak_memory_bytes", "Peak memory", "bytes", "x"),
    Column("xnnpack_partitions", "XNNPACK partitions", "count"),
    Column("verification_accuracy", "Accuracy", "share", "y", "high", main=True),
    Column("accuracy_difference", "Against the source", "points", "y", "high", main=True),
    Column("tar_at_far_1e-2", "TAR at FAR 1e-2", "share", "y", "high"),
    Column("tar_at_far_1e-3", "TAR at FAR 1e-3", "share", "y", "high"),
    Column("eer", "EER", "share", "y"),
    Column("decisions_flipped_1e-3", "Decisions flipped at the old threshold", "share"),
    Column("far_at_old_threshold_1e-3", "FAR at the old threshold", "tiny"),
    Column("tar_at_old_threshold_1e-3", "TAR at the old threshold", "share", "", "high"),
    Column("cross_accuracy", "Accuracy against old templates", "share", "", "high"),
    Column("cross_tar_at_far_1e-3", "TAR at FAR 1e-3 against old templates", "share", "", "high"),
    Column("auc", "AUC", "cosine", "", "high"),
    Column("verification_accuracy_fold_sd", "Spread over the folds", "share"),
    Column("rank1", "Rank 1", "share", "y", "high"),
    Column("tpir_at_fpir_1e-1", "TPIR at FPIR 1e-1", "share", "y", "high"),
    Column("tpir_at_fpir_1e-2", "TPIR at FPIR 1e-2", "share", "y", "high"),
    Column("embedding_cosine_mean", "Mean cosine to source", "cosine", "y", "high"),
    Column("embedding_cosine_min", "Least cosine to source", "cosine", "y", "high"),
    Column("largest_difference", "Parity: largest difference", "tiny"),
    Column("parity_cosine_mean", "Parity: mean cosine", "cosine", "", "high"),
    Column("parity_cosine_min", "Parity: least cosine", "cosine", "", "high"),
    Column("threshold_at_far_1e-2", "Threshold at FAR 1e-2", "plain", "", ""),
    Column("threshold_at_far_1e-3", "Threshold at FAR 1e-3", "plain", "", ""),
)
VARIANT = re.compile(r"(?P<key>.+?)(?:@(?P<core>[a-z]\w+))?(?P<flip>\+flip)?")  # of keys that `summarise` gives


def columns_of(cells: Iterable[tuple[str, Measurement]]) -> list[Column]:
    """Gives the columns that (key, row) fill: those of the table above, then one for every other metric."""
    filled = dict(sorted(cells, key=lambda item: item[1].valid))  # a valid row says more of its column
    known = {column.key for column in COLUMNS}
    others = [_other(key, row) for key, row in filled.items() if key not in known and key != "export" and row.valid]
    return [column for column in COLUMNS if column.key in filled] + others


def _other(key: str, row: Measurement) -> Column:
    """Gives a column of its own: a known metric's with flip-sum or on an emulated core, or a plain one."""
    variant = VARIANT.fullmatch(key)
    base = next((column for column in COLUMNS if variant and column.key == variant["key"]), None)
    if variant and base:
        told = ["flip-sum"] * bool(variant["flip"]) + [f"emulated {variant['core'].upper()}"] * bool(variant["core"])
        return Column(key, ", ".join([base.title, *told]), base.kind, better="")
    kind = "plain" if row.metric.startswith("threshold") else row.unit if row.unit in KINDS else "any"
    unit = "" if row.unit in ("", "1", *KINDS) else f", {row.unit}"
    title = row.metric.replace("_", " ") + key.removeprefix(row.metric).replace("@", ", threads ") + unit
    return Column(key, title, kind, better="")
