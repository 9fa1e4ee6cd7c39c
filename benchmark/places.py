"""Where the numbers of a row were taken, by its runtime: this machine, a phone or Mac, an emulated core."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .adb.accelerators import ACCELERATORS, phone_runtime
from .arm64.cores import CORES, emulated_runtime
from .arm64.libraries import RUNTIMES


@dataclass(frozen=True)
class Place:
    """What the numbers of a runtime are numbers of."""

    runtime: str  # as the rows name it
    kind: Literal["this machine", "device", "emulated core", "interpreter"]  # a device is a phone or a Mac
    core: str = ""  # the emulated core, as the recipe names it

    @property
    def rank(self) -> int:
        """Of devices, which counts first; devices come before all else."""
        return DEVICES.index(self.runtime) if self.kind == "device" else len(DEVICES)


PLACES = (
    *(Place(phone_runtime(tool), "device") for tool in ("benchmark_model", "runner")),
    *(Place(phone_runtime("benchmark_model", name), "device") for name in ACCELERATORS if name != "cpu"),
    *(Place(f"coreml {unit}", "device") for unit in ("ALL", "CPU_AND_NE", "CPU_AND_GPU", "CPU_ONLY")),
    *(Place(emulated_runtime(core, runtime), "emulated core", core) for runtime in RUNTIMES for core in CORES),
    Place("coreml-evaluator", "interpreter"),
)
"""Of devices, the one whose latencies count first at the front; what is not here runs on this machine."""

DEVICES = tuple(place.runtime for place in PLACES if place.kind == "device")
_BY_RUNTIME = {place.runtime: place for place in PLACES}


def place_of(runtime: str) -> Place:
    """Gives the place that rows of `runtime` are about.

    >>> place_of("litert-arm64-a76").core, place_of("litert").kind
    ('a76', 'this machine')
    """
    return _BY_RUNTIME.get(runtime) or Place(runtime, "this machine")
