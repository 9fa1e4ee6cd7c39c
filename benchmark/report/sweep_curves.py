"""The data of a sweep's charts: accuracy against what was removed, and which layers lost filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..figures import interval, number_text, row_text
from .columns import Column
from .plot import UNITS
from .summary import Line
from .swept import SweptPoint, SweptSource

REMOVED = {f"removed {what}": (f"{title} removed", "%", 100.0) for what, title in (
    ("filters", "Filters"),
    ("parameters", "Parameters"),
    ("macs", "MACs"),
)}  # fmt: skip
BEFORE, AFTER = "before recovery", "after recovery"


def charts_of_sweep(
    sources: Sequence[SweptSource], columns: Sequence[Column], numbers: Mapping[int, int]
) -> dict[str, Any]:
    """Gives the data of the curves and of the maps of layers.

    Args:
        sources: Of the sweep.
        columns: Of the table; those that are axes there are axes here.
        numbers: The row of the table of each line, by the line's `id`.
    """
    axes = {side: [column for column in columns if column.axis == side] for side in "xy"}
    titles = {column.key: (column.title, *UNITS.get(column.kind, ("", 1.0))) for side in "xy" for column in axes[side]}
    return {
        "axes": REMOVED | titles,
        "x": [*REMOVED, *(column.key for column in axes["x"])],
        "y": [column.key for column in axes["y"]],
        "curves": [_curves(source, [*axes["x"], *axes["y"]], numbers) for source in sources],
        "maps": [{"series": _maps(source)} for source in sources],
    }


def file_kind(line: Line) -> str:
    """Names what a line is a file of: "tflite w8a8"."""
    return f"{line.format} {line.precision}"


def _curves(source: SweptSource, columns: Sequence[Column], numbers: Mapping[int, int]) -> dict[str, Any]:
    every: dict[str, list[SweptPoint]] = {}
    for point in source.points:
        every.setdefault(point.series, []).append(point)
    kinds = dict.fromkeys(file_kind(line) for point in source.points for line in point.files if line.artifact)
    series = []
    for name, points in every.items():
        lines = {AFTER: [_mark(point, point.network, columns, numbers) for point in (source.point, *points)]}
        if any(point.cut for point in points):
            cuts = [(source.point, source.point.network), *((point, point.cut) for point in points)]
            lines[BEFORE] = [_mark(point, line, columns, numbers) for point, line in cuts]
        for kind in kinds:
            files = [(p, line) for p in (source.point, *points) for line in p.files if file_kind(line) == kind]
            lines[kind] = [_mark(point, line, columns, numbers) for point, line in files]
        series.append(
            {"name": name, "lines": {kind: [mark for mark in marks if mark] for kind, marks in lines.items()}}
        )
    return {"source": source.name, "kinds": list(kinds), "series": series}


def _mark(
    point: SweptPoint, line: Line | None, columns: Sequence[Column], numbers: Mapping[int, int]
) -> dict[str, Any] | None:
    if line is None:
        return None
    rows = {column.key: line.cells[column.key] for column in columns if line.value(column.key) is not None}
    values = {key: [row.value, *interval(row)] for key, row in rows.items()}
    for what in ("filters", "parameters", "macs"):
        values[f"removed {what}"] = [point.removed(what) if point.sizes else 0.0, None, None]
    facts = [(column.title, row_text(rows[column.key], column.kind)) for column in columns if column.key in rows]
    for what, (before, after) in point.sizes.items():
        facts.append((f"{what.capitalize()} removed", number_text(1 - after / before, "share")))
    return {"name": point.level, "row": numbers.get(id(line)), "values": values, "facts": facts}


def _maps(source: SweptSource) -> list[dict[str, Any]]:
    """Gives, for each series, which share of each layer's filters each network lost."""
    found: dict[str, dict[str, Any]] = {}
    for point in source.points:
        if not point.layers:
            continue
        one = found.setdefault(point.series, {"name": point.series, "layers": [], "columns": []})
        one["layers"] = [{"name": layer.name, "filters": layer.filters} for layer in point.layers]
        kept = [layer.kept for layer in point.layers]
        one["columns"].append({"name": point.level, "removed": point.removed("filters"), "kept": kept})
    return list(found.values())
