"""What changed of one file from one run to the next, and whether it is more than noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .accuracy.intervals import Estimate, Floats
from .accuracy.paired import at_old_threshold, judge_difference, paired_differences, unpaired_difference
from .accuracy.record import Record
from .accuracy.verification import verify_similarities
from .measurement import Measurement
from .report.figures import KINDS
from .subjects import RUNTIME_NAMES

UNPAIRED = "taken for unpaired, so wider than need be: no verification.npz of both on the same pairs"
SAME = ("equal", "the same measurement")
COSTS = {  # metrics that have no noise, and how their numbers are written
    "size_bytes": ("size", "bytes"),
    "arena_bytes": ("arena", "bytes"),
    "arm64_instructions": ("ARM64 instructions", "count"),
}


@dataclass(frozen=True)
class Limits:
    """How much worse a file may become before the gate shuts; what is no more than noise never shuts it."""

    margin: float = 0.002  # of accuracy, a share
    slower: float = 0.05  # share of the latency
    larger: float = 0.0  # share of the size

    def __post_init__(self) -> None:
        """Refuses what is no share, and a margin of 0, within which nothing can ever be shown to lie."""
        if not (0 < self.margin < 1 and self.slower >= 0 and self.larger >= 0):
            raise ValueError(f"margin {self.margin:g} must lie between 0 and 1, and what is allowed not below 0")


@dataclass(frozen=True)
class Change:
    """One thing about a file, before and after."""

    what: str  # "latency, threads 1"
    before: str
    after: str
    verdict: str  # equal, better, worse, cannot tell; changed where neither is better; not judged
    said: str
    fails: bool = False
    short: str = ""  # "+4.1 %"


@dataclass(frozen=True, eq=False)
class Side:
    """What one run knows of a file in one runtime."""

    rows: Sequence[Measurement] = field(repr=False)
    record: Record | None = field(repr=False)

    def row(self, metric: str) -> Measurement | None:
        """Gives the row of a metric, valid if one is; details of it (`part`) are not meant."""
        found = [row for row in self.rows if row.metric == metric and not row.conditions.get("part")]
        return min(found, key=lambda row: not row.valid, default=None)

    def similarity(self) -> Floats | None:
        """Gives (P,) what the file made of the recorded pairs, which it was given in its usual runtime alone."""
        row = self.rows[0]
        usual = row.runtime == RUNTIME_NAMES.get(row.format)
        return self.record.similarity.get(row.artifact) if self.record is not None and usual else None


def changes(before: Side, after: Side, limits: Limits) -> list[Change]:
    """Gives what changed of a file, and what did not."""
    return [change for part in PARTS for change in part(before, after, limits)]


def _costs(before: Side, after: Side, limits: Limits) -> Iterator[Change]:
    for metric, (what, kind) in COSTS.items():
        old, new = before.row(metric), after.row(metric)
        if old is None or new is None or not old.value or not new.value:
            continue
        ratio = new.value / old.value
        written = KINDS[kind](old.value, None), KINDS[kind](new.value, None)
        if ratio == 1:
            yield Change(what, *written, "equal", "the same")
            continue
        word, more = ("worse", "more") if ratio > 1 else ("better", "less")
        fails = metric == "size_bytes" and ratio > 1 + limits.larger
        yield Change(what, *written, word, f"{_percent(abs(ratio - 1))} {more}", fails, _percent(ratio - 1, "+"))


def _latency(before: Side, after: Side, limits: Limits) -> Iterator[Change]:
    old_rows, new_rows = _timed(before), _timed(after)
    for setting, news in new_rows.items():
        olds = old_rows.get(setting, {})
        common = [device for device in news if device in olds]
        for device in common:
            yield _timed_change(f"latency, {setting}", olds[device], news[device], limits)
        if olds and not common:
            old, new = next(iter(olds.values())), next(iter(news.values()))
            said = f"timed on other devices: {old.device or 'unknown'}, then {new.device or 'unknown'}"
            yield Change(f"latency, {setting}", _ms(old), _ms(new), "not judged", said)


def _timed(side: Side) -> dict[str, dict[str, Measurement]]:
    """Gives the medians by threads and batch, then by device."""
    found: dict[str, dict[str, Measurement]] = {}
    for row in side.rows:
        if row.metric == "latency_ms_p50" and not row.conditions.get("part"):
            threads, batch = row.conditions.get("threads", 1), row.conditions.get("batch", 1)
            setting = f"threads {threads}" + (f", batch {batch}" if batch != 1 else "")
            found.setdefault(setting, {}).setdefault(row.device, row)
    return found


def _timed_change(what: str, old: Measurement, new: Measurement, limits: Limits) -> Change:
    written = _ms(old), _ms(new)
    if old == new:
        return Change(what, *written, *SAME)
    for run, row in (("before", old), ("after", new)):
        if not row.valid:
            return Change(what, *written, "not judged", f"not measured {run}: {row.reason}")
        if not (row.value and row.low and row.high and 0 < row.low <= row.value <= row.high):
            return Change(what, *written, "not judged", f"has no interval {run}, so what is noise is not known")
    ratio = unpaired_difference(_log(new), _log(old))
    assert ratio.value is not None and ratio.low is not None and ratio.high is not None
    slower, least, most = (math.exp(end) for end in (ratio.value, ratio.low, ratio.high))
    short = _percent(slower - 1, "+")
    span = f"{short} ({_percent(least - 1, '+')} to {_percent(most - 1, '+')})"
    if 1 / (1 + limits.slower) <= least and most <= 1 + limits.slower:
        return Change(what, *written, "equal", f"within {_percent(limits.slower)}: {span}")
    if least <= 1 <= most:
        return Change(what, *written, "cannot tell", f"no more than noise: {span}", short=short)
    word, how = ("worse", "slower") if slower > 1 else ("better", "faster")
    return Change(what, *written, word, f"{how}: {span}", slower > 1 + limits.slower, short)


def _accuracy(before: Side, after: Side, limits: Limits) -> Iterator[Change]:
    what = "accuracy"
    old, new = before.row("verification_accuracy"), after.row("verification_accuracy")
    if old is None or new is None:
        return
    written = _points(old.value), _points(new.value)
    if not (old.valid and new.valid):
        run, row = ("after", new) if old.valid else ("before", old)
        word = "worse" if old.valid else "better" if new.valid else "not judged"
        yield Change(what, *written, word, f"not measured {run}: {row.reason}", fails=word == "worse")
        return
    if bool(old.conditions.get("flip")) != bool(new.conditions.get("flip")):
        yield Change(what, *written, "not judged", "embeddings of a face and its mirror image summed in one run alone")
        return
    shared = _same_pairs(before, after)
    if shared is not None and np.array_equal(shared[0], shared[1]):
        yield Change(what, *written, "equal", "every similarity is the same to the last bit")
        return
    if shared is not None:
        yield from _paired(*shared, limits)
        return
    if old == new:
        yield Change(what, *written, *SAME)
        return
    if not new.conditions.get("pairs_sha256") or old.conditions.get("pairs_sha256") != new.conditions["pairs_sha256"]:
        yield Change(what, *written, "not judged", "verified on other pairs, or it is not said on which")
        return
    if None in (old.low, old.high, new.low, new.high):
        yield Change(what, *written, "not judged", "has no interval")
        return
    yield _judged(what, written, unpaired_difference(_estimate(new), _estimate(old)), new.n or 0, limits, UNPAIRED)


def _paired(then: Floats, now: Floats, record: Record, limits: Limits) -> Iterator[Change]:
    old, new = (verify_similarities(each, record.same, record.fold, record.people) for each in (then, now))
    for found in paired_differences(new, old, record.same, record.people):
        if found.mine.value is None or found.other.value is None:
            continue  # too few impostor pairs for this FAR
        what = found.metric.removesuffix("_difference").replace("tar_at_far_", "TAR at FAR ")
        written = _points(found.other.value), _points(found.mine.value)
        judged = _judged(what, written, found.difference, len(record.same), limits)
        yield judged if what == "accuracy" else replace(judged, fails=False)


def _judged(
    what: str, written: tuple[str, str], difference: Estimate, pairs: int, limits: Limits, how: str = ""
) -> Change:
    verdict = judge_difference(difference, limits.margin, pairs)
    fails = verdict.word == "worse" and (difference.value or 0.0) < -limits.margin
    said = verdict.said + (f"; {how}" if how else "")
    short = f"{100 * (difference.value or 0.0):+.2f} points{', unpaired_difference' if how else ''}"
    return Change(what, *written, verdict.word, said, fails, short)


def _thresholds(before: Side, after: Side, limits: Limits) -> Iterator[Change]:
    for new in after.rows:
        old = before.row(new.metric)
        if not new.metric.startswith("threshold_at_far_") or old is None or not (old.valid and new.valid):
            continue
        assert old.value is not None and new.value is not None  # as they are valid
        what = new.metric.replace("threshold_at_far_", "threshold at FAR ")
        written = KINDS["plain"](old.value, None), KINDS["plain"](new.value, None)
        if math.isclose(old.value, new.value, abs_tol=1e-9):
            yield Change(what, *written, "equal", "the same")
            continue
        said = f"moved by {new.value - old.value:+.3f}"
        shared = _same_pairs(before, after)
        if shared is not None:
            then, now, record = shared
            found = at_old_threshold(now, then, record.same, record.people, Estimate(old.value))
            far, tar, flipped = (_percent(estimate.value or 0.0) for estimate in found.values())
            said += f"; the old one now gives FAR {far}, TAR {tar}, and flips {flipped} of the decisions"
        yield Change(what, *written, "changed", said, short=f"{new.value - old.value:+.3f}")


def _same_pairs(before: Side, after: Side) -> tuple[Floats, Floats, Record] | None:
    """Gives both files' similarities where both runs recorded them of the very same pairs."""
    then, now = before.similarity(), after.similarity()
    if then is None or now is None or before.record is None or after.record is None:
        return None
    one, other = before.record, after.record
    alike = one.sha256 == other.sha256 and np.array_equal(one.same, other.same) and np.array_equal(one.fold, other.fold)
    return (then, now, other) if alike else None


def _estimate(row: Measurement) -> Estimate:
    return Estimate(row.value, row.low, row.high)


def _log(row: Measurement) -> Estimate:
    return Estimate(math.log(row.value or 0), math.log(row.low or 0), math.log(row.high or 0))


def _ms(row: Measurement) -> str:
    return KINDS["ms"](row.value, None) if row.valid and row.value is not None else "-"


def _points(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"


def _percent(share: float, sign: str = "") -> str:
    """Gives two digits of a share: 0.0213 is 2.1 %, 0.213 is 21 %."""
    return f"{100 * share:{sign}.2g} %" if abs(share) < 0.995 else f"{100 * share:{sign}.0f} %"


PARTS: tuple[Callable[[Side, Side, Limits], Iterator[Change]], ...] = (_costs, _latency, _accuracy, _thresholds)
