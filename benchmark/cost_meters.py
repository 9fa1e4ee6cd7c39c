"""The meters of layer costs, by unit: what a pruning budget can count besides size."""

from __future__ import annotations

from collections.abc import Callable

from .arm64.emulated import instructions_of
from .speed.meters import Meter, stopwatch_meter


def instruction_meter(core: str = "a76") -> Meter:
    """Counts the instructions that LiteRT executes on an emulated ARM64 core, a name of `CORES`.

    They rise evenly with the width: between quarters of the width a line is right to 0.5 %.
    """
    return Meter("instructions", f"emulated ARM64 {core}", 1, lambda paths: instructions_of(paths, core), 4)


METERS: dict[str, Callable[[], Meter]] = {"milliseconds": stopwatch_meter, "instructions": instruction_meter}


def meter_of(unit: str) -> Meter:
    """Gives the meter of a unit; raises ValueError if there is none."""
    if unit not in METERS:
        raise ValueError(f"nothing here measures {unit!r}; known: {', '.join(METERS)}")
    return METERS[unit]()
