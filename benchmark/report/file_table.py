"""The files of a report as a table for spreadsheets: one line for each file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from ..figures import interval
from ..measurement import Measurement
from .data_files import harmless
from .limits import DIFFERENCE, SIZE, JudgedFile
from .recommendation import Recommendation
from .result_facts import COUNTS
from .summary import ACCURACY, Line

FIRST = ("run", "file", "model", "format", "precision", "size_bytes")
COSINES = ("embedding_cosine_mean", "embedding_cosine_min")
LAST = ("verdict", "misses", "ship", "artifact")
LATENCY_METRIC = "latency_ms_p50"


def csv_of_files(runs: Sequence[tuple[str, Sequence[Line], Recommendation]]) -> str:
    """Gives one line for each file, after one with the names of the columns; what was not measured is empty.

    A latency has a column for each number of threads, runtime and device ("latency_ms_p50@1 litert, some CPU"), counted
    instructions one for each core, and accuracy and difference have their interval's ends beside them, as shares.

    Args:
        runs: Of each its name, its lines and what is recommended of them.
    """
    rows = [row for name, lines, advice in runs for row in _rows(name, lines, advice)]
    counts = [key for key in COUNTS.values() if any(key in row for row in rows)]
    judged = [f"{key}{end}" for key in (ACCURACY, DIFFERENCE) for end in ("", "_low", "_high")]
    latencies = sorted({key for row in rows for key in row}.difference(FIRST, counts, judged, COSINES, LAST))
    text = io.StringIO()
    table = csv.DictWriter(text, [*FIRST, *latencies, *counts, *judged, *COSINES, *LAST], lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({key: harmless(cell) for key, cell in row.items()})
    return text.getvalue()


def _rows(run: str, lines: Sequence[Line], advice: Recommendation) -> Iterator[dict[str, Any]]:
    for _, choice in advice.choices:
        for file in choice.files:
            of_file = [line for line in lines if line.artifact == file.line.artifact]
            yield _row(run, file, of_file, file in advice.best)


def _row(run: str, file: JudgedFile, of_file: Sequence[Line], ships: bool) -> dict[str, Any]:
    line = file.line
    plain = (run, line.name, line.model, line.format, line.precision, line.value(SIZE))
    row: dict[str, Any] = dict(zip(FIRST, plain, strict=True))
    for at in of_file:
        place = ", ".join(filter(None, (at.runtime, at.device)))
        row |= {f"{key} {place}": at.value(key) for key, cell in at.cells.items() if cell.metric == LATENCY_METRIC}
        row |= {key: value for key in COUNTS.values() if (value := at.value(key)) is not None}
    for key in (ACCURACY, DIFFERENCE):
        row |= _with_ends(key, line.cells.get(key))
    row |= {key: line.value(key) for key in COSINES}
    misses = " ".join(miss.limit for miss in file.misses)
    return row | dict(zip(LAST, (file.accuracy, misses, str(ships).lower(), line.artifact), strict=True))


def _with_ends(key: str, row: Measurement | None) -> dict[str, float | None]:
    if row is None or not row.valid:
        return {}
    low, high = interval(row)
    return {key: row.value, f"{key}_low": low, f"{key}_high": high}
