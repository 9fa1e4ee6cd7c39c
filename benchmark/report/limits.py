"""Limits, and every file held to them: which it meets, which it misses and by how much."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ..figures import interval, number_text, row_text
from ..measurement import Measurement
from .summary import Line

ACCURACY, DIFFERENCE, SIZE, LATENCY = "verification_accuracy", "accuracy_difference", "size_bytes", "latency_ms_p50@1"
SAME_COSINE = 0.9999
"""From this cosine to the source on every face, a file is taken for the source in another format."""

LATENCY_RUNTIMES = ("adb", "coreml ALL", "coreml CPU_AND_NE", "coreml CPU_AND_GPU", "coreml CPU_ONLY")
"""Where latency counts before this machine's: runtimes on a phone or a Mac, the first that was measured."""

Verdict = Literal["keeps", "cannot tell", "worse", "not measured"]


@dataclass(frozen=True)
class ShippingLimits:
    """What an app allows a file."""

    max_mb: float | None = None  # of the file, 1 MB = 1,000,000 bytes
    max_ms: float | None = None  # median of one face on one thread
    max_drop: float = 0.2  # points of accuracy below the source; 99.3 % to 99.1 % is 0.2

    def __post_init__(self) -> None:
        """Refuses limits that no file can be held to."""
        for name, value in (("max-mb", self.max_mb), ("max-ms", self.max_ms)):
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"--{name} {value:g} allows no file; give a number above 0")
        if not 0 <= self.max_drop < 100:
            raise ValueError(f"--max-drop {self.max_drop:g} is no loss of accuracy; give points, 0 to 100")

    def __str__(self) -> str:
        """The limits, for people."""
        told = [f"at most {value:g} {unit}" for value, unit in ((self.max_mb, "MB"), (self.max_ms, "ms")) if value]
        return ", ".join([*told, f"at most {self.max_drop:g} points of accuracy below the source"])


def limits_for(
    rows: Iterable[Measurement],
    max_mb: float | None = None,
    max_ms: float | None = None,
    max_drop: float | None = None,
) -> ShippingLimits:
    """Gives the limits that were asked for; no drop asked for is what the runs themselves called equal."""
    if max_drop is None:
        margins = [row.conditions["margin"] for row in rows if row.metric == DIFFERENCE and "margin" in row.conditions]
        max_drop = 100 * max(margins) if margins else ShippingLimits.max_drop
    return ShippingLimits(max_mb, max_ms, max_drop)


@dataclass(frozen=True)
class Miss:
    """A limit that a file does not meet, or not for sure."""

    limit: str  # "size", "latency", "accuracy"
    excess: float  # how far above the limit, as a share of it; infinite where that is not known
    said: str


@dataclass(frozen=True)
class JudgedFile:
    """A file, held to the limits."""

    line: Line  # in the runtime that verified it
    latency: Measurement | None  # of one face on one thread, where it counts most; None: not asked for, not taken
    accuracy: Verdict
    misses: tuple[Miss, ...]

    @property
    def meets(self) -> bool:
        """Whether the file meets every limit for sure."""
        return not self.misses

    @property
    def milliseconds(self) -> float | None:
        """The latency, None where there is none that is valid."""
        return self.latency.value if self.latency is not None and self.latency.valid else None

    @property
    def size(self) -> float:
        """Bytes."""
        return self.line.value(SIZE) or math.inf


def judge_files(lines: Sequence[Line], limits: ShippingLimits) -> list[JudgedFile]:
    """Holds every converted file of one run to the limits; latencies that are compared are of one place.

    Args:
        lines: Of one run.
        limits: What the app allows.
    """
    files: dict[str, list[Line]] = {}
    for line in lines:
        if line.artifact and line.format != "pytorch":
            files.setdefault(line.artifact, []).append(line)
    places = {is_apple: _place(lines, is_apple) for is_apple in (False, True)}
    judged = []
    for of_file in files.values():
        line = next((at for at in of_file if ACCURACY in at.cells), of_file[0])
        latency, place = line.cells.get(LATENCY), places[line.format == "coreml"]
        if place:
            there = [at.cells.get(LATENCY) for at in of_file if at.runtime.startswith(place)]
            latency = next((row for row in there if row is not None), None)
        judged.append(_held(line, latency, lines, limits))
    return judged


def _place(lines: Sequence[Line], is_apple: bool) -> str:
    """Names the phone's or Mac's runtime where latencies were taken, "" where they are this machine's."""
    timed = [
        line.runtime for line in lines if (line.format == "coreml") == is_apple and line.value(LATENCY) is not None
    ]
    return next((place for place in LATENCY_RUNTIMES if any(runtime.startswith(place) for runtime in timed)), "")


def _held(line: Line, latency: Measurement | None, lines: Sequence[Line], limits: ShippingLimits) -> JudgedFile:
    verdict, said, excess = _accuracy(line, lines, limits.max_drop)
    misses = [] if verdict == "keeps" else [Miss("accuracy", excess, said)]
    size = line.value(SIZE)
    if limits.max_mb is not None and (size is None or size > limits.max_mb * 1e6):
        over = f"{size / 1e6:.2f} MB is above {limits.max_mb:g} MB" if size else "size not measured"
        misses.append(Miss("size", size / 1e6 / limits.max_mb - 1 if size else math.inf, over))
    if limits.max_ms is not None:
        taken = latency.value if latency is not None and latency.valid else None
        if taken is None:
            misses.append(Miss("latency", math.inf, "latency not measured here"))
        elif taken > limits.max_ms:
            over = f"{number_text(taken, 'ms')} is above {limits.max_ms:g} ms"
            misses.append(Miss("latency", taken / limits.max_ms - 1, over))
    return JudgedFile(line, latency, verdict, tuple(misses))


def _accuracy(line: Line, lines: Sequence[Line], most: float) -> tuple[Verdict, str, float]:
    """Gives the verdict on the paired difference, a phrase, and how far the loss is above what is allowed."""
    row, cosine = line.cells.get(DIFFERENCE), line.value("embedding_cosine_min")
    if line.value(ACCURACY) is None:
        failed = line.cells.get(ACCURACY)
        return (
            "not measured",
            f"accuracy not measured: {failed.reason}" if failed else "accuracy not measured",
            math.inf,
        )
    if cosine is not None and cosine >= SAME_COSINE:
        return "keeps", "", 0.0
    if row is None and any(DIFFERENCE in other.cells for other in lines):
        return "keeps", "", 0.0  # all others are compared with it
    if row is None or not row.valid or row.value is None:
        return "not measured", "its accuracy was not compared with the source's pair by pair", math.inf
    low, high = interval(row)
    said = row_text(row)
    agreed = row.conditions.get("verdict") in ("equal", "better") and 100 * row.conditions.get("margin", 1) <= most
    if agreed or (low is not None and 100 * low >= -most):
        return "keeps", "", 0.0
    excess = (-100 * row.value - most) / (most or 0.2)
    if high is not None and 100 * high < -most:
        return "worse", f"{-100 * row.value - most:.2f} points worse than allowed ({said})", excess
    needed = row.conditions.get("pairs_needed")
    more = f"; about {needed:,} pairs would tell" if isinstance(needed, int) else ""
    return (
        "cannot tell",
        f"these pairs cannot tell whether it is within {most:g} points ({said}){more}",
        max(excess, 0.0),
    )
