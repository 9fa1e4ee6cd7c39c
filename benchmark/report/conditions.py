"""How it was measured: the conditions in the rows themselves, those that rows share written once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..measurement import Measurement
from ..metrics import FAMILIES, metric_of
from .summary import Line

RUNTIME_NOTES = {
    "coreml-evaluator": "Rows of runtime coreml-evaluator are emulated: a reference interpreter of the saved "
    ".mlpackage computed the embeddings, not Apple's runtime, and latency is not measured. To measure it, run "
    "mac/measure.py of the hand-off on a Mac and copy its mac_results.json into the run folder, or open the "
    ".mlpackage in Xcode (Performance tab) on a Mac or an iPhone.",
}


def runtime_notes(lines: Sequence[Line]) -> list[str]:
    """Gives what must be known of the runtimes of `lines` before their numbers are believed."""
    return [note for runtime, note in RUNTIME_NOTES.items() if any(line.runtime == runtime for line in lines)]


def conditions_of(rows: Sequence[Measurement]) -> list[tuple[str, str, str, str]]:
    """Gives (family, runtimes, device, conditions) by family; runtimes under the same conditions are joined."""
    by_place: dict[tuple[str, str, str], dict[str, dict[Any, None]]] = {}
    for row in rows:
        place = (metric_of(row.metric).family, row.runtime, row.device)
        for key, value in {**row.conditions, "n": row.n}.items() if row.valid else ():
            if value is not None and not isinstance(value, (dict, list)):
                by_place.setdefault(place, {}).setdefault(key, {})[value] = None
    runtimes: dict[tuple[str, str, str], list[str]] = {}
    for (family, runtime, device), values in by_place.items():
        version = " ".join(map(str, values.pop("runtime_version", {})))
        distinct = {key: list(each) for key, each in values.items() if key != "n" or len(each) == 1}
        text = "; ".join(f"{key.replace('_', ' ')}: {_joined(key, each)}" for key, each in distinct.items())
        runtimes.setdefault((family, device, text), []).append(f"{runtime} {version}".strip())
    table = [(family, ", ".join(names), device, text) for (family, device, text), names in runtimes.items() if text]
    return sorted(table, key=lambda entry: FAMILIES.index(entry[0]))


def _joined(key: str, values: Sequence[Any]) -> str:
    """Gives the values, the range of many numbers, the beginning of a hash."""
    if len(values) > 6 and all(isinstance(value, (int, float)) for value in values):
        return f"{min(values):.4g} to {max(values):.4g}"
    return ", ".join(str(value)[: 12 if key.endswith("sha256") else None] for value in values)
