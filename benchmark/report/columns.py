"""The columns of the table: their order, which are shown first, and which are axes of the plot."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from ..figures import KINDS, number_kind
from ..measurement import Measurement
from ..metric_keys import title_of
from ..metrics import metric_of

ORDER: dict[str, Literal["", "x", "y"]] = {  # keys as `metric_keys.key_of` gives them, and the axis that each can be
    "size_bytes": "x",
    "size_ratio": "",
    "compressed_bytes": "x",
    "weights_bytes": "",
    "arena_bytes": "",
    "parameters": "x",
    "macs": "x",
    "latency_ms_p50@1": "x",
    "latency_ratio": "",
    **{f"arm64_instructions@{core}": "x" for core in ("a53", "a55", "a76", "i8mm")},
    "latency_ms_p50@2": "x",
    "latency_ratio@2": "",
    "latency_ms_p50@4": "x",
    "latency_ratio@4": "",
    "latency_ms_p90@1": "",
    "first_ms": "",
    "load_ms": "",
    "peak_memory_bytes": "x",
    "xnnpack_partitions": "",
    "verification_accuracy": "y",
    "accuracy_difference": "y",
    "tar_at_far_1e-2": "y",
    "tar_at_far_1e-3": "y",
    "eer": "y",
    "decisions_flipped_1e-3": "",
    "far_at_old_threshold_1e-3": "",
    "tar_at_old_threshold_1e-3": "",
    "cross_accuracy": "",
    "cross_tar_at_far_1e-3": "",
    "auc": "",
    "verification_accuracy_fold_sd": "",
    "rank1": "y",
    "tpir_at_fpir_1e-1": "y",
    "tpir_at_fpir_1e-2": "y",
    "embedding_cosine_mean": "y",
    "embedding_cosine_min": "y",
    "largest_difference": "",
    "parity_cosine_mean": "",
    "parity_cosine_min": "",
    "threshold_at_far_1e-2": "",
    "threshold_at_far_1e-3": "",
}
MAIN = (  # stay when only the main columns are shown
    *("size_bytes", "latency_ms_p50@1", "latency_ratio", "arm64_instructions@a53", "arm64_instructions@a76"),
    *("verification_accuracy", "accuracy_difference"),
)


class Column(NamedTuple):
    """A column of the table, and an axis of the plot where `axis` says so."""

    key: str
    title: str
    kind: str  # how its numbers are written: a key of `KINDS`
    axis: Literal["", "x", "y"]
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
    return Column(key, title, number_kind(row), ORDER.get(key, ""), better)


def unit_suffix(row: Measurement) -> str:
    """Gives ", mJ" for a row in millijoules; "" where the number is written with its unit, or has none."""
    return "" if row.unit in ("", "1", *KINDS) else f", {row.unit}"
