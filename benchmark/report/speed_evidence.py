"""By what evidence files are said to be fast: a phone, instructions counted on an emulated phone core, this machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from ..arm64.cores import CORES
from ..figures import interval, number_text
from ..measurement import Measurement
from ..places import place_of
from .limits import LATENCY, JudgedFile

Kind = Literal["phone", "arm64 counts", "this machine", "cpu time", "none"]
"""A phone's or Mac's latency; emulated instructions; this machine's latency, and where it is too busy for that its CPU
time; nothing that is valid: size decides."""

CPU_TIME = "cpu_ms@1"

COUNTED_CORES = ("a76", "a55", "i8mm", "a53")
"""Emulated cores, the one whose counts are believed first at the front."""

COUNTS_APART = 0.15
"""Files whose counts differ by less are equally fast: counts miss a phone's latency by up to 13 %, see `emulated`."""


class Cost(NamedTuple):
    """What one inference costs, and the span within which it is not told from another file's."""

    value: float
    low: float
    high: float
    text: str  # "2.50 ms"


@dataclass(frozen=True)
class SpeedEvidence:
    """What the speed of some files is judged by, the same for all of them."""

    kind: Kind
    core: str  # the emulated core whose instructions count, "" without
    sentence: str  # what was used and what it is worth, for people

    @property
    def key(self) -> str:
        """The key of the number that decides, as `metric_keys.key_of` gives it."""
        return f"arm64_instructions@{self.core}" if self.core else CPU_TIME if self.kind == "cpu time" else LATENCY

    def cost(self, file: JudgedFile) -> Cost | None:
        """Gives the file's cost; None where this evidence says nothing of it."""
        if self.kind == "none":
            return None
        row = self.row(file)
        if row is None or not row.valid or row.value is None:
            return None
        if self.kind == "arm64 counts":
            reach = math.sqrt(1 + COUNTS_APART)
            return Cost(
                row.value, row.value / reach, row.value * reach, f"{number_text(row.value, 'count')} instructions"
            )
        low, high = interval(row)
        ends = (row.value, row.value) if low is None or high is None else (low, high)
        of_cpu = " of CPU time" if self.kind == "cpu time" else ""
        return Cost(row.value, *ends, number_text(row.value, "ms") + of_cpu)

    def row(self, file: JudgedFile) -> Measurement | None:
        """Gives the row that says how fast the file is."""
        return file.latency if self.key == LATENCY else file.line.cells.get(self.key)


def speed_evidence(files: Sequence[JudgedFile]) -> SpeedEvidence:
    """Gives the best evidence that there is of the files' speed: a phone's latency, ARM64 counts, this machine's.

    Where others had this machine's core while some of the files were timed, CPU time stands for its latencies.
    Counts compare files of one precision on any core, and files of several precisions only on a core with dot
    products of int8 (sdot): without it, int8 executes twice the share of instructions that it takes of the time.

    Args:
        files: All for one use, those that meet the limits.
    """
    timed = [file for file in files if file.milliseconds is not None]
    on_phone = [row for file in timed if (row := file.latency) and place_of(row.runtime).kind == "device"]
    if on_phone:
        row = on_phone[0]
        return SpeedEvidence("phone", "", f"Speed was judged by latencies of {row.device or row.runtime}.")
    for core in COUNTED_CORES:
        by_core = SpeedEvidence("arm64 counts", core, "")
        precisions = {file.line.precision for file in files if by_core.cost(file)}
        if precisions and (CORES[core].has_int8_dot_products or len(precisions) == 1):
            return replace(by_core, sentence=_of_counts(core, len(precisions), bool(timed)))
    disturbed = [row for file in files if (row := file.latency) and not row.valid and row.value is not None]
    by_cpu = SpeedEvidence("cpu time", "", "")
    if disturbed and sum(by_cpu.cost(file) is not None for file in files) > len(timed):
        return replace(by_cpu, sentence=_of_cpu_time(disturbed[0], bool(timed)))
    if timed:
        why = "no phone was timed, and no ARM64 instructions were counted that tell these files apart"
        sentence = f"Speed was judged by this machine's latency, as {why}; a phone may order the files differently."
        return SpeedEvidence("this machine", "", sentence)
    reasons = [file.latency.reason for file in files if file.latency is not None]
    because = f": {reasons[0]}" if reasons else ""
    return SpeedEvidence("none", "", f"The size decides, as no valid number tells the speed{because}.")


def _of_cpu_time(disturbed: Measurement, has_latency: bool) -> str:
    which = "not every latency" if has_latency else "no latency"
    return (
        f"Speed was judged by this machine's CPU time, as no phone was timed, no ARM64 instructions were counted that "
        f"tell these files apart, and {which} of this machine is valid: {disturbed.reason}. A phone may order the "
        "files differently."
    )


def _of_counts(core: str, precisions: int, has_latency: bool) -> str:
    instead = "no phone was timed" + ("" if has_latency else ", and no latency of this machine is valid")
    worth = "between precisions they are an indication" if precisions > 1 else "they order files of one precision"
    return (
        f"Speed was judged by ARM64 instructions counted on an emulated {CORES[core].name}, as {instead}; {worth}, and "
        f"counts within {100 * COUNTS_APART:.0f} % of each other are called equal."
    )
