"""The recommendation: which file to ship, and why not each of the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..figures import number_text
from .limits import JudgedFile, ShippingLimits, is_for_apple, judge_files
from .speed_evidence import Cost, SpeedEvidence, speed_evidence
from .summary import Line


@dataclass(frozen=True)
class Choice:
    """The file that is recommended among some, and why not each of the others."""

    files: tuple[JudgedFile, ...]
    best: JudgedFile | None  # None: no file meets the limits
    nearest: JudgedFile | None  # to the limits, where no file meets them
    why: str  # why this one, or which is nearest to the limits
    others: tuple[tuple[JudgedFile, str], ...]  # every other file, and in a phrase why not
    evidence: SpeedEvidence | None = None  # of the speed of the files that meet the limits; None where none does


@dataclass(frozen=True)
class Recommendation:
    """The recommended files of one run under some limits."""

    limits: ShippingLimits
    choices: tuple[tuple[str, Choice], ...]  # the use, and the choice among all files for it
    formats: tuple[tuple[str, Choice], ...]  # the best of each format: an app may have its runtime already

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
    files = judge_files(lines, limits)
    apple = [each for each in files if is_for_apple(each.line)]
    rest = [each for each in files if not is_for_apple(each.line)]
    formats = dict.fromkeys(each.line.format for each in files)
    return Recommendation(
        limits,
        tuple((title, choose_file(some)) for title, some in (("Any phone", rest), ("Core ML", apple)) if some),
        tuple((kind, choose_file([each for each in files if each.line.format == kind])) for kind in formats),
    )


def choose_file(files: Sequence[JudgedFile]) -> Choice:
    """Recommends the fastest file that meets the limits, and of equally fast files the smallest.

    What counts as fast is told by `speed_evidence`. Files whose intervals overlap the fastest one's are equally fast.
    Where nothing is known of the speed, the smallest is recommended.
    """
    meeting = [file for file in files if file.meets]
    if not meeting:
        nearest, others = min(files, key=_distance, default=None), tuple((file, _reasons(file)) for file in files)
        return Choice(tuple(files), None, nearest, _why_nearest(nearest), others)
    evidence = speed_evidence(meeting)
    costs = [(file, cost) for file in meeting if (cost := evidence.cost(file)) is not None]
    if costs:
        _, fastest = min(costs, key=lambda each: each[1].value)
        tied = [(file, cost) for file, cost in costs if _overlap(cost, fastest)]
        best, _ = min(tied, key=lambda each: (each[0].size, each[1].value))
        known = "they differ by less than counts can tell" if evidence.core else "their intervals overlap"
        equals = f", the smallest of {len(tied)} equally fast files ({known})" if len(tied) > 1 else ""
        by = {"arm64 counts": "by counted instructions ", "cpu time": "by CPU time "}.get(evidence.kind, "")
        why = f"{by}the fastest that meets the limits{equals}"
    else:
        best = min(meeting, key=lambda file: file.size)
        why = "the smallest that meets the limits"
    others = tuple((file, _why_not(file, best, evidence)) for file in files if file is not best)
    return Choice(tuple(files), best, None, why, others, evidence)


def _overlap(one: Cost, other: Cost) -> bool:
    return one.low <= other.high and other.low <= one.high


def _distance(file: JudgedFile) -> tuple[bool, float, int, float]:
    """Orders files by the limit that they miss most; files with a number that is not known come last."""
    excesses = [miss.excess for miss in file.misses if math.isfinite(miss.excess)]
    return len(excesses) < len(file.misses), max(excesses, default=0.0), len(file.misses), file.size


def _why_nearest(file: JudgedFile | None) -> str:
    if file is None:
        return "no file was measured"
    limits = "only " * (len(file.misses) == 1) + " and ".join(miss.limit for miss in file.misses)
    name = file.line.name
    return f"no file meets the limits for sure; nearest is {name}, which misses {limits}: {_reasons(file)}"


def _reasons(file: JudgedFile) -> str:
    return "; ".join(miss.reason for miss in file.misses)


def _why_not(file: JudgedFile, best: JudgedFile, evidence: SpeedEvidence) -> str:
    if file.misses:
        return _reasons(file)
    cost, least = evidence.cost(file), evidence.cost(best)
    if least is None:
        return f"larger: {_mb(file)} against {_mb(best)}"
    if cost is None:
        return "no instructions counted on that core" if evidence.core else "latency not measured here"
    if not _overlap(cost, least):
        return f"slower: {cost.text} against {least.text}"
    return f"equally fast, but larger: {_mb(file)} against {_mb(best)}"


def _mb(file: JudgedFile) -> str:
    return number_text(file.size, "bytes")
