"""Files in a run folder: tables (manifest.json, recipe.toml) as names and values; whose its measurements are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .measurement import NAME, Measurement, read_measurements
from .places import place_of


def read_mapping(path: Path, parse: Callable[[str], Any] = json.loads) -> dict[str, Any]:
    """Reads a file that holds one table; an empty one where there is no file.

    Raises:
        ValueError: It cannot be parsed, or holds something else.
    """
    if not path.is_file():
        return {}
    try:
        table = parse(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no {path.suffix[1:].upper()}: {error}") from None
    if not isinstance(table, dict):
        raise ValueError(f"{path} holds no table")
    return table


def named_values(value: Any, separator: str, name: str = "") -> Iterator[tuple[str, str]]:
    """Gives the name and text of each value in a table; entries of a list of tables are numbered.

    >>> list(named_values({"host": {"cores": 2}, "inputs": [{"path": "w"}], "threads": [1, 2]}, "."))
    [('host.cores', '2'), ('inputs.1.path', 'w'), ('threads', '[1, 2]')]
    """
    if isinstance(value, list) and any(isinstance(entry, Mapping) for entry in value):
        value = dict(enumerate(value, 1))
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from named_values(inner, separator, f"{name}{separator}{key}" if name else str(key))
    else:
        yield name, str(value)


def check_measurements(folder: Path, by: str) -> None:
    """Refuses, before anything slow, to have the measurements of one stage replaced by those of another.

    Args:
        folder: Where `by` would write measurements.json.
        by: "run", "benchmark" or "prune".

    Raises:
        ValueError: Another stage wrote the one that is there, and `with_rows_of_others` does not keep its rows.
    """
    holder = _measured_by(folder)
    if holder not in (by, "") and (holder, by) != ("prune", "benchmark"):
        raise ValueError(
            f"{folder} holds the measurements of `pocketface {holder}`, which `pocketface {by}` would replace; "
            "name another folder with --out"
        )


def with_rows_of_others(rows: Sequence[Measurement], folder: Path) -> list[Measurement]:
    """Gives `rows`, and what other stages measured in that folder before and is still true.

    Args:
        rows: Of files in `folder`, to be written there.
        folder: Perhaps with a measurements.json. Of that stay how much faster pruning made a network, and what
            `pocketface phone` measured of files that are as large as they were then.
    """
    try:
        before = read_measurements(folder / NAME)
    except ValueError:
        before = []
    sizes, then = _sizes(rows), _sizes(before)
    of_phone = [row for row in before if _from_phone(row) and sizes.get(row.artifact, 0) == then.get(row.artifact)]
    return [*(row for row in before if is_of_prune(row)), *rows, *of_phone]


def _measured_by(folder: Path) -> str:
    try:
        rows = read_measurements(folder / NAME)
    except ValueError:  # there are none, or they cannot be read, and are nobody's loss
        return ""
    if (folder / "recipe.toml").is_file() and (folder / "manifest.json").is_file():
        return "run"
    for stage, is_from in (("prune", is_of_prune), ("phone", _from_phone)):
        if all(is_from(row) for row in rows):
            return stage if rows else ""
    return "benchmark"


def is_of_prune(row: Measurement) -> bool:
    """Tells whether a row is of `pocketface prune`: the speed of a network, of which no file is kept."""
    return not row.artifact and row.metric in ("latency_ms_p50", "latency_ratio")


def _from_phone(row: Measurement) -> bool:
    return place_of(row.runtime).kind == "device"


def _sizes(rows: Sequence[Measurement]) -> dict[str, float | None]:
    return {row.artifact: row.value for row in rows if row.metric == "size_bytes"}
