"""Rows of evidence in a file, one a line (JSON Lines), so that a diff shows which row changed."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from pocketface.benchmark.measurement import Measurement
from pocketface.files import written_whole


def write_rows(rows: Iterable[Measurement], path: Path) -> None:
    """Writes `rows` to `path`, whole or not at all."""
    with written_whole(path) as beside:
        beside.write_text("".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def read_rows(path: Path) -> list[Measurement]:
    """Reads what `write_rows` wrote."""
    return [Measurement(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
