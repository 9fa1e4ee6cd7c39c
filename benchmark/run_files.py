"""Tables in a run folder (manifest.json, recipe.toml): read, and flattened to names and values."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any


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
