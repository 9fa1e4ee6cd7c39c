"""The result of a run in the terminal: a table of its files, and which to ship, why, and what to do next."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence

from ..figures import number_and_interval, number_text
from ..measurement import Measurement, is_of_rendered_faces
from .limits import DIFFERENCE, SIZE, JudgedFile, ShippingLimits, limits_for
from .recommendation import Recommendation, recommend
from .speed_evidence import COUNTED_CORES
from .summary import ACCURACY, summarise
from .text_table import text_lines, text_table, width_of

DISTURBED = " ?"
QUESTION = "? does not count: others had the processor, or the report says why"


def result_of(rows: Sequence[Measurement], limits: ShippingLimits | None = None) -> list[str]:
    """Gives the lines of the result of a run's rows, as wide as the terminal; see `result_lines`.

    Args:
        rows: Of one run.
        limits: What the app allows; None: those of the rows' own verdicts.
    """
    return result_lines(recommend(summarise(rows), limits or limits_for(rows)), terminal_width())


def terminal_width() -> int:
    """Gives the columns of the terminal, 80 where there is none."""
    return shutil.get_terminal_size((80, 24)).columns


def result_lines(advice: Recommendation, width: int = 80) -> list[str]:
    """Gives a table of all files, one block for each model, and a sentence for each use.

    Args:
        advice: On one run.
        width: Columns of the terminal. The interval of the difference is left out where it does not fit.

    Returns:
        The lines; none of the table is longer than `width`, as far as names can be cut.
    """
    files = [file for _, choice in advice.choices for file in choice.files]
    if not files:
        return []
    table = _table(files, advice, width)
    legend = [QUESTION] if any(DISTURBED in line for line in table) else []
    return [*table, *legend, "", *(part for said in _sentences(advice) for part in text_lines(said, width))]


def _table(files: Sequence[JudgedFile], advice: Recommendation, width: int) -> list[str]:
    counted = {core: f"arm64_instructions@{core}" for core in COUNTED_CORES}
    core = next((core for core, key in counted.items() if any(key in file.line.cells for file in files)), None)
    titles, counts = ["file", "MB", "ms"], () if core is None else (counted[core],)
    titles += [*([] if core is None else [f"ARM64 {core}"]), "accuracy %", "points", "verdict"]
    table = [_cells(file, counts, file in advice.best, True) for file in files]
    if width_of([titles, *table]) > width:
        table = [_cells(file, counts, file in advice.best, False) for file in files]
    rows: list[list[str]] = []
    model = None
    for file, cells in zip(files, table, strict=True):
        if file.line.model != model and any(other.line.model != file.line.model for other in files):
            rows.append([file.line.model])
        model = file.line.model
        rows.append(cells)
    return text_table(titles, rows, width, left=(0, len(titles) - 1))


def _cells(file: JudgedFile, counts: Sequence[str], ships: bool, with_interval: bool) -> list[str]:
    line = file.line
    size, accuracy, difference = (line.cells.get(key) for key in (SIZE, ACCURACY, DIFFERENCE))
    points = _number(difference, "points", with_interval).replace(" points", "")
    name = line.name.removeprefix(line.model) or line.name
    return [
        name,
        "–" if size is None or size.value is None else f"{size.value / 1e6:.2f}",
        _number(file.latency, "ms", False).replace(" ms", ""),
        *(_number(line.cells.get(key), "count", False) for key in counts),
        _number(accuracy, "share", True).replace(" %", ""),
        points,
        "ship" if ships else file.accuracy if file.accuracy != "keeps" or file.meets else _missed(file),
    ]


def _missed(file: JudgedFile) -> str:
    return ", ".join(miss.limit for miss in file.misses)


def _number(row: Measurement | None, kind: str, with_interval: bool) -> str:
    """Gives a number; a dash where there is none, a question mark behind one that is not valid."""
    if row is None or row.value is None:
        return "–"
    if not row.valid:
        return number_text(row.value, kind) + DISTURBED
    text, ends = number_and_interval(row, kind)
    return f"{text} {ends}".strip() if with_interval else text


def _sentences(advice: Recommendation) -> Iterator[str]:
    for use, choice in advice.choices:
        if choice.best is None:
            yield f"{use}: ship none, because {choice.why}; next: measure on more pairs, or allow more."
            continue
        accuracy = choice.best.line.cells.get(ACCURACY)
        on_people = accuracy is not None and accuracy.valid and not is_of_rendered_faces(accuracy)
        then = "hand it to the app's developers (pocketface handoff)" if on_people else "measure it on photos of people"
        yield f"{use}: ship {choice.best.line.name}, because it is {choice.why} ({advice.limits}); next: {then}."
