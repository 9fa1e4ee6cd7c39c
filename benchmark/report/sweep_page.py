"""The report of a sweep: one page, Markdown, and a table of its networks and files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...files import written_whole
from ..figures import interval, row_text
from .cells import cell_of, reasons_of
from .columns import columns_of
from .data_files import harmless
from .limits import DIFFERENCE, LATENCY, SIZE, ShippingLimits
from .page import templates
from .plot import plot_of
from .recommendation import Recommendation, recommend
from .result_facts import choice_facts, number_facts
from .summary import ACCURACY, Line, sets_of_pairs
from .sweep_curves import charts_of_sweep
from .swept import SweptPoint, SweptSource
from .verdict import recommendation_sentences, warnings_of

Row = tuple[SweptPoint, str, Line]
"""A network, what the line is of ("before recovery", "after recovery", "" of a file), and the line."""

NUMBERS = (
    "parameters",
    "macs",
    SIZE,
    LATENCY,
    "arm64_instructions@a76",
    ACCURACY,
    DIFFERENCE,
    "eer",
    "tar_at_far_1e-3",
)
"""Of sweep.csv, each with the ends of its interval where it has one."""
WITH_INTERVAL = (LATENCY, ACCURACY, DIFFERENCE, "eer", "tar_at_far_1e-3")


def write_sweep_report(
    sources: Sequence[SweptSource],
    out: Path,
    limits: ShippingLimits,
    said: Sequence[str],
    inputs: Mapping[str, str],
    name: str = "sweep",
) -> Path:
    """Writes sweep.html, sweep.md, sweep.csv and sweep.json into `out`, each whole or not at all.

    Args:
        sources: What was made, by source network.
        out: The sweep's folder.
        limits: What files are recommended for.
        said: What a search found.
        inputs: What the sweep learned from and was verified on, by name.
        name: Of the files: "report" for one of several sweeps.

    Returns:
        The path of the page, which needs nothing but a browser.
    """
    rows = [row for source in sources for row in _rows(source)]
    advice = [recommend(source.lines, limits) for source in sources]
    facts = _facts(sources, rows, advice, limits, said, inputs) | {"file": name}
    pages = templates()
    texts = {suffix: pages.get_template(f"sweep{suffix}.jinja").render(facts) for suffix in (".html", ".md")}
    texts |= {".csv": csv_of_sweep(sources), ".json": json_of_sweep(sources, advice)}
    for suffix, text in texts.items():
        with written_whole(out / f"{name}{suffix}") as beside:
            beside.write_text(text, encoding="utf-8")
    return out / f"{name}.html"


def csv_of_sweep(sources: Sequence[SweptSource]) -> str:
    """Gives one line per network and file, after one with the names of the fields; what is not known is empty."""
    settings = dict.fromkeys(key for source in sources for point in source.points for key in point.settings)
    columns = [
        name for key in NUMBERS for name in ([key, f"{key}_low", f"{key}_high"] if key in WITH_INTERVAL else [key])
    ]
    names = ["source", "network", "series", *settings, "level", "removed_filters", "removed_parameters", "removed_macs"]
    names += ["stage", "file", "format", "precision", *columns, "seconds", "reason"]
    text = io.StringIO()
    table = csv.DictWriter(text, names, lineterminator="\n")
    table.writeheader()
    for source in sources:
        made: list[tuple[SweptPoint, str, Line | None]] = [*_rows(source)]
        made += [(point, "not made", None) for point in source.points if point.network is None]
        for point, stage, line in made:
            plain = {"source": source.name, "network": point.name, "series": point.series, "level": point.level}
            plain |= {**point.settings, "stage": stage or "file", "reason": point.reason}
            sizes = {f"removed_{what}": point.removed(what) for what in point.sizes}
            numbers = {"seconds": round(point.seconds, 1), **sizes, **_numbers(line)}
            if line is not None:
                plain |= {"file": line.artifact, "format": line.format, "precision": line.precision}
            table.writerow({name: harmless(value) for name, value in (plain | numbers).items()})
    return text.getvalue()


def json_of_sweep(sources: Sequence[SweptSource], advice: Sequence[Recommendation]) -> str:
    """Gives "networks", one object each with what was counted and verified, and "ship" as `result_facts` does."""
    networks = [
        {
            "source": source.name,
            "network": point.name,
            "series": point.series,
            "level": point.level,
            "made": point.network is not None,
            **{key: None if point.network is None else point.network.value(key) for key in ("parameters", "macs")},
            **{key: point.network and number_facts(point.network.cells.get(key)) for key in (ACCURACY, DIFFERENCE)},
            "files": len(point.files),
        }
        for source in sources
        for point in (source.point, *source.points)
    ]
    ship = [fact for source, each in zip(sources, advice, strict=True) for fact in choice_facts(source.name, each)]
    return json.dumps({"pocketface_sweep": 1, "networks": networks, "ship": ship}, indent=1, ensure_ascii=False) + "\n"


def _facts(
    sources: Sequence[SweptSource],
    rows: Sequence[Row],
    advice: Sequence[Recommendation],
    limits: ShippingLimits,
    said: Sequence[str],
    inputs: Mapping[str, str],
) -> dict[str, Any]:
    lines = [line for _, _, line in rows]
    columns = columns_of([item for line in lines for item in line.cells.items()])
    reasons = reasons_of(lines, {})
    numbers = {reason: number for number, reason in enumerate(reasons, 1)}
    table = [{column.key: cell_of(line, column, numbers, {}) for column in columns} for line in lines]
    best = {i for i, line in enumerate(lines) for each in advice for judged in each.best if judged.line is line}
    comparable = len(sets_of_pairs(lines)) <= 1
    plot = plot_of(lines, table, columns, best, comparable)
    places = {id(line): number for number, line in enumerate(lines, 1)}
    files = [_file(number, row) for number, row in enumerate(rows, 1) if not row[1]]
    sentences = [
        (source.name, what, sentence)
        for source, each in zip(sources, advice, strict=True)
        for what, sentence in recommendation_sentences(source.lines, each)
    ]
    return {
        "title": ", ".join(source.name for source in sources),
        "warnings": warnings_of(lines),
        "said": said,
        "limits": limits,
        "advice": sentences,
        "several": len(sources) > 1,
        "sources": sources,
        "columns": columns,
        "main": [column for column in columns if column.main],
        "rows": [(point, stage, line, cells) for (point, stage, line), cells in zip(rows, table, strict=True)],
        "best": best,
        "comparable": comparable,
        "plot": plot,
        "reasons": reasons,
        "failed": [(point.name, point.reason) for source in sources for point in source.points if point.reason],
        "sliders": _sliders(files),
        "inputs": inputs,
        "charts": plot
        | {
            "sweep": charts_of_sweep(sources, columns, places),
            "files": files,
            "bars": [],
            "curves": [],
            "verified": [],
        },
    }


def _rows(source: SweptSource) -> Iterator[Row]:
    for point in (source.point, *source.points):
        if point.cut is not None:
            yield point, "before recovery", point.cut
        if point.network is not None:
            yield point, "source" if point is source.point else "after recovery", point.network
        yield from ((point, "", line) for line in point.files)


def _file(number: int, row: Row) -> dict[str, Any]:
    """Gives what the sliders judge a file by."""
    point, _, line = row
    size, difference, accuracy = line.value(SIZE), line.cells.get(DIFFERENCE), line.cells.get(ACCURACY)
    low = None if difference is None or not difference.valid else interval(difference)[0]
    return {
        "row": number,
        "name": line.name,
        "mb": None if size is None else size / 1e6,
        "ms": line.value(LATENCY),
        "low": low,
        "isSource": not point.series and line.precision == "fp32",
        "accuracy": row_text(accuracy) if accuracy is not None and accuracy.valid else "accuracy not measured",
    }


def _sliders(files: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, str, str]]:
    """Gives name, text, unit, largest value and step of each slider; its largest value stands for any."""
    most = {key: max((file[key] for file in files if file[key] is not None), default=1.0) for key in ("mb", "ms")}
    loss = max((-100 * file["low"] for file in files if file["low"] is not None), default=1.0)
    return [
        ("mb", "At most", "MB", f"{1.05 * most['mb']:.2f}", "0.01"),
        ("ms", "At most", "ms", f"{1.05 * most['ms']:.2f}", "0.01"),
        ("drop", "At most", "points lost", f"{max(1.0, 1.05 * loss):.1f}", "0.1"),
    ]


def _numbers(line: Line | None) -> dict[str, float | None]:
    numbers: dict[str, float | None] = {}
    for key in NUMBERS:
        row = None if line is None else line.cells.get(key)
        if row is None or not row.valid:
            continue
        numbers[key] = row.value
        if key in WITH_INTERVAL:
            numbers[f"{key}_low"], numbers[f"{key}_high"] = interval(row)
    return numbers
