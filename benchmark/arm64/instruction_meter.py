"""Layer costs in instructions of an emulated ARM64 core."""

from __future__ import annotations

from ..speed.meters import Meter
from .emulated import instructions_of


def instruction_meter(core: str = "a76") -> Meter:
    """Counts the instructions that LiteRT executes on an emulated ARM64 core, a name of `CORES`.

    They rise evenly with the width: between quarters of the width a line is right to 0.5 %.
    """
    return Meter("instructions", f"emulated ARM64 {core}", 1, lambda paths: instructions_of(paths, core), 4)
