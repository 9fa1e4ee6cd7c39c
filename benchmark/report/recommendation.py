"""The recommendation: which file to ship, and for each other one why not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..figures import interval, number_text
from .limits import JudgedFile, ShippingLimits, judge_files
from .summary import Line


@dataclass(frozen=True)
class Choice:
    """What is recommended among some files, and what is said of each."""

    judged: tuple[JudgedFile, ...]
    best: JudgedFile | None  # None: no file meets the limits
    nearest: JudgedFile | None  # to the limits, where none meets them
    why: str  # why this one; or what is nearest to the limits
    others: tuple[tuple[JudgedFile, str], ...]  # every other file, and in a phrase why not


@dataclass(frozen=True)
class Recommendation:
    """What is recommended of one run under some limits."""

    limits: ShippingLimits
    choices: tuple[tuple[str, Choice], ...]  # what for, and among all files for it
    formats: tuple[tuple[str, Choice], ...]  # the best of each format: an app may have its runtime already

    def of(self, line: Line) -> JudgedFile | None:
        """Gives the judgement on the file that `line` is about, None on what is no converted file."""
        every = [each for _, choice in self.choices for each in choice.judged]
        return next((each for each in every if each.line.artifact == line.artifact and each.line.run == line.run), None)

    @property
    def best(self) -> tuple[JudgedFile, ...]:
        """The recommended files."""
        return tuple(choice.best for _, choice in self.choices if choice.best is not None)


def recommend(lines: Sequence[Line], limits: ShippingLimits) -> Recommendation:
    """Recommends files of one run: one for any phone, one for Apple's own runtime, and one of each format.

    Args:
        lines: Of one run.
        limits: What the app allows.
    """
    judged = judge_files(lines, limits)
    apple = [each for each in judged if each.line.format == "coreml"]
    rest = [each for each in judged if each.line.format != "coreml"]
    formats = dict.fromkeys(each.line.format for each in judged)
    return Recommendation(
        limits,
        tuple((title, choose_file(files)) for title, files in (("Any phone", rest), ("Core ML", apple)) if files),
        tuple((kind, choose_file([each for each in judged if each.line.format == kind])) for kind in formats),
    )


def choose_file(judged: Sequence[JudgedFile]) -> Choice:
    """Recommends the fastest file that meets the limits; of those as fast the smallest.

    As fast is whose latency's interval reaches the fastest one's. Where no latency is known, it is the smallest.
    """
    meeting = [each for each in judged if each.meets]
    timed = [each for each in meeting if each.milliseconds is not None]
    if not meeting:
        nearest = min(judged, key=_distance, default=None)
        return Choice(
            tuple(judged), None, nearest, _nearest(nearest), tuple((each, _why_not(each, None)) for each in judged)
        )
    if timed:
        fastest = min(timed, key=lambda each: each.milliseconds or math.inf)
        tied = [each for each in timed if _overlap(each, fastest)]
        best = min(tied, key=lambda each: (each.size, each.milliseconds or math.inf))
        equals = f", the smallest of {len(tied)} as fast (their intervals overlap)" if len(tied) > 1 else ""
        why = f"the fastest that meets the limits{equals}"
    else:
        best = min(meeting, key=lambda each: each.size)
        why = "the smallest that meets the limits; no latency was measured here"
    others = tuple((each, _why_not(each, best)) for each in judged if each is not best)
    return Choice(tuple(judged), best, None, why, others)


def _overlap(each: JudgedFile, fastest: JudgedFile) -> bool:
    ends = []
    for judged in (each, fastest):
        assert judged.latency is not None and judged.milliseconds is not None
        low, high = interval(judged.latency)
        ends.append((judged.milliseconds, judged.milliseconds) if low is None or high is None else (low, high))
    (low, high), (fast_low, fast_high) = ends
    return low <= fast_high and fast_low <= high


def _distance(judged: JudgedFile) -> tuple[bool, float, int, float]:
    """Orders files by the limit that they miss most; what was not measured stands behind."""
    known = [miss.excess for miss in judged.misses if math.isfinite(miss.excess)]
    return len(known) < len(judged.misses), max(known, default=0.0), len(judged.misses), judged.size


def _nearest(judged: JudgedFile | None) -> str:
    if judged is None:
        return "no file was measured"
    missed = "; ".join(miss.said for miss in judged.misses)
    return f"no file meets the limits for sure; nearest is {judged.line.name}, which misses {_limits(judged)}: {missed}"


def _limits(judged: JudgedFile) -> str:
    return "only " * (len(judged.misses) == 1) + " and ".join(miss.limit for miss in judged.misses)


def _why_not(judged: JudgedFile, best: JudgedFile | None) -> str:
    if judged.misses or best is None:
        return "; ".join(miss.said for miss in judged.misses)
    if best.milliseconds is None:
        return f"larger: {_mb(judged)} against {_mb(best)}"
    if judged.milliseconds is None:
        return "latency not measured here"
    if not _overlap(judged, best):
        return f"slower: {number_text(judged.milliseconds, 'ms')} against {number_text(best.milliseconds, 'ms')}"
    return f"as fast, but larger: {_mb(judged)} against {_mb(best)}"


def _mb(judged: JudgedFile) -> str:
    return number_text(judged.size, "bytes")
