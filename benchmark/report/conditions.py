"""How it was measured: the conditions that the measurements themselves tell, what is alike told once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..measurement import Measurement
from .summary import Line

FAMILIES = {  # what belongs together, by the beginning of the metric's name
    "Speed and memory": ("latency", "load", "first", "peak", "arm64", "xnnpack"),
    "Verification": ("verification", "eer", "auc", "tar_at", "threshold"),
    "Drift from the source embedder": ("embedding",),
    "Parity with PyTorch": ("largest", "parity"),
    "Size": ("size", "compressed", "parameters", "macs"),
}
RUNTIME_NOTES = {
    "coreml-evaluator": "Rows of runtime coreml-evaluator are emulated: they are the numerics of a reference "
    "interpreter of the saved .mlpackage, not of Apple's runtime, and latency is not measured. To measure "
    "it, run mac/measure.py of the hand-off on a Mac and bring its mac_results.json back, or open the .mlpackage in "
    "Xcode (Performance tab) on a Mac or an iPhone.",
}


def runtime_notes(lines: Sequence[Line]) -> list[str]:
    """Gives what must be known of the runtimes of `lines` before their numbers are believed."""
    return [note for runtime, note in RUNTIME_NOTES.items() if any(line.runtime == runtime for line in lines)]


def conditions_of(rows: Sequence[Measurement]) -> list[tuple[str, str, str, str]]:
    """Gives (family, runtimes, device, conditions), as the measurements themselves tell them."""
    told: dict[tuple[str, str, str], dict[str, dict[Any, None]]] = {}
    for row in rows:
        family = next((name for name, starts in FAMILIES.items() if row.metric.startswith(starts)), "Other")
        for key, value in {**row.conditions, "n": row.n}.items() if row.valid else ():
            if value is not None and not isinstance(value, (dict, list)):
                told.setdefault((family, row.runtime, row.device), {}).setdefault(key, {})[value] = None
    alike: dict[tuple[str, str, str], list[str]] = {}
    for (family, runtime, device), of_place in told.items():
        version = " ".join(map(str, of_place.pop("runtime_version", {})))
        kept = {key: list(values) for key, values in of_place.items() if key != "n" or len(values) == 1}
        text = "; ".join(f"{key.replace('_', ' ')}: {_several(key, values)}" for key, values in kept.items())
        alike.setdefault((family, device, text), []).append(f"{runtime} {version}".strip())
    order = [*FAMILIES, "Other"]
    found = [(family, ", ".join(runtimes), device, text) for (family, device, text), runtimes in alike.items() if text]
    return sorted(found, key=lambda entry: order.index(entry[0]))


def _several(key: str, values: Sequence[Any]) -> str:
    """Gives the values, the range of many numbers, the beginning of a hash."""
    if len(values) > 6 and all(isinstance(value, (int, float)) for value in values):
        return f"{min(values):.4g} to {max(values):.4g}"
    return ", ".join(str(value)[: 12 if key.endswith("sha256") else None] for value in values)
