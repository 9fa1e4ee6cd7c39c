"""The meters that measure layer costs, by unit: what a pruning budget can count besides size."""

from __future__ import annotations

from collections.abc import Callable

from .arm64.instruction_meter import instruction_meter
from .speed.meters import Meter, stopwatch_meter

METERS: dict[str, Callable[[], Meter]] = {"milliseconds": stopwatch_meter, "instructions": instruction_meter}


def meter_of(unit: str) -> Meter:
    """Gives the meter of a unit: milliseconds on this machine, one thread, or instructions on an emulated Cortex-A76.

    Raises:
        ValueError: No such unit.
    """
    if unit not in METERS:
        raise ValueError(f"nothing here measures {unit!r}; known: {', '.join(METERS)}")
    return METERS[unit]()
