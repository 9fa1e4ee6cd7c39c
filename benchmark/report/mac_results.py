"""Measurements that the hand-off's script took on a Mac: its JSON, read as untrusted text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from ...export.artifact import Precision
from ..measurement import Measurement, RowMaker

RESULT_FILES = tuple(f"{place}mac_results.json" for place in ("", "handoff/mac/", "ship/mac/"))
"""Where a report looks for it in a run folder."""
LARGEST_FILE = 1 << 20  # bytes
MOST_ROWS, LONGEST_TEXT = 1000, 300
UNITS = ("CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL")
TIMES = {"load_ms": "load_ms", "first_ms": "first_ms", "median_ms": "latency_ms_p50", "p90_ms": "latency_ms_p90"}
COSINES = {"cosine_min": "parity_cosine_min", "cosine_mean": "parity_cosine_mean"}


def read_mac_results(path: Path) -> list[Measurement]:
    """Reads what `mac/measure.py` of a hand-off wrote on a Mac.

    Raises:
        ValueError: It is no such file, too large, or holds what the script cannot have written.
    """
    if not path.is_file():
        raise ValueError(f"no file at {path}; mac/measure.py of a hand-off writes mac_results.json on a Mac")
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes; results of a Mac have at most {LARGEST_FILE}")
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        if _of(results, "pocketface_mac_results", int) != 1:
            raise ValueError("it is of another version of the script")
        device = _of(results, "device", dict)
        where = f"{_text(device, 'chip')}, {_text(device, 'system')}"
        tools = _text(results, "coremltools")
        rows = _of(results, "rows", list)
        if len(rows) > MOST_ROWS:
            raise ValueError(f"it has {len(rows)} rows; at most {MOST_ROWS} are read")
        return [measurement for row in rows for measurement in _measurements(row, where, tools)]
    except (ValueError, OverflowError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise ValueError(f"{path.name} holds no results of a Mac: {reason[:LONGEST_TEXT]}") from error


def _measurements(row: Any, where: str, tools: str) -> list[Measurement]:
    precision, unit = _text(row, "precision"), _text(row, "unit")
    if precision not in get_args(Precision) or unit not in UNITS:
        raise ValueError(f"no precision {precision!r} or no compute unit {unit!r}")
    name = Path(_text(row, "file")).name
    maker = RowMaker(_text(row, "model"), name, "coreml", precision, f"coreml {unit}", where)
    maker = maker.under(compute_units=unit, sha256=_text(row, "sha256"), coremltools=tools)
    if "reason" in row:
        return [maker.missing("latency_ms_p50", _text(row, "reason"))]
    runs, faces = _count(row, "runs"), _count(row, "faces")
    placement = row.get("placement")
    if placement is not None:
        if not isinstance(placement, dict) or len(placement) > 20:
            raise ValueError("'placement' is no table of at most 20 counts")
        counts = {_word(kind): _count(placement, kind) for kind in placement}
        maker = maker.under(placement=", ".join(f"{count} on {kind}" for kind, count in sorted(counts.items())))
    times = [maker.value(metric, _number(row, key, 0, 1e7), runs) for key, metric in TIMES.items()]
    parity = maker.under(to="coreml-evaluator")
    cosines = [parity.value(metric, _number(row, key, -1.001, 1.001), faces) for key, metric in COSINES.items()]
    return [*times, *cosines]


def _of(values: Any, key: str, kind: type) -> Any:
    if not isinstance(values, dict) or type(values.get(key)) is not kind:
        raise ValueError(f"{key!r} is missing or of another kind than {kind.__name__}")
    return values[key]


def _text(values: Any, key: str) -> str:
    return _word(_of(values, key, str))


def _word(text: str) -> str:
    if not text or len(text) > LONGEST_TEXT or not text.isprintable():
        raise ValueError(f"{text[:40]!r} is no name: it is empty, too long, or holds what cannot be printed")
    return text


def _count(values: Any, key: str) -> int:
    count = _of(values, key, int)
    if not 0 <= count <= 1_000_000:
        raise ValueError(f"{key!r} is {count}")
    return int(count)


def _number(values: Mapping[str, Any], key: str, least: float, most: float) -> float:
    value = values.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{key!r} is no number")
    if not least <= value <= most:
        raise ValueError(f"{key!r} is {value}")
    return float(value)
