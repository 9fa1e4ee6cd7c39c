"""Changes of one file between two runs, and whether each is more than noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..export.formats import FORMATS
from .accuracy.intervals import Estimate, Floats
from .accuracy.paired import at_old_threshold, judge_difference, paired_differences, unpaired_difference
from .accuracy.record import Record
from .accuracy.verification import verify_similarities
from .figures import number_kind, number_text
from .measurement import Measurement
from .metric_keys import key_of, phrase_of
from .metrics import metric_of

UNPAIRED = "taken for unpaired, so wider than need be: no verification.npz of both on the same pairs"
SAME = ("equal", "the same measurement")
ACCURACY = "verification_accuracy"
WITHOUT_NOISE = ("size_bytes", "arena_bytes", "arm64_instructions")


@dataclass(frozen=True)
class GateLimits:
    """How much worse a file may become before the gate shuts; a change within the noise never shuts it."""

    margin: float = 0.002  # of accuracy, a share
    slower: float = 0.05  # share of the latency
    larger: float = 0.01  # share of the size: what a converter's new version adds in names and padding is less
    allow_unjudged: bool = False  # whether the gate stays open where accuracy or latency could not be judged

    def __post_init__(self) -> None:
        """Refuses negative shares, and a margin of 0, which no interval can lie within."""
        if not (0 < self.margin < 1 and self.slower >= 0 and self.larger >= 0):
            raise ValueError(f"margin {self.margin:g} must lie between 0 and 1, and the allowed growth not below 0")


@dataclass(frozen=True)
class Change:
    """One number of a file, before and after."""

    key: str  # "latency_ms_p50@1", see `metric_keys`
    before: str
    after: str
    verdict: str  # equal, better, worse, cannot tell; changed where neither is better; not judged
    explanation: str
    fails: bool = False
    short: str = ""  # "+4.1 %"

    @property
    def what(self) -> str:
        """The key for people: "median latency on 1 thread"."""
        return phrase_of(self.key)


@dataclass(frozen=True, eq=False)
class Side:
    """What one run knows of a file in one runtime."""

    rows: Sequence[Measurement] = field(repr=False)
    record: Record | None = field(repr=False)

    def row(self, metric: str) -> Measurement | None:
        """Gives the row of a metric, a valid one before others; rows about a part are left out."""
        rows = [row for row in self.rows if row.metric == metric and not row.conditions.get("part")]
        return min(rows, key=lambda row: not row.valid, default=None)

    def similarity(self) -> Floats | None:
        """Gives (P,) the recorded similarities, which the file has in its usual runtime alone; None elsewhere."""
        row = self.rows[0]
        usual = row.format in FORMATS and row.runtime == FORMATS[row.format].runtime
        return self.record.similarity.get(row.artifact) if self.record is not None and usual else None


def changes_between(before: Side, after: Side, limits: GateLimits) -> list[Change]:
    """Gives the changes of a file, also those that are none."""
    return [change for part in PARTS for change in part(before, after, limits)]


def _not_judged(key: str, texts: tuple[str, str], reason: str, limits: GateLimits) -> Change:
    return Change(key, *texts, "not judged", reason, fails=not limits.allow_unjudged)


def _without_noise(before: Side, after: Side, limits: GateLimits) -> Iterator[Change]:
    for metric in WITHOUT_NOISE:
        old, new = before.row(metric), after.row(metric)
        if old is None or new is None or not old.value or not new.value:
            continue
        ratio = new.value / old.value
        key, kind = key_of(new), number_kind(new)
        texts = number_text(old.value, kind), number_text(new.value, kind)
        if ratio == 1:
            yield Change(key, *texts, "equal", "the same")
            continue
        verdict, more = ("worse", "more") if ratio > 1 else ("better", "less")
        fails = metric == "size_bytes" and ratio > 1 + limits.larger
        yield Change(key, *texts, verdict, f"{_percent(abs(ratio - 1))} {more}", fails, _percent(ratio - 1, "+"))


def _latency(before: Side, after: Side, limits: GateLimits) -> Iterator[Change]:
    old_rows = _by_key_and_device(before)
    for key, news in _by_key_and_device(after).items():
        olds = old_rows.get(key, {})
        shared = [device for device in news if device in olds]
        for device in shared:
            yield _latency_change(key, olds[device], news[device], limits)
        if olds and not shared:
            old, new = next(iter(olds.values())), next(iter(news.values()))
            reason = f"timed on other devices: {old.device or 'unknown'}, then {new.device or 'unknown'}"
            yield _not_judged(key, (_ms(old), _ms(new)), reason, limits)


def _by_key_and_device(side: Side) -> dict[str, dict[str, Measurement]]:
    """Gives the median latencies by threads and batch, then by device."""
    rows: dict[str, dict[str, Measurement]] = {}
    for row in side.rows:
        if row.metric == "latency_ms_p50" and not row.conditions.get("part"):
            rows.setdefault(key_of(row), {}).setdefault(row.device, row)
    return rows


def _latency_change(key: str, old: Measurement, new: Measurement, limits: GateLimits) -> Change:
    texts = _ms(old), _ms(new)
    if old == new:
        return Change(key, *texts, *SAME)
    for run, row in (("before", old), ("after", new)):
        if not row.valid:
            unjudged = _not_judged(key, texts, f"not measured {run}: {row.reason}", limits)
            return unjudged if old.valid else replace(unjudged, fails=False)  # what was never known is not lost
        if not (row.value and row.low and row.high and 0 < row.low <= row.value <= row.high):
            return _not_judged(key, texts, f"has no interval {run}, so what is noise is not known", limits)
    ratio = unpaired_difference(_log(new), _log(old))
    assert ratio.value is not None and ratio.low is not None and ratio.high is not None
    slower, least, most = (math.exp(end) for end in (ratio.value, ratio.low, ratio.high))
    short = _percent(slower - 1, "+")
    span = f"{short} ({_percent(least - 1, '+')} to {_percent(most - 1, '+')})"
    if 1 / (1 + limits.slower) <= least and most <= 1 + limits.slower:
        return Change(key, *texts, "equal", f"within {_percent(limits.slower)}: {span}")
    if least <= 1 <= most:
        return Change(key, *texts, "cannot tell", f"no more than noise: {span}", short=short)
    verdict, direction = ("worse", "slower") if slower > 1 else ("better", "faster")
    return Change(key, *texts, verdict, f"{direction}: {span}", slower > 1 + limits.slower, short)


def _accuracy(before: Side, after: Side, limits: GateLimits) -> Iterable[Change]:
    key, old, new = ACCURACY, before.row(ACCURACY), after.row(ACCURACY)
    if old is None and new is None:
        return []
    if old is None or new is None:
        texts = _points(old.value if old else None), _points(new.value if new else None)
        return [_not_judged(key, texts, f"not verified {'after' if new is None else 'before'}", limits)]
    texts, shared = (_points(old.value), _points(new.value)), _same_pairs(before, after)
    if not (old.valid and new.valid):
        run, row = ("after", new) if old.valid else ("before", old)
        reason = f"not measured {run}: {row.reason}"
        if not old.valid and not new.valid:
            return [_not_judged(key, texts, reason, limits)]
        return [Change(key, *texts, "worse" if old.valid else "better", reason, fails=old.valid)]
    if bool(old.conditions.get("flip")) != bool(new.conditions.get("flip")):
        reason = "only one run summed the embeddings of a face and its mirror image"
        return [_not_judged(key, texts, reason, limits)]
    if shared is not None and np.array_equal(shared[0], shared[1]):
        return [Change(key, *texts, "equal", "every similarity is the same to the last bit")]
    if shared is not None:
        return _paired(*shared, limits)
    if old == new:
        return [Change(key, *texts, *SAME)]
    if not new.conditions.get("pairs_sha256") or old.conditions.get("pairs_sha256") != new.conditions["pairs_sha256"]:
        return [_not_judged(key, texts, "verified on other pairs, or a run does not say on which", limits)]
    if None in (old.low, old.high, new.low, new.high):
        return [_not_judged(key, texts, "has no interval", limits)]
    return [_judged(key, texts, unpaired_difference(_estimate(new), _estimate(old)), new.n or 0, limits, UNPAIRED)]


def _paired(then: Floats, now: Floats, record: Record, limits: GateLimits) -> Iterator[Change]:
    old, new = (verify_similarities(each, record.same, record.fold, record.people) for each in (then, now))
    for pair in paired_differences(new, old, record.same, record.people):
        if pair.mine.value is None or pair.other.value is None:
            continue  # too few impostor pairs for this FAR
        metric = ACCURACY if pair.metric == "accuracy_difference" else pair.metric.removesuffix("_difference")
        texts = _points(pair.other.value), _points(pair.mine.value)
        change = _judged(metric, texts, pair.difference, len(record.same), limits)
        yield change if metric == ACCURACY else replace(change, fails=False)


def _judged(
    key: str, texts: tuple[str, str], difference: Estimate, pairs: int, limits: GateLimits, caveat: str = ""
) -> Change:
    verdict = judge_difference(difference, limits.margin, pairs)
    fails = verdict.word == "worse" and (difference.value or 0.0) < -limits.margin
    explanation = verdict.said + (f"; {caveat}" if caveat else "")
    short = f"{100 * (difference.value or 0.0):+.2f} points{', unpaired' if caveat else ''}"
    return Change(key, *texts, verdict.word, explanation, fails, short)


def _thresholds(before: Side, after: Side, limits: GateLimits) -> Iterator[Change]:
    for new in after.rows:
        old, far = before.row(new.metric), metric_of(new.metric).parameter
        if new.metric != f"threshold_at_far_{far}" or old is None or not (old.valid and new.valid):
            continue
        assert old.value is not None and new.value is not None  # as they are valid
        key, texts = new.metric, (number_text(old.value, "plain"), number_text(new.value, "plain"))
        if math.isclose(old.value, new.value, abs_tol=1e-9):
            yield Change(key, *texts, "equal", "the same")
            continue
        explanation = f"moved by {new.value - old.value:+.3f}"
        shared = _same_pairs(before, after)
        if shared is not None:
            then, now, record = shared
            rates = at_old_threshold(now, then, record.same, record.people, Estimate(old.value))
            accepted, tar, flipped = (_percent(estimate.value or 0.0) for estimate in rates.values())
            explanation += f"; the old one now gives FAR {accepted}, TAR {tar}, and flips {flipped} of the decisions"
        yield Change(key, *texts, "changed", explanation, short=f"{new.value - old.value:+.3f}")


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
    return number_text(row.value, "ms") if row.valid and row.value is not None else "-"


def _points(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"


def _percent(share: float, sign: str = "") -> str:
    """Gives two digits of a share: 0.0213 is 2.1 %, 0.213 is 21 %."""
    return f"{100 * share:{sign}.2g} %" if abs(share) < 0.995 else f"{100 * share:{sign}.0f} %"


Part = Callable[[Side, Side, GateLimits], Iterable[Change]]
PARTS: tuple[Part, ...] = (_without_noise, _latency, _accuracy, _thresholds)
