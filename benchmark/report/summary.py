"""One line per file and runtime with all its numbers, what each is compared with, and the best of the lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from ...export.formats import CHECKPOINT
from ..measurement import Measurement
from ..metric_keys import keyed
from ..metrics import TEMPLATES, metric_of
from ..places import place_of

ACCURACY = "verification_accuracy"


@dataclass(frozen=True)
class Line:
    """All that was measured of one file in one runtime on one device.

    The keys of `cells` are those of `metric_keys.keyed`: a metric, with "@2" for 2 threads and the like.
    """

    run: str
    model: str
    artifact: str
    format: str
    precision: str
    runtime: str
    device: str
    cells: Mapping[str, Measurement]
    pruned_from: str = ""  # a model; "" where it was not pruned, or the row does not say

    @property
    def name(self) -> str:
        """The file's name, or what it would have been."""
        if self.format == CHECKPOINT or not self.artifact:
            return f"{self.model} {self.format} {self.precision}"
        return PurePosixPath(self.artifact).name

    @property
    def source(self) -> str:
        """The model that this one was pruned from; itself where no pruning is recorded."""
        return self.pruned_from or self.model

    def value(self, key: str) -> float | None:
        """Gives the number of a key, None where there is none that is valid."""
        row = self.cells.get(key)
        return row.value if row is not None and row.valid else None


def part_of(row: Measurement) -> str:
    """Names the part of its metric that a row is about ("JPEG 30"), "" where it is about the whole."""
    protocol = row.conditions.get("protocol", "") if metric_of(row.metric).family == TEMPLATES else ""
    return str(row.conditions.get("part") or protocol)


def summarise(rows: Sequence[Measurement], run: str = "") -> list[Line]:
    """Pivots rows to one line per (model, artifact, format, precision, runtime, device).

    Rows about a part of their metric ("JPEG 30") are left out. Sizes, and rows without a runtime, belong to every
    runtime of their file, parameters and MACs to every file of their model, and emulated counts to the file's line in
    LiteRT.

    Args:
        rows: Of one run, as `read_measurements` gives them.
        run: Its name, which the lines bear.

    Returns:
        In the order of the rows; `line.cells[key]` is a row, `line.value(key)` its number or None.
    """
    files: dict[tuple[str, str, str, str], list[Measurement]] = {}
    of_model: dict[str, dict[str, Measurement]] = {}
    for row in rows:
        if part_of(row):
            continue
        files.setdefault((row.model, row.artifact, row.format, row.precision), []).append(row)
        if metric_of(row.metric).about == "model" and row.valid:
            of_model.setdefault(row.model, {}).setdefault(row.metric, row)
    lines: list[Line] = []
    for file, of_file in files.items():
        if all(metric_of(row.metric).about == "model" for row in of_file) and len(files) > 1:
            continue  # about a model, not a file
        for place, here in _places(of_file).items():
            cells = keyed(here)
            if "export" not in cells:
                cells = {**of_model.get(file[0], {}), **cells}
            source = next((row.source for row in of_file if row.source), "")
            lines.append(Line(run, *file, *place, cells, source))
    return [_with_ratios(line, lines) for line in lines]


def _places(rows: Sequence[Measurement]) -> dict[tuple[str, str], list[Measurement]]:
    """Sorts a file's rows by (runtime, device); emulated counts stand with LiteRT's."""
    every = dict.fromkeys((row.runtime, row.device) for row in rows if row.runtime)
    with_device = {runtime for runtime, device in every if device}
    real = [place for place in every if not place_of(place[0]).core and (place[1] or place[0] not in with_device)]
    places = real or list(every)[:1] or [("", rows[0].device)]
    home = next((place for place in places if place[0] == "litert"), places[0])
    return {
        place: [
            row
            for row in rows
            if not row.runtime
            or metric_of(row.metric).about != "run"
            or (row.runtime, row.device) in (place, (place[0], ""))
            or (place_of(row.runtime).core and place == home)
        ]
        for place in places
    }


def reference(line: Line, lines: Sequence[Line]) -> Line:
    """Gives the line that `line` is timed against: unpruned fp32 in its runtime and device, else the first there."""
    peers = [other for other in lines if (other.runtime, other.device) == (line.runtime, line.device)]
    unpruned = [other for other in peers if other.precision == "fp32" and other.model == other.source]
    own = [other for other in unpruned if other.source == line.source]
    return (own or unpruned or peers or [line])[0]


def baseline(line: Line, lines: Sequence[Line], key: str) -> Line:
    """Gives the line that `line` is compared with in `key`: its unpruned fp32 in the same runtime, else in any."""
    near = reference(line, lines)
    for other in (near, *lines):
        if (other.precision, other.model) == ("fp32", line.source) and other.value(key) is not None:
            return other
    return near


def _with_ratios(line: Line, lines: Sequence[Line]) -> Line:
    """Adds how many times smaller and faster a file is, where no row says so."""
    cells = dict(line.cells)
    for ratio, key, base in (
        ("size_ratio", "size_bytes", baseline(line, lines, "size_bytes")),
        ("latency_ratio", "latency_ms_p50@1", reference(line, lines)),
    ):
        mine, other = line.value(key), base.value(key)
        if ratio not in cells and mine and other and line is not base:
            cells[ratio] = Measurement(
                *(line.model, line.artifact, line.format, line.precision, line.runtime, line.device),
                metric=ratio,
                value=other / mine,
                unit="1",
                conditions={"against": base.name},
                source=line.pruned_from,
            )
    return replace(line, cells=cells)


def sets_of_pairs(lines: Sequence[Line]) -> list[str]:
    """Gives the sets of pairs that the lines were verified on, by hash; by the run where its rows do not say.

    Numbers on one set say nothing of those on another: with more than one, files have no common front.
    """
    rows = [(line, line.cells[ACCURACY]) for line in lines if line.value(ACCURACY) is not None]
    return list(dict.fromkeys(str(row.conditions.get("pairs_sha256") or f"of {line.run}") for line, row in rows))


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
