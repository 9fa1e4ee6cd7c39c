"""What is counted of a file: the meters of layer costs that a pruning budget can name, and what int8 is chosen by."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

from ..export.tflite.fastest_int8 import FileCost, time_here
from .arm64.emulated import instructions, instructions_of
from .arm64.emulator import setup
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


def phone_cost(core: str = "a76") -> FileCost:
    """Gives what an int8 file for phones is chosen by: its instructions on an emulated ARM64 core.

    Between precisions, counts on the A76 came nearer to a phone's times than those on an A53: see `arm64.emulated`.
    Where there is no emulator it is CPU time on this machine, and the unit says so.
    """
    try:
        setup()
    except ValueError:
        here = time_here()
        return dataclasses.replace(here, unit=f"{here.unit}, as no emulator of ARM64 is here; phones may differ")
    counted = functools.cache(functools.partial(instructions, core=core))

    def share(fp32: Path, path: Path) -> float:
        return counted(path) / counted(fp32)

    return FileCost(f"instructions on an emulated ARM64 {core}", share)
