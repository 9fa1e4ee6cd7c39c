"""The cells of the table: a number with its interval, or why there is none, or why a file is slower."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from ...export.artifact import ABOUT_SPEED, Note
from ..figures import interval, number_and_interval
from ..measurement import Measurement
from ..metric_keys import title_of
from .columns import Column
from .summary import Line

EXPORT = Column("export", "Export", "any", "", "")
SLOWER = 0.95  # of the reference's speed; what is nearer is noise, unless an interval says otherwise

Notes = Mapping[str, Sequence[Note]]
"""Notes of the export by artifact."""


@dataclass(frozen=True)
class Cell:
    """What stands in one cell of the table."""

    text: str = ""
    interval: str = ""
    value: float | None = None
    hint: str = ""
    note: int = 0  # number of the reason beside it, 0 where it has none
    mark: Literal["", "invalid", "slower"] = ""


def cell_of(line: Line, column: Column, numbers: Mapping[str, int], notes: Notes) -> Cell:
    """Gives the cell of a line in a column; empty where no row has it.

    Args:
        line: A file in a runtime.
        column: Of the table.
        numbers: Reasons, and the numbers under which the page lists them.
        notes: Of the export.
    """
    row = line.cells.get(column.key)
    if row is None:
        return Cell()
    if not row.valid:
        text = "not measured" if row.value is None else f"{number_and_interval(row, column.kind)[0]} (not valid)"
        return Cell(text, hint=f"{text}: {row.reason}", note=numbers[row.reason], mark="invalid")
    text, ends = number_and_interval(row, column.kind)
    if column.kind != "times":
        hint = str(row.conditions.get("said", "")) or (f"n = {row.n}" if row.n else "")
        return Cell(text, ends, row.value, hint)
    reason = _reason(line, column.key, notes)
    worse = "slower" if row.metric == "latency_ratio" else "larger"
    ends = " ".join(filter(None, (worse if row.value is not None and row.value < SLOWER else "", ends)))
    hint = reason or f"against {_reference_name(row)}"
    return Cell(text, ends, row.value, hint, numbers.get(reason, 0), "slower" if reason else "")


def reasons_of(lines: Sequence[Line], notes: Notes) -> dict[str, list[str]]:
    """Gives why something was not measured, or is slower, and of what: "a.tflite, b.tflite: Load time; First run"."""
    titles: dict[str, dict[int, list[str]]] = {}
    for number, line in enumerate(lines):
        for key in line.cells:
            if reason := _reason(line, key, notes):
                titles.setdefault(reason, {}).setdefault(number, []).append(title_of(key))
    return {reason: _by_titles(lines, of_lines) for reason, of_lines in titles.items()}


def _by_titles(lines: Sequence[Line], titles: Mapping[int, Sequence[str]]) -> list[str]:
    names: dict[str, dict[str, None]] = {}
    for number, of_line in titles.items():
        names.setdefault("; ".join(of_line), {})[lines[number].name] = None
    return [f"{', '.join(of_files)}: {joined}" for joined, of_files in names.items()]


def _reason(line: Line, key: str, notes: Notes) -> str:
    """Says why a number is missing, or a file slower than its reference, as far as its export noted; "" otherwise."""
    row = line.cells[key]
    if not row.valid:
        return row.reason
    _, high = interval(row)
    if row.metric != "latency_ratio" or row.value is None or row.value >= 1:
        return ""
    if row.value >= SLOWER if high is None else high >= 1:
        return ""
    about_speed = [note for note in notes.get(line.artifact, ()) if note.kind in ABOUT_SPEED]
    partitions = line.value("xnnpack_partitions")
    if partitions is not None and partitions > 1 and not any(note.kind == "partitions" for note in about_speed):
        text = f"{partitions:g} XNNPACK partitions: between two, plain kernels run and tensors are copied"
        about_speed.insert(0, Note("partitions", text))
    why = "; ".join(map(str, about_speed)) or "nothing that the export noted explains it"
    return f"slower than {_reference_name(row)}: {why}"


def _reference_name(row: Measurement) -> str:
    return PurePosixPath(str(row.conditions.get("against", "the reference"))).name
