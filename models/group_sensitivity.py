"""sensitivity.json: what is lost when one group of channels alone is cut, written by pruning and read by reports."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import written_whole


@dataclass(frozen=True)
class Sensitivity:
    """The loss when one group alone loses some of its channels."""

    group: str
    layers: tuple[str, ...]  # the convolutions and linear layers that lose filters
    width: int
    cut: int  # channels that were cut, the least important first
    share: float  # cut / width
    drift: float  # 1 - mean cosine between the embeddings without the cut and with it
    accuracy: float | None = None  # verification accuracy with the cut, where it was measured


def write_sensitivity(rows: Iterable[Sensitivity], path: Path) -> Path:
    """Writes `rows` as a JSON list, whole or not at all.

    Args:
        rows: As `sensitivity` gives them.
        path: The file; what lies there is replaced.

    Returns:
        `path`.
    """
    with written_whole(path) as beside:
        text = json.dumps([dataclasses.asdict(row) for row in rows], indent=1, ensure_ascii=False)
        beside.write_text(text + "\n", encoding="utf-8")
    return path


def read_sensitivity(path: Path) -> list[Sensitivity]:
    """Reads what `write_sensitivity` wrote.

    Args:
        path: A sensitivity.json.

    Returns:
        The rows, in the file's order.

    Raises:
        ValueError: The file is not such a list.
    """
    try:
        return [_row(entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} holds no sensitivities: {type(error).__name__}: {error}") from error


def _row(entry: Mapping[str, Any]) -> Sensitivity:
    accuracy = None if entry.get("accuracy") is None else float(entry["accuracy"])
    group, layers = str(entry["group"]), tuple(map(str, entry["layers"]))
    width, cut, share, drift = int(entry["width"]), int(entry["cut"]), float(entry["share"]), float(entry["drift"])
    return Sensitivity(group, layers, width, cut, share, drift, accuracy)
