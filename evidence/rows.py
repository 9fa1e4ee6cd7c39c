"""Rows of evidence in a file, one a line (JSON Lines), so that a diff shows which row changed."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pocketface.benchmark.measurement import Measurement
from pocketface.files import written_whole

USUAL: dict[str, Any] = {"low": None, "high": None, "n": None, "valid": True, "reason": "", "source": ""}
"""Values that a row leaves out."""


def write_rows(rows: Iterable[Measurement], path: Path) -> None:
    """Writes `rows` to `path`, whole or not at all."""
    lines = []
    for row in rows:
        fields = {name: value for name, value in asdict(row).items() if name not in USUAL or value != USUAL[name]}
        lines.append(json.dumps(fields, ensure_ascii=False) + "\n")
    with written_whole(path) as beside:
        beside.write_text("".join(lines), encoding="utf-8")


def read_rows(path: Path) -> list[Measurement]:
    """Reads what `write_rows` wrote."""
    return [Measurement(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
