"""The table's cells: number and interval, or why there is none, or why it is worse than it should be."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from ..figures import interval, number_and_interval
from ..measurement import Measurement
from .columns import Column
from .summary import Line

EXPORT = Column("export", "Export", "any", "", "")
OF_SPEED = re.compile(r"XNNPACK|partition|faster|slower|float arithmetic|layouts|no kernel")
UNREMARKABLE = re.compile(r"1 XNNPACK partition|XNNPACK runs 1 part of it")
SLOWER = 0.95  # of the reference's speed; what is nearer is noise, unless an interval says otherwise

Reasons = Mapping[str, int]
"""Reasons, and the numbers under which the page lists them."""


@dataclass(frozen=True)
class Cell:
    """What stands in one cell of the table."""

    text: str = ""
    interval: str = ""
    value: float | None = None
    hint: str = ""
    note: int = 0  # number of the reason beside it, 0 where it has none
    mark: Literal["", "invalid", "slower"] = ""


def slower_because(line: Line, key: str, notes: Sequence[str]) -> str:
    """Says why a file is slower than what it is compared with, as far as its export noted; "" where it is not.

    Args:
        line: The file.
        key: A column of how many times faster.
        notes: What the export said of the file.
    """
    row = line.cells.get(key)
    if row is None or row.metric != "latency_ratio" or not row.valid or row.value is None:
        return ""
    _, high = interval(row)
    if row.value >= 1 or (row.value >= SLOWER if high is None else high >= 1):
        return ""
    known = [note for note in notes if OF_SPEED.search(note) and not UNREMARKABLE.fullmatch(note)]
    partitions = line.value("xnnpack_partitions")
    if partitions is not None and partitions > 1 and not any("partition" in note for note in known):
        known.insert(0, f"{partitions:g} XNNPACK partitions: between two, plain kernels run and tensors are copied")
    return f"slower than {_against(row)}: {'; '.join(known) or 'nothing that the export noted explains it'}"


def reasons_of(lines: Sequence[Line], notes: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Numbers the reasons, 1, 2, ..., in the order in which the table meets them."""
    reasons: dict[str, None] = {}
    for line in lines:
        for key, row in line.cells.items():
            reason = row.reason if not row.valid else slower_because(line, key, notes.get(line.artifact, ()))
            if reason:
                reasons[reason] = None
    return {reason: number for number, reason in enumerate(reasons, 1)}


def files_with_reason(
    reason: str, lines: Sequence[Line], columns: Sequence[Column], notes: Mapping[str, Sequence[str]]
) -> list[str]:
    """Says which metrics of which files `reason` is given for: "a.tflite, b.tflite: Latency on 1 thread"."""
    titles = {column.key: column.title for column in columns}
    files: dict[tuple[str, ...], dict[str, None]] = {}
    for line in lines:
        said = notes.get(line.artifact, ())
        found = [
            key
            for key, row in line.cells.items()
            if (row.reason if not row.valid else slower_because(line, key, said)) == reason
        ]
        if found:
            files.setdefault(tuple(titles.get(key, key) for key in found), {})[line.name] = None
    return [f"{', '.join(names)}: {'; '.join(metrics)}" for metrics, names in files.items()]


def cell_of(line: Line, column: Column, reasons: Reasons, notes: Sequence[str]) -> Cell:
    """Gives the cell of a line in a column; empty where nothing was asked for."""
    row = line.cells.get(column.key)
    if row is None:
        return Cell()
    if not row.valid:
        text = "not measured" if row.value is None else f"{number_and_interval(row, column.kind)[0]} (not valid)"
        return Cell(text, hint=f"{text}: {row.reason}", note=reasons[row.reason], mark="invalid")
    text, ends = number_and_interval(row, column.kind)
    hint = f"n = {row.n}" if row.n else ""
    if column.kind == "times":
        reason = slower_because(line, column.key, notes)
        worse = "slower" if row.metric == "latency_ratio" else "larger"
        ends = " ".join(filter(None, (worse if row.value is not None and row.value < SLOWER else "", ends)))
        hint = reason or f"against {_against(row)}"
        return Cell(text, ends, row.value, hint, reasons.get(reason, 0), "slower" if reason else "")
    said = str(row.conditions.get("said", ""))
    return Cell(text, ends, row.value, said or hint)


def _against(row: Measurement) -> str:
    return PurePosixPath(str(row.conditions.get("against", "the reference"))).name
