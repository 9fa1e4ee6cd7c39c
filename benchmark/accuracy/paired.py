"""Two files on the same pairs: the difference with its interval, and the verdict: equal, better, worse, cannot tell."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from .intervals import Booleans, Estimate, Floats, Integers, Z, percentiles, resampling_units, share, wilson
from .roc import rate_name
from .verification import Verification

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


def paired_estimate(mine: Estimate, other: Estimate, again_mine: Floats, again_other: Floats, worth: float) -> Estimate:
    """Gives how much `mine` is above `other`, with the interval of what the same resamples gave both.

    Args:
        mine: Any statistic of a `Verification`, at this file's own threshold where it has one.
        other: The same of the other file, on the same pairs.
        again_mine: (R,) it on every resample, as in `Verification.again`.
        again_other: Likewise.
        worth: Independent pairs that all of them are worth; what so many could have missed bounds a difference that
            never showed.
    """
    if mine.value is None or other.value is None:
        return Estimate(None, reason=mine.reason or other.reason)
    differences = again_mine - again_other
    if not np.nan_to_num(differences).any():
        unseen = wilson(0.0, int(worth))[1]
        return Estimate(mine.value - other.value, -unseen, unseen)
    value = mine.value - other.value
    low, high = percentiles(differences)
    return Estimate(value, min(low, value), max(high, value))


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

    A resample judges each file by the threshold that was best for it on another resample. With the thresholds of the
    folds held, as for the interval of one accuracy, the luck in choosing them would pass for a difference.

    Args:
        mine: One file's verification.
        other: Another's, on the same pairs, by the same seed.
        same: (P,) whether a pair shows one person.
        people: On the left and on the right of each pair.
    """
    units = resampling_units(len(same), people).count
    worth = min(_independent(of.accuracy, units, len(same)) for of in (mine, other))
    rates = Estimate(float(mine.correct.mean())), Estimate(float(other.correct.mean()))
    accuracy = paired_estimate(*rates, mine.again["accuracy anew"], other.again["accuracy anew"], worth)
    results = [PairedDifference("accuracy_difference", mine.accuracy, other.accuracy, accuracy)]
    for far, point in mine.tar.items():
        tars = point.tar, other.tar[far].tar
        difference = paired_estimate(*tars, mine.again["tar", far], other.again["tar", far], worth * float(same.mean()))
        results.append(PairedDifference(f"tar_at_far_{rate_name(far)}_difference", *tars, difference))
    return results


def at_old_threshold(
    now: Floats,
    before: Floats,
    same: Booleans,
    people: tuple[Integers, Integers] | None,
    threshold: Estimate,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Gives what a threshold of one file does on another: FAR and TAR there, and the share of flipped decisions.

    The threshold is what an app has in its code: it stays as it is in every resample.

    Args:
        now: (P,) similarities by the new file.
        before: (P,) by the file that the threshold was chosen for.
        same: (P,) whether a pair shows one person.
        people: On the left and on the right of each pair, see `resampling_units`.
        threshold: Of the old file; where it has none, so do the results, for the same reason.
        seed: Of the resamples.
    """
    names = ("far_at_old_threshold", "tar_at_old_threshold", "decisions_flipped")
    if threshold.value is None:
        return dict.fromkeys(names, Estimate(None, reason=threshold.reason))
    accepted = now >= threshold.value
    flipped = accepted != (before >= threshold.value)
    kinds, kind = np.unique(4 * accepted + 2 * flipped + same, return_inverse=True)
    is_accepted, is_flipped, is_same = kinds // 4 == 1, kinds // 2 % 2 == 1, kinds % 2 == 1
    units = resampling_units(len(same), people)
    again = np.concatenate(list(units.tallies(kind, len(kinds), seed)))
    once = np.bincount(kind).astype(np.float64)

    def of(part: Booleans, whole: Booleans, pairs: Booleans) -> Estimate:
        with np.errstate(invalid="ignore"):  # NaN where a resample drew no pair of a kind
            resampled = again @ (part & whole) / (again @ whole)
        return share(float(once @ (part & whole) / (once @ whole)), resampled, units.among(pairs))

    everyone = np.ones_like(is_same)
    results = (of(is_accepted, ~is_same, ~same), of(is_accepted, is_same, same), of(is_flipped, everyone, same | ~same))
    return dict(zip(names, results, strict=True))


def _independent(share: Estimate, units: int, pairs: int) -> float:
    """Counts the independent pairs that would leave a share as uncertain as it is, at least one per unit.

    Source: Kish, Survey Sampling, 1965, sec. 8.2 (effective sample size).
    """
    value, low, high = _numbers(share)
    if value in (0.0, 1.0) or low == high:
        return float(min(units, pairs))
    worth = value * (1 - value) * (2 * Z / (high - low)) ** 2
    return float(np.clip(worth, min(units, pairs), pairs))


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
