"""What a report tells of a run: its columns, a line per file and runtime, and the best of the lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import NamedTuple

from ..measurement import Measurement
from .figures import KINDS


class Column(NamedTuple):
    """A column of the table, and an axis of the plot where `axis` says so."""

    key: str  # a metric; with @threads where the number of threads is part of the question
    title: str
    kind: str  # how its numbers are written: a key of KINDS
    axis: str = ""  # "x", "y" or none
    better: str = "low"
    main: bool = False  # stays when only the main columns are shown


COLUMNS = (
    Column("size_bytes", "Size", "bytes", "x", main=True),
    Column("size_ratio", "Smaller", "times", "", "high"),
    Column("compressed_bytes", "Download", "bytes", "x"),
    Column("parameters", "Parameters", "count", "x", main=True),
    Column("macs", "MACs", "count", "x"),
    Column("latency_ms_p50@1", "Latency on 1 thread", "ms", "x", main=True),
    Column("latency_ratio", "Faster", "times", "", "high", main=True),
    Column("latency_ms_p50@2", "Latency on 2 threads", "ms", "x"),
    Column("latency_ms_p50@4", "Latency on 4 threads", "ms", "x"),
    Column("latency_ms_p90@1", "p90 on 1 thread", "ms"),
    Column("first_ms", "First run", "ms"),
    Column("load_ms", "Load", "ms"),
    Column("peak_memory_bytes", "Peak memory", "bytes", "x"),
    Column("arm64_instructions", "ARM64 instructions", "count", "x"),
    Column("verification_accuracy", "Accuracy", "share", "y", "high", main=True),
    Column("tar_at_far_1e-2", "TAR at FAR 1e-2", "share", "y", "high"),
    Column("tar_at_far_1e-3", "TAR at FAR 1e-3", "share", "y", "high", main=True),
    Column("eer", "EER", "share", "y"),
    Column("embedding_cosine_mean", "Mean cosine to source", "cosine", "y", "high"),
    Column("embedding_cosine_min", "Least cosine to source", "cosine", "y", "high"),
    Column("largest_difference", "Parity: largest difference", "tiny"),
    Column("parity_cosine_mean", "Parity: mean cosine", "cosine", "", "high"),
    Column("parity_cosine_min", "Parity: least cosine", "cosine", "", "high"),
    Column("threshold_at_far_1e-3", "Threshold at FAR 1e-3", "plain", "", ""),
)


def columns_of(lines: Sequence[Line]) -> list[Column]:
    """Gives the columns that `lines` fill: those of the table above, then one for every other metric."""
    rows = [(key, row) for line in lines for key, row in line.cells.items()]
    filled = dict(sorted(rows, key=lambda item: item[1].valid))  # a valid row says more of its column
    known = {column.key for column in COLUMNS}
    others = [
        Column(key, _title(key, row), "plain" if row.metric.startswith("threshold") else _kind(row), better="")
        for key, row in filled.items()
        if key not in known and key != "export" and row.valid
    ]
    return [column for column in COLUMNS if column.key in filled] + others


def _kind(row: Measurement) -> str:
    return row.unit if row.unit in KINDS else "any"


def _title(key: str, row: Measurement) -> str:
    unit = "" if row.unit in ("", "1", *KINDS) else f", {row.unit}"
    return row.metric.replace("_", " ") + key.removeprefix(row.metric).replace("@", ", threads ") + unit


@dataclass(frozen=True)
class Line:
    """All that was measured of one file in one runtime on one device."""

    run: str
    model: str
    artifact: str
    format: str
    precision: str
    runtime: str
    device: str
    cells: Mapping[str, Measurement]  # by column key; what has no column keeps its metric's name

    @property
    def name(self) -> str:
        """The file's name, or what it would have been."""
        if self.format == "pytorch" or not self.artifact:
            return f"{self.model} {self.format} {self.precision}"
        return PurePosixPath(self.artifact).name

    @property
    def source(self) -> str:
        """The model that this one was pruned from; itself where it was not."""
        return self.model.partition("-pruned")[0]

    def value(self, key: str) -> float | None:
        """Gives the number in column `key`, None where there is none that is valid."""
        row = self.cells.get(key)
        return row.value if row is not None and row.valid else None


def summarise(rows: Sequence[Measurement], run: str = "") -> list[Line]:
    """Pivots rows to one line per (model, artifact, format, precision, runtime).

    Rows without a runtime (size) belong to every runtime of their file, parameters and MACs to every file of
    their model. A file that was measured on two devices has a line for each.
    """
    files: dict[tuple[str, str, str, str], list[Measurement]] = {}
    of_model: dict[str, dict[str, Measurement]] = {}
    for row in rows:
        files.setdefault((row.model, row.artifact, row.format, row.precision), []).append(row)
        if row.metric in ("parameters", "macs") and row.valid:
            of_model.setdefault(row.model, {}).setdefault(row.metric, row)
    lines: list[Line] = []
    for file, of_file in files.items():
        if all(row.metric in ("parameters", "macs") for row in of_file) and len(files) > 1:
            continue  # speaks of the model, is no file
        found = dict.fromkeys((row.runtime, row.device) for row in of_file if row.runtime)
        named = {runtime for runtime, device in found if device}
        places = [place for place in found if place[1] or place[0] not in named]
        for runtime, device in places or [("", of_file[0].device)]:
            here = ((runtime, device), (runtime, ""))
            cells = _cells([row for row in of_file if not row.runtime or (row.runtime, row.device) in here])
            if "export" not in cells:
                cells = {**of_model.get(file[0], {}), **cells}
            lines.append(Line(run, *file, runtime, device, cells))
    return [_with_ratios(line, lines) for line in lines]


def _cells(rows: Sequence[Measurement]) -> dict[str, Measurement]:
    cells: dict[str, Measurement] = {}
    for row in rows:
        key, threads, batch = row.metric, row.conditions.get("threads", 1), row.conditions.get("batch", 1)
        if key.startswith("latency_ms") or threads != 1:
            key += f"@{threads}"
        if key.startswith("latency_ms") and batch != 1:
            key += f", batch {batch}"
        if key not in cells or not cells[key].valid:
            cells[key] = row
        elif row.valid and row != cells[key]:  # under other conditions: nothing is dropped silently
            cells[f"{key} (measurement {sum(row.metric == r.metric for r in cells.values()) + 1})"] = row
    return cells


def reference(line: Line, lines: Sequence[Line]) -> Line:
    """Gives what `line` is timed against: unpruned fp32 in its runtime and device, else the first there."""
    peers = [other for other in lines if (other.runtime, other.device) == (line.runtime, line.device)]
    unpruned = [other for other in peers if other.precision == "fp32" and other.model == other.source]
    own = [other for other in unpruned if other.source == line.source]
    return (own or unpruned or peers or [line])[0]


def baseline(line: Line, lines: Sequence[Line], key: str) -> Line:
    """Gives what `line` is judged by in column `key`: its unpruned fp32 in the same runtime, else in any."""
    near = reference(line, lines)
    for other in (near, *lines):
        if (other.precision, other.model) == ("fp32", line.source) and other.value(key) is not None:
            return other
    return near


def _with_ratios(line: Line, lines: Sequence[Line]) -> Line:
    cells = dict(line.cells)
    for ratio, key, base in (
        ("size_ratio", "size_bytes", baseline(line, lines, "size_bytes")),
        ("latency_ratio", "latency_ms_p50@1", reference(line, lines)),
    ):
        mine, other = line.value(key), base.value(key)
        if mine and other and line is not base:
            against = {"against": base.name}
            cells[ratio] = Measurement(
                *(line.model, line.artifact, line.format, line.precision, line.runtime, line.device),
                metric=ratio,
                value=other / mine,
                unit="1",
                conditions=against,
            )
    return replace(line, cells=cells)


def pareto_front(lines: Sequence[Line], low: Sequence[str], high: Sequence[str]) -> list[int]:
    """Gives the indices of the lines that no other line beats.

    A line is beaten by one that is at least as good in every column and better in one: equals stay together.
    Lines without a valid number in each column take no part.

    Args:
        lines: What to choose from.
        low: Keys of the columns where less is better.
        high: Keys of the columns where more is better.
    """
    costs: dict[int, list[float]] = {}
    for i, line in enumerate(lines):
        values = [line.value(key) for key in (*low, *high)]
        numbers = [value for value in values if value is not None]
        if len(numbers) == len(values):
            costs[i] = [*numbers[: len(low)], *(-number for number in numbers[len(low) :])]

    def beats(a: list[float], b: list[float]) -> bool:
        return a != b and all(x <= y for x, y in zip(a, b, strict=True))

    return [i for i, mine in costs.items() if not any(beats(other, mine) for other in costs.values())]
