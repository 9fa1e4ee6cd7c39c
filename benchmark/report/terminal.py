"""The result of a run in the terminal: a table of its files, and which to ship, why, and what to do next."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence

from ..figures import number_and_interval, number_text
from ..measurement import Measurement, is_of_rendered_faces
from .drift import COSINE, KEEPS, OVERLAP, is_without_labels
from .limits import DIFFERENCE, SIZE, JudgedFile, ShippingLimits, chance_of, limits_for
from .recommendation import Recommendation, recommend
from .speed_evidence import COUNTED_CORES
from .summary import ACCURACY, summarise
from .text_table import text_lines, text_table, width_of

DISTURBED = " ?"
QUESTION = "? does not count: others had the processor, or the report says why"
UNLABELLED = (
    "The faces have no labels, so no accuracy was measured: files were judged by their drift from the first. "
    "cosine: the mean to its embeddings; nearest: the share of each face's 10 nearest that are kept. From "
    f"{KEEPS[COSINE]:g} and {100 * KEEPS[OVERLAP]:.0f} % on, no file that was looked at lost more than 0.2 points."
)


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
    unlabelled = is_without_labels([file.line for file in files])
    table = _table(files, advice, width, unlabelled)
    legend = [QUESTION] if any(DISTURBED in line for line in table) else []
    said = [*([UNLABELLED] if unlabelled else []), *_sentences(advice, unlabelled)]
    return [*table, *legend, "", *(part for each in said for part in text_lines(each, width))]


def _table(files: Sequence[JudgedFile], advice: Recommendation, width: int, unlabelled: bool) -> list[str]:
    counted = {core: f"arm64_instructions@{core}" for core in COUNTED_CORES}
    core = next((core for core, key in counted.items() if any(key in file.line.cells for file in files)), None)
    titles, counts = ["file", "MB", "ms"], () if core is None else (counted[core],)
    judged_by = _drift if unlabelled else _accuracy
    judging = ("cosine", "nearest %") if unlabelled else ("accuracy %", "points")
    titles += [*([] if core is None else [f"ARM64 {core}"]), *judging, "verdict"]
    table = [_cells(file, counts, file in advice.best, judged_by(file, True)) for file in files]
    if width_of([titles, *table]) > width:
        table = [_cells(file, counts, file in advice.best, judged_by(file, False)) for file in files]
    rows: list[list[str]] = []
    model = None
    for file, cells in zip(files, table, strict=True):
        if file.line.model != model and any(other.line.model != file.line.model for other in files):
            rows.append([file.line.model])
        model = file.line.model
        rows.append(cells)
    return text_table(titles, rows, width, left=(0, len(titles) - 1))


def _accuracy(file: JudgedFile, with_interval: bool) -> list[str]:
    accuracy, difference = (file.line.cells.get(key) for key in (ACCURACY, DIFFERENCE))
    points = _number(difference, "points", with_interval).replace(" points", "")
    return [_number(accuracy, "share", True).replace(" %", ""), points]


def _drift(file: JudgedFile, with_interval: bool) -> list[str]:
    cosine, overlap = (file.line.cells.get(key) for key in (COSINE, OVERLAP))
    return [_number(cosine, "cosine", with_interval), _number(overlap, "share", with_interval).replace(" %", "")]


def _cells(file: JudgedFile, counts: Sequence[str], ships: bool, judged_by: Sequence[str]) -> list[str]:
    line = file.line
    size = line.cells.get(SIZE)
    name = line.name.removeprefix(line.model) or line.name
    return [
        name,
        "–" if size is None or size.value is None else f"{size.value / 1e6:.2f}",
        _number(file.latency, "ms", False).replace(" ms", ""),
        *(_number(line.cells.get(key), "count", False) for key in counts),
        *judged_by,
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


def _sentences(advice: Recommendation, unlabelled: bool) -> Iterator[str]:
    for use, choice in advice.choices:
        if choice.best is None:
            then = "verify the files on labelled pairs (--pairs)" if unlabelled else "measure on more pairs"
            then = f"{then}, or allow more"
            if choice.nearest is not None and chance_of(choice.nearest.line):
                then = "find out what it must be fed (pocketface probe)"
            yield f"{use}: ship none, because {choice.why}; next: {then}."
            continue
        accuracy = choice.best.line.cells.get(ACCURACY)
        on_people = accuracy is not None and accuracy.valid and not is_of_rendered_faces(accuracy)
        then = "hand it to the app's developers (pocketface handoff)" if on_people else "measure it on photos of people"
        then = "verify it on labelled pairs of people (--pairs)" if unlabelled else then
        yield f"{use}: ship {choice.best.line.name}, because it is {choice.why} ({advice.limits}); next: {then}."
