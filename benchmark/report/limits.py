"""Limits of an app, and for every file which of them it meets, which it misses and by how much."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...export.formats import CHECKPOINT, FORMATS
from ..figures import interval, number_text, row_text
from ..measurement import FED_AS_TRAINED, Measurement
from ..metric_keys import phrase_of
from ..places import place_of
from .drift import JITTER, Verdict, drift_verdict, is_without_labels
from .summary import ACCURACY, Line

DIFFERENCE, SIZE, LATENCY = "accuracy_difference", "size_bytes", "latency_ms_p50@1"
AUC = "auc"
SAME_COSINE = 0.9999
"""From this lowest cosine to the source on, a file counts as the source in another format."""


@dataclass(frozen=True)
class ShippingLimits:
    """What an app allows a file."""

    max_mb: float | None = None  # of the file, 1 MB = 1,000,000 bytes
    max_ms: float | None = None  # median of one face on one thread
    max_drop: float = 0.2  # points of accuracy below the source; 99.3 % to 99.1 % is 0.2

    def __post_init__(self) -> None:
        """Refuses limits that no file can meet."""
        for name, value in (("max-mb", self.max_mb), ("max-ms", self.max_ms)):
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"--{name} {value:g} allows no file; give a number above 0")
        if not 0 <= self.max_drop < 100:
            raise ValueError(f"--max-drop {self.max_drop:g} is no loss of accuracy; give points, 0 to 100")

    def __str__(self) -> str:
        """The limits, for people."""
        amounts = ((self.max_mb, "MB"), (self.max_ms, "ms"), (self.max_drop, "points of accuracy below the source"))
        return ", ".join(f"at most {value:g} {unit}" for value, unit in amounts if value is not None)


def limits_for(
    rows: Iterable[Measurement],
    max_mb: float | None = None,
    max_ms: float | None = None,
    max_drop: float | None = None,
) -> ShippingLimits:
    """Gives limits; without `max_drop` it is the largest margin within which the rows' own verdicts say equal."""
    if max_drop is None:
        margins = [margin for row in rows if row.metric == DIFFERENCE and (margin := _margin(row)) is not None]
        max_drop = 100 * max(margins) if margins else ShippingLimits.max_drop
    return ShippingLimits(max_mb, max_ms, max_drop)


def _margin(row: Measurement) -> float | None:
    """Gives the share of accuracy within which the row's verdict says equal."""
    margin = row.conditions.get("margin")
    return margin if isinstance(margin, int | float) else None


@dataclass(frozen=True)
class Miss:
    """A limit that a file does not meet, or not for sure."""

    limit: str  # "size", "latency", "accuracy"
    excess: float  # how far above the limit, as a share of it; infinite where that is not known
    reason: str


@dataclass(frozen=True)
class JudgedFile:
    """A file, and which limits it meets."""

    line: Line  # in the runtime that verified it
    latency: Measurement | None  # median of one face on one thread, where it counts most; None: no row has it
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
    """Judges every converted file of one run by the limits; all latencies that are compared are of one place.

    Args:
        lines: Of one run.
        limits: What the app allows.
    """
    files: dict[str, list[Line]] = {}
    for line in lines:
        if line.artifact and line.format != CHECKPOINT:
            files.setdefault(line.artifact, []).append(line)
    devices = {is_apple: _device(lines, is_apple) for is_apple in (False, True)}
    judged = []
    for of_file in files.values():
        line = next((at for at in of_file if ACCURACY in at.cells or JITTER in at.cells), of_file[0])
        latency, device = line.cells.get(LATENCY), devices[is_for_apple(line)]
        if device is not None:
            rows = [at.cells.get(LATENCY) for at in of_file if (at.runtime, at.device) == device]
            latency = next((row for row in rows if row is not None), None)
        judged.append(_judged(line, latency, lines, limits))
    return judged


def is_for_apple(line: Line) -> bool:
    """Tells whether the file runs on Apple's systems only."""
    return line.format in FORMATS and FORMATS[line.format].apple_only


def _device(lines: Sequence[Line], is_apple: bool) -> tuple[str, str] | None:
    """Gives the runtime and the phone or Mac whose latencies count, None where they are this machine's."""
    timed = [line for line in lines if is_for_apple(line) == is_apple and line.value(LATENCY) is not None]
    on_device = [line for line in timed if place_of(line.runtime).kind == "device"]
    first = min(on_device, key=lambda line: place_of(line.runtime).rank, default=None)
    return None if first is None else (first.runtime, first.device)


def _judged(line: Line, latency: Measurement | None, lines: Sequence[Line], limits: ShippingLimits) -> JudgedFile:
    verdict, reason, excess = _accuracy(line, lines, limits.max_drop)
    misses = [] if verdict == "keeps" else [Miss("accuracy", excess, reason)]
    size = line.value(SIZE)
    if limits.max_mb is not None and (size is None or size > limits.max_mb * 1e6):
        reason = f"{size / 1e6:.2f} MB is above {limits.max_mb:g} MB" if size else "size not measured"
        misses.append(Miss("size", size / 1e6 / limits.max_mb - 1 if size else math.inf, reason))
    if limits.max_ms is not None:
        median = latency.value if latency is not None and latency.valid else None
        if median is None:
            misses.append(Miss("latency", math.inf, "latency not measured here"))
        elif median > limits.max_ms:
            reason = f"{number_text(median, 'ms')} is above {limits.max_ms:g} ms"
            misses.append(Miss("latency", median / limits.max_ms - 1, reason))
    return JudgedFile(line, latency, verdict, tuple(misses))


def _is_chance(row: Measurement) -> bool:
    """Tells whether a share is within chance of one half, or below it: a coin would decide as well."""
    low, _ = interval(row)
    return row.value is not None and (row.value if low is None else low) <= 0.5


def chance_of(line: Line) -> str:
    """Gives the key of the number by which a file tells people apart no better than chance does, "" without one."""
    rows = {key: row for key in (ACCURACY, AUC) if (row := line.cells.get(key)) is not None}
    return next((key for key, row in rows.items() if row.valid and _is_chance(row)), "")


def _accuracy(line: Line, lines: Sequence[Line], most: float) -> tuple[Verdict, str, float]:
    """Gives the verdict on the paired difference, the reason, and how far the loss is above `most`, a share of it."""
    row, cosine = line.cells.get(DIFFERENCE), line.value("embedding_cosine_min")
    if is_without_labels(lines):
        same = cosine is not None and cosine >= SAME_COSINE
        return ("keeps", "", 0.0) if same else drift_verdict(line, most)
    if key := chance_of(line):
        return "worse", f"{phrase_of(key)} {row_text(line.cells[key])} is that of chance: {FED_AS_TRAINED}", math.inf
    if line.value(ACCURACY) is None:
        accuracy = line.cells.get(ACCURACY)
        return "not measured", "accuracy not measured" + (f": {accuracy.reason}" if accuracy else ""), math.inf
    if cosine is not None and cosine >= SAME_COSINE:
        return "keeps", "", 0.0
    if row is None and any(DIFFERENCE in other.cells for other in lines):
        return "keeps", "", 0.0  # it is the source: all others are compared with it
    if row is None or not row.valid or row.value is None:
        return "not measured", "its accuracy was not compared with the source's pair by pair", math.inf
    low, high = interval(row)
    margin, text = _margin(row), row_text(row)
    agreed = row.conditions.get("verdict") in ("equal", "better") and margin is not None and 100 * margin <= most
    if agreed or (low is not None and 100 * low >= -most):
        return "keeps", "", 0.0
    loss = -100 * row.value - most
    excess = loss / (most or 0.2)
    if high is not None and 100 * high < -most:
        return "worse", f"{loss:.2f} points worse than allowed ({text})", excess
    pairs = row.conditions.get("pairs_needed")
    more = f"; about {pairs:,} pairs would tell" if isinstance(pairs, int) else ""
    reason = f"these pairs cannot tell whether it is within {most:g} points ({text}){more}"
    return "cannot tell", reason, max(excess, 0.0)
