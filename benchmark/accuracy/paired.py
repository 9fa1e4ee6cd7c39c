"""Two files on the same pairs: the difference with its interval, and the verdict: equal, better, worse, cannot tell."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from .curve_intervals import accepted_near
from .intervals import Booleans, Estimate, Floats, Integers, Z
from .optimism import variance_of_change
from .roc import rate_name
from .shares import change_of, share_of
from .units import Units, independent_units
from .verification import Verification

IDENTICAL = Estimate(0.0, 0.0, 0.0)  # every similarity is the same to the last bit
CHANCE = 0.8  # of telling the two apart, or equal, that `pairs_needed` promises


@dataclass(frozen=True)
class Verdict:
    """The verdict that a paired difference allows."""

    word: str  # "equal", "better", "worse", "cannot tell"
    said: str  # the sentence
    pairs_needed: int | None = None  # more than these, where it cannot be told


@dataclass(frozen=True)
class PairedDifference:
    """A statistic of two files on the same pairs, and by how much the first is above the second."""

    metric: str  # "tar_at_far_1e-3_difference"
    mine: Estimate
    other: Estimate
    difference: Estimate


def judge_difference(difference: Estimate, margin: float, pairs: int) -> Verdict:
    """Says what the 95 % interval of a difference allows to say.

    Equal: the whole interval lies within the margin, also where it leaves out 0; the sentence then says so. Better
    or worse: it leaves out 0 and reaches beyond the margin. Else the pairs cannot tell. A 95 % interval within the
    margin is the two one-sided tests at 2.5 % each, where 5 % is usual.

    Args:
        difference: This file's share less the other's; more is better.
        margin: The difference that still counts as none, a share.
        pairs: That it was measured on.

    >>> judge_difference(Estimate(-0.0005, -0.001, -0.0001), 0.002, 6000).said
    'worse, but by less than 0.2 points (0.01 to 0.1)'

    Sources: Schuirmann, A comparison of the two one-sided tests procedure, J. Pharmacokinetics and Biopharmaceutics
    1987; Berger and Hsu, Bioequivalence trials, intersection-union tests and equivalence confidence sets, 1996.
    """
    value, low, high = _numbers(difference)
    if difference == IDENTICAL:
        return Verdict("equal", "identical: every similarity is the same to the last bit")
    within = f"{100 * margin:.3g} points"
    if low > 0 or high < 0:
        word = "better" if low > 0 else "worse"
        least, most = sorted((abs(low), abs(high)))
        span = f"({100 * least:.2g} to {100 * most:.2g})"
        if most <= margin:
            return Verdict("equal", f"{word}, but by less than {within} {span}")
        return Verdict(word, f"{word} by {100 * abs(value):.2g} points {span}")
    if -margin <= low and high <= margin:
        return Verdict("equal", f"equal within {within}")
    more = pairs_needed(difference, margin, pairs)
    span = f"between {100 * -low:.2g} points worse and {100 * high:.2g} better"
    return Verdict(
        "cannot tell", f"cannot tell with these pairs ({span}); some {_round(more):,} more pairs needed", more
    )


def pairs_needed(difference: Estimate, margin: float, pairs: int) -> int:
    """Counts the pairs that must come to these before `judge` can tell in four of five cases.

    Assumes that the true difference is the one measured, that the new pairs are like these (as many new people in
    them, as many genuine ones), and that the interval then narrows with the square root of their number. Once it is
    narrower than the margin it always tells, so that many suffice whatever the true difference is.
    """
    value, low, high = _numbers(difference)
    spread = (high - low) / (2 * Z)
    most = max((2 * Z * spread / margin) ** 2, 1.0)
    for factor in np.geomspace(1, most, 1000):
        if _chance_of_silence(value, spread / float(np.sqrt(factor)), margin) <= 1 - CHANCE:
            break
    return max(1, int(np.ceil(pairs * (factor - 1))))


def mcnemar(correct_a: Booleans, correct_b: Booleans) -> float:
    """Gives the chance that two equally good files differ in at least as lopsided a way, of exactly these verdicts.

    It takes pairs for independent and the thresholds for given: where people recur, and with the luck of choosing
    thresholds, it is smaller than it should be, and the interval is the one to go by.

    Source: McNemar, Psychometrika 1947; the exact form is the two-sided binomial test of the pairs that only one of
    the two decides right.
    """
    from scipy.special import bdtr  # slow to import

    only_a, only_b = int((correct_a & ~correct_b).sum()), int((correct_b & ~correct_a).sum())
    return min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def unpaired_difference(mine: Estimate, other: Estimate) -> Estimate:
    """Gives how much `mine` is above `other` where all that is left of both is an interval.

    As if the two were independent: on the same pairs they are not, and the true interval is narrower.

    Source: Zou and Donner, Construction of confidence limits about effect measures, Statistics in Medicine 2008
    (MOVER).

    >>> found = unpaired_difference(Estimate(0.95, 0.91, 0.98), Estimate(0.90, 0.87, 0.94))
    >>> round(found.low, 4), round(found.high, 4)  # 0.05 - |(0.04, 0.04)|, 0.05 + |(0.03, 0.03)|
    (-0.0066, 0.0924)
    """
    (value, low, high), (base, least, most) = _numbers(mine), _numbers(other)
    difference = value - base
    down, up = float(np.hypot(value - low, most - base)), float(np.hypot(high - value, base - least))
    return Estimate(difference, difference - down, difference + up)


def paired_differences(
    mine: Verification, other: Verification, same: Booleans, people: tuple[Integers, Integers] | None
) -> list[PairedDifference]:
    """Gives the paired differences in accuracy and in TAR, each file at its own threshold.

    The intervals are of one kind for any number of decisions that differ (`shares.change_of`), and what the choice of
    thresholds adds is counted. Only where every similarity is the same to the last bit is there no width.

    Args:
        mine: One file's verification.
        other: Another's, on the same pairs.
        same: (P,) whether a pair shows one person.
        people: On the left and on the right of each pair.
    """
    identical = np.array_equal(mine.similarity, other.similarity)
    units = independent_units(len(same), people)
    chosen = variance_of_change(mine.optimism, other.optimism, mine.similarity, other.similarity)
    accuracy = IDENTICAL if identical else change_of(other.correct, mine.correct, units, variance=chosen)
    results = [PairedDifference("accuracy_difference", mine.accuracy, other.accuracy, accuracy)]
    for far, point in mine.tar.items():
        tars = point.tar, other.tar[far].tar
        refused = [tar.reason for tar in tars if tar.value is None]
        if refused:
            difference = Estimate(None, reason=refused[0])
        else:
            difference = IDENTICAL if identical else _tar_difference(mine, other, far, same, units)
        results.append(PairedDifference(f"tar_at_far_{rate_name(far)}_difference", *tars, difference))
    return results


def at_old_threshold(
    now: Floats,
    before: Floats,
    same: Booleans,
    people: tuple[Integers, Integers] | None,
    threshold: Estimate,
) -> dict[str, Estimate]:
    """Gives what a threshold of one file does on another: FAR and TAR there, and the share of flipped decisions.

    The threshold is what an app has in its code: no uncertainty is in it.

    Args:
        now: (P,) similarities by the new file.
        before: (P,) by the file that the threshold was chosen for.
        same: (P,) whether a pair shows one person.
        people: On the left and on the right of each pair, see `independent_units`.
        threshold: Of the old file; where it has none, so do the results, for the same reason.
    """
    names = ("far_at_old_threshold", "tar_at_old_threshold", "decisions_flipped")
    if threshold.value is None:
        return dict.fromkeys(names, Estimate(None, reason=threshold.reason))
    accepted = now >= threshold.value
    flipped = accepted != (before >= threshold.value)
    units = independent_units(len(same), people)
    shares = (
        share_of(accepted[~same], units.of(~same)),
        share_of(accepted[same], units.of(same)),
        share_of(flipped, units),
    )
    return dict(zip(names, shares, strict=True))


def _tar_difference(mine: Verification, other: Verification, far: float, same: Booleans, units: Units) -> Estimate:
    """Gives how much more genuine pairs one file accepts at a FAR, each by its own threshold.

    The genuine pairs change as in `change_of`. Where impostors move a file's threshold, its TAR moves by the slope of
    its curve, TAR over FAR between the bounds of the threshold; impostors that move both thresholds cancel.
    """
    genuine, impostor = int(same.sum()), int((~same).sum())
    accepted, moved = [], np.zeros(len(same))
    for file, sign in ((mine, 1.0), (other, -1.0)):
        threshold = file.tar[far].threshold
        accepted.append(file.similarity[same] >= _numbers(threshold)[0])
        near = accepted_near(file.similarity[~same], far)
        rate = float(near.mean())
        if rate < 1:  # else all impostors are as similar, and none moves the threshold
            scale = float(np.sqrt(far * (1 - far) / (rate * (1 - rate)))) / impostor
            moved[~same] -= sign * _slope(file.similarity, same, threshold) * scale * (near - rate)
    change = accepted[0].astype(np.float64) - accepted[1]
    held = np.zeros(len(same))
    held[same] = (change - change.mean()) / genuine
    of_genuine = units.of(same)
    added = units.variance(held + moved) - of_genuine.variance(held[same])
    return change_of(accepted[1], accepted[0], of_genuine, variance=max(0.0, added))


def _slope(similarity: Floats, same: Booleans, threshold: Estimate) -> float:
    """Gives how fast TAR rises with FAR between the bounds of a threshold."""
    _, low, high = _numbers(threshold)
    between = (similarity >= low) & (similarity < high)
    far = float(between[~same].mean())
    return float(between[same].mean()) / far if far else 0.0


def _numbers(estimate: Estimate) -> tuple[float, float, float]:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        raise ValueError(f"a verdict wants a difference with its interval: {estimate.reason or 'there is none'}")
    return estimate.value, estimate.low, estimate.high


def _chance_of_silence(value: float, spread: float, margin: float) -> float:
    """Gives how likely an interval around N(value, spread) holds 0 and reaches beyond the margin."""
    reach = Z * spread
    inner = max(0.0, margin - reach)
    if reach <= inner:
        return 0.0
    normal = NormalDist(value, spread)
    return normal.cdf(reach) - normal.cdf(inner) + normal.cdf(-inner) - normal.cdf(-reach)


def _round(count: int) -> int:
    """Two digits: more are not known."""
    return int(float(f"{count:.1e}"))
