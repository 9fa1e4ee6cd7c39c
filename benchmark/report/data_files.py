"""The report for other programs: every row as CSV, lines and recommendation as JSON."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from ..measurement import Measurement
from .limits import JudgedFile
from .recommendation import Recommendation
from .summary import Line

FIELDS = ("run", *(field.name for field in dataclasses.fields(Measurement)))


def csv_of(runs: Iterable[tuple[str, Sequence[Measurement]]]) -> str:
    """Gives one line per row of measurements.json, after one with the names of the fields.

    Numbers have all their digits; what a row does not have is empty; `conditions` is a JSON object. A text that a
    spreadsheet would run as a formula has an apostrophe before it, and one with a line break a space instead.
    """
    text = io.StringIO()
    table = csv.DictWriter(text, FIELDS, lineterminator="\n")
    table.writeheader()
    for run, rows in runs:
        for row in rows:
            conditions = json.dumps(row.conditions, ensure_ascii=False, sort_keys=True)
            cells = {"run": run, **vars(row), "valid": str(row.valid).lower(), "conditions": conditions}
            table.writerow({name: harmless(cell) for name, cell in cells.items()})
    return text.getvalue()


def harmless(cell: Any) -> Any:
    """Gives a cell as a spreadsheet shows it and does not run it. Source: OWASP, CSV Injection."""
    if not isinstance(cell, str):
        return cell
    flat = " ".join(cell.splitlines())
    return f"'{flat}" if flat.startswith(("=", "+", "-", "@", "\t")) else flat


def json_of(lines: Sequence[Line], recommendations: Sequence[tuple[str, Recommendation]]) -> str:
    """Gives the lines of the table, each cell with its interval and validity, and the recommended files and why."""
    report = {
        "pocketface_report": 1,
        "recommendations": [_recommendation(run, each) for run, each in recommendations],
        "lines": [_line(line) for line in lines],
    }
    return json.dumps(report, indent=1, ensure_ascii=False) + "\n"


def _recommendation(run: str, recommendation: Recommendation) -> dict[str, Any]:
    return {
        "run": run,
        "limits": dataclasses.asdict(recommendation.limits),
        "choices": [
            {
                "for": title,
                "artifact": choice.best.line.artifact if choice.best else None,
                "why": choice.why,
                "speed_evidence": choice.evidence.kind if choice.evidence else None,
                "speed_core": choice.evidence.core if choice.evidence else None,
                "nearest": choice.nearest.line.artifact if choice.nearest else None,
                "files": [
                    *([{**_file(choice.best), "why_not": ""}] if choice.best else []),
                    *({**_file(file), "why_not": why} for file, why in choice.others),
                ],
            }
            for title, choice in recommendation.choices
        ],
    }


def _file(file: JudgedFile) -> dict[str, Any]:
    return {
        "artifact": file.line.artifact,
        "meets": file.meets,
        "accuracy": file.accuracy,
        "size_bytes": file.line.value("size_bytes"),
        "latency_ms": file.milliseconds,
        "misses": [miss.limit for miss in file.misses],
    }


def _line(line: Line) -> dict[str, Any]:
    place = ("run", "model", "artifact", "format", "precision", "runtime", "device")
    cells = {
        key: {name: getattr(row, name) for name in ("value", "unit", "low", "high", "n", "valid", "reason")}
        for key, row in line.cells.items()
    }
    return {**{name: getattr(line, name) for name in place}, "cells": cells}
