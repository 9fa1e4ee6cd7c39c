"""Details: what a metric says of its parts (slices, disturbances, operators), a compact table per file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..figures import KINDS, number_and_interval
from ..measurement import Measurement
from .cells import Cell
from .summary import EMULATED, Line, part_of


class Family(NamedTuple):
    """Metrics whose parts are told together."""

    title: str
    starts: tuple[str, ...]  # of the metrics' names
    said: str  # what the reader must know
    tells: str = ""  # the metric whose lowest part the summary names
    by_value: bool = False  # the largest first; otherwise as they were measured


FAMILIES = (
    Family(
        "Damage by slice",
        ("slice_",),
        "The pairs sorted by what the faces show, judged by the thresholds of all pairs. Of many slices some "
        "look bad by chance: an interval that reaches 0 shows no damage.",
        "slice_accuracy_difference",
    ),
    Family(
        "Damage by layer",
        ("layer_",),
        "How far each layer lies from the source's on a few faces: the largest difference as a share of the layer's "
        "range, and the cosine. Of images whose channels were equalised, up to a factor for each channel.",
        "layer_cosine",
    ),
    Family(
        "Disturbed faces",
        ("disturbed_",),
        "A sample of the pairs after a disturbance, judged by the threshold of the undisturbed ones.",
        "disturbed_accuracy",
    ),
    Family(
        "Templates of several images",
        ("template_",),
        "The images of a person make one template, and templates are compared.",
    ),
    Family("Time of each operator", ("operator_",), "As the runtime's own profile tells it.", by_value=True),
    Family(
        "Kinds of ARM64 instructions",
        ("arm64_instruction_share",),
        "Emulated. sdot and smmla are int8 arithmetic in hardware, smlal int8 without it, fmla floating point; little "
        "of any of them means plain kernels.",
        by_value=True,
    ),
    Family("Other parts", ("",), ""),
)


@dataclass(frozen=True)
class Detail:
    """One file's table of parts."""

    name: str
    run: str
    number: int  # of the file's row in the table of all files, 0 where it has none
    recommended: bool
    summary: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    reasons: tuple[str, ...]


def details_of(
    runs: Sequence[tuple[str, Sequence[Measurement]]], lines: Sequence[Line], best: set[int]
) -> list[tuple[Family, list[Detail]]]:
    """Gives the families that were measured, each with a table per file.

    Args:
        runs: Name, as the lines bear it, and rows of each run.
        lines: What the table of all files shows.
        best: Indices of the recommended lines.
    """
    told: dict[Family, dict[tuple[str, str, str], list[Measurement]]] = {}
    for run, rows in runs:
        for row in rows:
            if part_of(row):
                family = next(each for each in FAMILIES if row.metric.startswith(each.starts))
                told.setdefault(family, {}).setdefault((run, row.artifact, row.model), []).append(row)
    return [
        (family, [_detail(family, *file, rows, lines, best) for file, rows in told[family].items()])
        for family in FAMILIES
        if family in told
    ]


def number_kind(row: Measurement) -> str:
    """Gives how a row's number is written, a key of `KINDS`, from its metric's name and unit."""
    if row.unit in KINDS:
        return row.unit
    if row.metric.endswith("difference"):
        return "points"
    if "cosine" in row.metric:
        return "cosine"
    return "share" if row.unit == "1" and row.value is not None and abs(row.value) <= 1 else "any"


def _detail(
    family: Family,
    run: str,
    artifact: str,
    model: str,
    rows: Sequence[Measurement],
    lines: Sequence[Line],
    best: set[int],
) -> Detail:
    at = [i for i, line in enumerate(lines) if (line.run, line.artifact, line.model) == (run, artifact, model)]
    parts: dict[str, dict[str, Measurement]] = {}
    for row in rows:
        parts.setdefault(part_of(row), {}).setdefault(_column(row), row)
    columns = tuple(dict.fromkeys(_column(row) for row in rows))
    if family.by_value:
        parts = dict(sorted(parts.items(), key=lambda item: -max((row.value or 0) for row in item[1].values())))
    table = tuple((part, tuple(_cell(found.get(column)) for column in columns)) for part, found in parts.items())
    return Detail(
        lines[at[0]].name if at else artifact or model,
        run,
        at[0] + 1 if at else 0,
        any(i in best for i in at),
        _summary(family, rows),
        columns,
        table,
        tuple(dict.fromkeys(row.reason for row in rows if not row.valid)),
    )


def _column(row: Measurement) -> str:
    where = f", {row.runtime.removeprefix(EMULATED).upper()}" if row.runtime.startswith(EMULATED) else ""
    name = row.metric.removeprefix("slice_").removeprefix("disturbed_").removeprefix("template_")
    unit = "" if row.unit in ("", "1", *KINDS) else f", {row.unit}"
    return name.replace("_", " ").replace("accuracy difference", "against the source") + where + unit


def _cell(row: Measurement | None) -> Cell:
    if row is None:
        return Cell()
    if not row.valid or row.value is None:
        return Cell("not measured", hint=row.reason, mark="invalid")
    text, ends = number_and_interval(row, number_kind(row))
    return Cell(text, ends, row.value, f"n = {row.n}" if row.n else "")


def _summary(family: Family, rows: Sequence[Measurement]) -> str:
    valid = [row for row in rows if row.valid and row.value is not None]
    worst = min((row for row in valid if row.metric == family.tells), key=lambda row: row.value or 0, default=None)
    if worst is not None:
        return f"lowest: {part_of(worst)}, {' '.join(number_and_interval(worst, number_kind(worst))).strip()}"
    first = max(valid, key=lambda row: row.value or 0, default=None) if family.by_value else None
    return (
        f"most: {part_of(first)}, {' '.join(number_and_interval(first, number_kind(first))).strip()}" if first else ""
    )
