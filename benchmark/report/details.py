"""Details: what a metric says of its parts (slices, disturbances, operators), a compact table per file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..figures import number_and_interval, number_kind, row_text
from ..measurement import Measurement
from ..metrics import DISTURBED, KERNELS, LAYERS, OPERATORS, SLICES, STORED, SUSTAINED, TEMPLATES, metric_of
from ..places import place_of
from .cells import Cell
from .columns import unit_suffix
from .summary import Line, part_of


class PartFamily(NamedTuple):
    """Metrics whose parts are shown in one table."""

    title: str  # a family of `metrics`
    explanation: str = ""  # what the reader must know
    worst_by: str = ""  # the metric whose lowest part the summary names
    by_value: bool = False  # the largest first; otherwise in the order of the rows
    across: str = ""  # the column that is shown of all files side by side


OTHER_PARTS = PartFamily("Other parts")
PART_FAMILIES = (
    PartFamily(
        SLICES,
        "The pairs sorted by what the faces show, judged by the thresholds of all pairs. Of many slices some "
        "look bad by chance: an interval that reaches 0 shows no damage.",
        "slice_accuracy_difference",
        across="Against the source",
    ),
    PartFamily(
        LAYERS,
        "How far each layer lies from the source's on a few faces: the largest difference as a share of the layer's "
        "range, and the cosine. Layers whose channels were equalised are compared up to a factor for each channel.",
        "layer_cosine",
    ),
    PartFamily(
        DISTURBED,
        "A sample of the pairs after a disturbance, judged by the threshold of the undisturbed pairs.",
        "disturbed_accuracy",
        across="Against the source",
    ),
    PartFamily(TEMPLATES, "The images of a person make one template, and templates are compared."),
    PartFamily(STORED, "Each embedding stored as a byte a number, beside the same file's embeddings as float32."),
    PartFamily(
        SUSTAINED,
        "One process after another without rest, as an app that embeds without pause would; each row is one process, "
        "and temperature and clock are those at its end.",
    ),
    PartFamily(OPERATORS, "From the runtime's own profile.", by_value=True),
    PartFamily(
        KERNELS,
        "Emulated. sdot and smmla are int8 arithmetic in hardware, smlal int8 without it, fmla floating point; little "
        "of any of them means plain kernels.",
        by_value=True,
    ),
    OTHER_PARTS,
)


@dataclass(frozen=True)
class PartTable:
    """One file's table of parts."""

    name: str
    run: str
    recommended: bool
    summary: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    reasons: tuple[str, ...]
    number: int = 0  # of the file's row in the table of all files; 0: it has none
    kind: str = ""  # its format and precision


@dataclass(frozen=True)
class PartMatrix:
    """One number of each part, of all files side by side."""

    files: tuple[PartTable, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]  # a part, and a cell for each file


def matrix_of(family: PartFamily, tables: Sequence[PartTable]) -> PartMatrix | None:
    """Gives the family's numbers of all files side by side; None of fewer than three files, and of other families."""
    files = tuple(table for table in tables if family.across in table.columns)
    if len(files) < 3:
        return None
    cells = [{part: row[table.columns.index(family.across)] for part, row in table.rows} for table in files]
    parts = dict.fromkeys(part for of_file in cells for part in of_file)
    return PartMatrix(files, tuple((part, tuple(each.get(part, Cell()) for each in cells)) for part in parts))


def details_of(
    runs: Sequence[tuple[str, Sequence[Measurement]]], lines: Sequence[Line], best: set[int]
) -> list[tuple[PartFamily, list[PartTable]]]:
    """Gives the families that were measured, each with a table per file.

    Args:
        runs: Name, as the lines bear it, and rows of each run.
        lines: What the table of all files shows.
        best: Indices of the recommended lines.
    """
    families = {family.title: family for family in PART_FAMILIES}
    by_file: dict[PartFamily, dict[tuple[str, str, str], list[Measurement]]] = {}
    for run, rows in runs:
        for row in rows:
            if part_of(row):
                family = families.get(metric_of(row.metric).family, OTHER_PARTS)
                by_file.setdefault(family, {}).setdefault((run, row.artifact, row.model), []).append(row)
    return [
        (family, [_table(family, file, rows, lines, best) for file, rows in by_file[family].items()])
        for family in PART_FAMILIES
        if family in by_file
    ]


def _table(
    family: PartFamily, file: tuple[str, str, str], rows: Sequence[Measurement], lines: Sequence[Line], best: set[int]
) -> PartTable:
    run, artifact, model = file
    of_file = [i for i, line in enumerate(lines) if (line.run, line.artifact, line.model) == file]
    parts: dict[str, dict[str, Measurement]] = {}
    for row in rows:
        parts.setdefault(part_of(row), {}).setdefault(_column(row), row)
    columns = tuple(dict.fromkeys(_column(row) for row in rows))
    if family.by_value:
        parts = dict(sorted(parts.items(), key=lambda item: -max((row.value or 0) for row in item[1].values())))
    return PartTable(
        lines[of_file[0]].name if of_file else artifact or model,
        run,
        any(i in best for i in of_file),
        _summary(family, rows),
        columns,
        tuple((part, tuple(_cell(by_column.get(column)) for column in columns)) for part, by_column in parts.items()),
        tuple(dict.fromkeys(row.reason for row in rows if not row.valid)),
        of_file[0] + 1 if of_file else 0,
        f"{lines[of_file[0]].format} {lines[of_file[0]].precision}" if of_file else "",
    )


def _column(row: Measurement) -> str:
    core = place_of(row.runtime).core
    return metric_of(row.metric).title + (f", {core.upper()}" if core else "") + unit_suffix(row)


def _cell(row: Measurement | None) -> Cell:
    if row is None:
        return Cell()
    if not row.valid or row.value is None:
        return Cell("not measured", hint=row.reason, mark="invalid")
    return Cell(*number_and_interval(row, number_kind(row)), row.value, f"n = {row.n}" if row.n else "")


def _summary(family: PartFamily, rows: Sequence[Measurement]) -> str:
    measured = [row for row in rows if row.valid and row.value is not None]
    by_value = sorted(measured, key=lambda row: row.value or 0)
    worst = next((row for row in by_value if row.metric == family.worst_by), None)
    if worst is not None:
        return f"lowest: {part_of(worst)}, {row_text(worst)}"
    return f"most: {part_of(by_value[-1])}, {row_text(by_value[-1])}" if family.by_value and by_value else ""
