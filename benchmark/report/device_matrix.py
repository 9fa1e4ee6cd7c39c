"""The latency of each file on each phone and Mac, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..figures import number_and_interval
from ..measurement import Measurement
from ..places import place_of
from .cells import Cell
from .summary import Line

LATENCIES = "latency_ms_p50", "latency_ms_mean"  # the first that was taken; older tools print no median
FEWEST = 2  # devices, accelerators or numbers of threads that are worth a table of their own


@dataclass(frozen=True)
class DeviceMatrix:
    """A row for each file; a column for each device, what ran the file there, and the number of threads."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


def device_matrix(lines: Sequence[Line]) -> DeviceMatrix | None:
    """Gives the latencies that were taken on phones and Macs; None where they would fill one column at most."""
    here = [line for line in lines if place_of(line.runtime).kind == "device"]
    short = {line.device: line.device.partition(",")[0] for line in here}
    cells: dict[str, dict[str, Cell]] = {}
    for line in here:
        is_told = list(short.values()).count(short[line.device]) == 1  # no other device has that name
        device, ran = short[line.device] if is_told else line.device, line.runtime.removeprefix("adb ")
        of_file = cells.setdefault(f"{line.name} of {line.run}" if line.run else line.name, {})
        timed = [row for metric in LATENCIES for row in line.cells.values() if row.metric == metric]
        for row in timed:
            threads = row.conditions.get("threads", 1)
            of_threads = f"{threads} threads" if threads != 1 else ""
            of_file.setdefault(", ".join(filter(None, (device, ran, of_threads))), _cell(row))
    columns = tuple(sorted({column for of_file in cells.values() for column in of_file}))
    if len(columns) < FEWEST:
        return None
    rows = tuple((name, tuple(of_file.get(column, Cell()) for column in columns)) for name, of_file in cells.items())
    return DeviceMatrix(columns, rows)


def _cell(row: Measurement) -> Cell:
    if not row.valid:
        return Cell("not valid", hint=row.reason, mark="invalid")
    text, ends = number_and_interval(row, "ms")
    return Cell(text, ends, row.value)
