"""How long the stages of a run took, as its manifest says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TITLES = ("stage", "seconds", "CPU seconds")


def stage_times(manifest: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Gives stage, seconds by the clock and seconds of processors, as text; [] of a manifest that does not say.

    >>> stage_times({"stages": [{"stage": "prune", "seconds": 61.0, "cpu_seconds": 118.25}]})
    [('prune', '61.0', '118.2')]
    """
    stages = manifest.get("stages")
    rows = [row for row in stages if isinstance(row, Mapping)] if isinstance(stages, list) else []
    times = [(str(row.get("stage")), row.get("seconds"), row.get("cpu_seconds")) for row in rows]
    return [
        (stage, f"{seconds:.1f}", f"{cpu:.1f}")
        for stage, seconds, cpu in times
        if isinstance(seconds, int | float) and isinstance(cpu, int | float)
    ]
