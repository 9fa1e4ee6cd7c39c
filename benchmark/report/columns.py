"""The columns of the table: their order, which are shown first, and which are axes of the plot."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from ..figures import KINDS, number_kind
from ..measurement import Measurement
from ..metric_keys import title_of
from ..metrics import metric_of

ORDER = (  # keys as `metric_keys.key_of` gives them
    *("size_bytes", "size_ratio", "compressed_bytes", "weights_bytes", "arena_bytes", "parameters", "macs"),
    *("latency_ms_p50@1", "latency_ratio"),
    *(f"arm64_instructions@{core}" for core in ("a53", "a55", "a76", "i8mm")),
    *("latency_ms_p50@2", "latency_ratio@2", "latency_ms_p50@4", "latency_ratio@4", "latency_ms_p90@1"),
    *("first_ms", "load_ms", "peak_memory_bytes", "xnnpack_partitions"),
    *("verification_accuracy", "accuracy_difference", "tar_at_far_1e-2", "tar_at_far_1e-3", "eer"),
    *("decisions_flipped_1e-3", "far_at_old_threshold_1e-3", "tar_at_old_threshold_1e-3"),
    *("cross_accuracy_difference", "cross_accuracy", "cross_tar_at_far_1e-3", "auc", "verification_accuracy_fold_sd"),
    *("rank1", "tpir_at_fpir_1e-1", "tpir_at_fpir_1e-2", "embedding_cosine_mean", "embedding_cosine_min"),
    *("largest_difference", "parity_cosine_mean", "parity_cosine_min"),
    *("threshold_at_far_1e-2", "threshold_at_far_1e-3"),
)
MAIN = (  # stay when only the main columns are shown
    *("size_bytes", "latency_ms_p50@1", "latency_ratio", "arm64_instructions@a53", "arm64_instructions@a76"),
    *("verification_accuracy", "accuracy_difference"),
)
X_METRICS = (  # axes of the plot
    *("size_bytes", "compressed_bytes", "parameters", "macs"),
    *("latency_ms_p50", "arm64_instructions", "peak_memory_bytes"),
)
Y_METRICS = (
    *("verification_accuracy", "accuracy_difference", "tar_at_far_1e-2", "tar_at_far_1e-3", "eer"),
    *("rank1", "tpir_at_fpir_1e-1", "tpir_at_fpir_1e-2", "embedding_cosine_mean", "embedding_cosine_min"),
)


class Column(NamedTuple):
    """A column of the table, and an axis of the plot where `axis` says so."""

    key: str
    title: str
    kind: str  # how its numbers are written: a key of `KINDS`
    axis: str  # "x", "y" or none
    better: Literal["low", "high", ""]

    @property
    def main(self) -> bool:
        """Whether it stays when only the main columns are shown."""
        return self.key in MAIN


def columns_of(cells: Iterable[tuple[str, Measurement]]) -> list[Column]:
    """Gives the columns that (key, row) fill: those of `ORDER`, then one for every other metric with a number."""
    filled = dict(sorted(cells, key=lambda item: item[1].valid))  # a valid row says more of its column
    others = [key for key, row in filled.items() if key not in ORDER and key != "export" and row.valid]
    return [_column(key, filled[key]) for key in (*(key for key in ORDER if key in filled), *others)]


def _column(key: str, row: Measurement) -> Column:
    title, better = title_of(key) + unit_suffix(row), metric_of(row.metric).better
    axes = {"x": X_METRICS, "y": Y_METRICS} if key in ORDER else {}
    axis = next((axis for axis, metrics in axes.items() if row.metric in metrics), "")
    return Column(key, title, number_kind(row), axis, better)


def unit_suffix(row: Measurement) -> str:
    """Gives ", mJ" for a row in millijoules; "" where the number is written with its unit, or has none."""
    return "" if row.unit in ("", "1", *KINDS) else f", {row.unit}"
