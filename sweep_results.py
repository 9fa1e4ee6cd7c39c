"""What the finished cells of a sweep say, point by point."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .benchmark.measurement import NAME as ROWS
from .benchmark.measurement import Measurement, read_measurements
from .benchmark.report.summary import Line
from .benchmark.report.swept import SweptPoint, SweptSource, ancestry_in, layers_of, lines_of, sizes_of
from .export.formats import CHECKPOINT
from .sweep_cells import NETWORKS, finished
from .sweep_order import Outcome
from .sweep_plan import PointCells, SweepCell


def source_of_sweep(
    name: str,
    files: SweepCell,
    timing: SweepCell | None,
    points: Sequence[PointCells],
    store: Path,
    out: Path,
    failed: Outcome,
) -> SweptSource:
    """Gives what became of all points of one source network.

    Args:
        name: The network's.
        files: The cell of the source's own files.
        timing: Of their latency.
        points: The cells of the others.
        store: The folder of cells.
        out: The sweep's folder, from which files are named.
        failed: Which cells could not be made, and why.
    """
    lines = _lines(files, timing, name, store, out)
    network = next((line for line in lines if line.format == CHECKPOINT), None)
    own = _files(lines)
    source = SweptPoint(
        name, "", "source", {}, {}, (), None, network, own, _place(files, store, out), failed.get(files.folder, "")
    )
    return SweptSource(name, source, tuple(point_of_sweep(one, name, store, out, failed) for one in points))


def point_of_sweep(cells: PointCells, source: str, store: Path, out: Path, failed: Outcome) -> SweptPoint:
    """Gives what became of one point; see `source_of_sweep`."""
    point, name = cells.point, cells.point.name(source)
    every = {cell.folder: cell for cell in (cells.cut, cells.recovered, cells.files, cells.timing) if cell is not None}
    reason = next((failed[folder] for folder in every if folder in failed), "")
    done = {folder: found for folder, cell in every.items() if (found := finished(cell, store)) is not None}
    lines = _lines(cells.files, cells.timing, name, store, out) if cells.files.folder in done else []
    networks = {Path(line.artifact).name: line for line in lines if line.format == CHECKPOINT}
    ancestry = []
    if cells.recovered.folder in done:
        ancestry = ancestry_in(store / cells.recovered.folder / NETWORKS[cells.recovered.kind])
    after = networks.get(NETWORKS[cells.recovered.kind])
    before = networks.get(NETWORKS["cut"]) if cells.recovered is not cells.cut else None
    return SweptPoint(
        name,
        point.series,
        point.level,
        point.settings,
        sizes_of(ancestry),
        layers_of(ancestry),
        before,
        after,
        _files(lines),
        _place(cells.files, store, out),
        reason,
        sum(found.seconds for found in done.values()),
    )


def _lines(files: SweepCell, timing: SweepCell | None, name: str, store: Path, out: Path) -> list[Line]:
    if finished(files, store) is None:
        return []
    rows = [row for row in _rows(files, store) if row.model == name]
    return lines_of(rows, [] if timing is None else _rows(timing, store), _place(files, store, out))


def _rows(cell: SweepCell, store: Path) -> list[Measurement]:
    return read_measurements(store / cell.folder / ROWS) if finished(cell, store) is not None else []


def _files(lines: Sequence[Line]) -> tuple[Line, ...]:
    return tuple(line for line in lines if line.format != CHECKPOINT)


def _place(cell: SweepCell, store: Path, out: Path) -> str:
    return Path(os.path.relpath(store / cell.folder, out)).as_posix()
