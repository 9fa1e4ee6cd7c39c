"""ROC, EER, AUC and TAR at FAR from similarities and labels, exact: every threshold is tried, none interpolated."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .intervals import Booleans, Estimate, Floats, Integers


@dataclass(frozen=True, eq=False)
class Steps:
    """The thresholds that matter, falling; a pair at or above one counts as the same person.

    They lie midway between neighbouring similarities, so that a rounding of the last digit on another device
    changes no verdict; the first accepts no pair, the last is the least similarity and accepts all.
    """

    thresholds: Floats  # (T,)
    order: Integers  # (P,) the pairs, most similar first
    accepted: Integers  # (T,) how many of them

    def count(self, weights: NDArray[Any]) -> Floats:
        """Sums the weights (..., P) of the pairs that each threshold accepts, (..., T)."""
        sums = np.zeros((*weights.shape[:-1], len(self.order) + 1))
        np.cumsum(np.take(weights, self.order, axis=-1), axis=-1, dtype=np.float64, out=sums[..., 1:])
        return sums if len(self.accepted) == len(self.order) + 1 else np.asarray(sums[..., self.accepted])


def steps(similarity: Floats) -> Steps:
    """Finds every threshold that accepts another set of pairs; equal similarities go together."""
    order = np.argsort(-similarity, kind="stable")
    falling = similarity[order].astype(np.float64)
    last_of_equals = np.flatnonzero(np.append(falling[:-1] > falling[1:], True))
    values = falling[last_of_equals]
    midway = between(values[1:], values[:-1])
    thresholds = np.concatenate([[np.nextafter(values[0], np.inf)], midway, values[-1:]])
    return Steps(thresholds, order, np.concatenate([[0], last_of_equals + 1]))


def between(low: Floats, high: Floats) -> Floats:
    """Gives the threshold that parts two similarities: midway, or `high` where no number lies between them."""
    midway = (low + high) / 2
    return np.asarray(np.where(midway > low, midway, high))


def best_threshold(similarity: Floats, same: Booleans) -> float:
    """Gives the threshold that decides most pairs right; of equally good ones the highest."""
    order = np.argsort(-similarity, kind="stable")
    return best_of_falling(similarity[order], same[order])


def best_of_falling(similarity: Floats, same: Booleans) -> float:
    """Does as `best_threshold` for pairs that are sorted, most similar first."""
    gained = np.cumsum(np.where(same, np.int32(1), np.int32(-1)), dtype=np.int32)  # over accepting no pair
    gained[:-1][similarity[:-1] == similarity[1:]] = -len(gained)  # equal similarities go together
    last = int(np.argmax(gained))
    if gained[last] <= 0:
        return float(np.nextafter(similarity[0], np.inf))
    return float(similarity[last] if last + 1 == len(gained) else between(similarity[last + 1], similarity[last]))


def roc(similarity: Floats, same: Booleans) -> tuple[Floats, Floats, Floats]:
    """Gives FAR (T,) and TAR (T,), both rising from 0 to 1, and the falling thresholds (T,) that give them.

    Raises:
        ValueError: Similarities and labels do not fit, are not finite, or all of one kind; so for all below.
    """
    check_scores(similarity, same)
    at = steps(similarity)
    return at.count(~same) / np.sum(~same), at.count(same) / np.sum(same), at.thresholds


def eer(similarity: Floats, same: Booleans) -> float:
    """Gives the rate at which as many impostor pairs are accepted as genuine pairs rejected.

    Where no threshold makes the two equal, the steps before and after are joined by a straight line.
    """
    check_scores(similarity, same)
    values, genuine, impostor = np.sort(similarity), np.sort(similarity[same]), np.sort(similarity[~same])

    def at(place: int) -> tuple[float, float]:
        """FAR and FRR where pairs as similar as `values[place]` are accepted; beyond the last none is."""
        if place == len(values):
            return 0.0, 1.0
        accepted = len(impostor) - int(np.searchsorted(impostor, values[place]))
        return accepted / len(impostor), int(np.searchsorted(genuine, values[place])) / len(genuine)

    after = bisect_left(range(len(values)), True, key=lambda place: at(place)[0] < at(place)[1]) - 1
    before = int(np.searchsorted(values, values[after], side="right"))
    (far, frr), (far_before, frr_before) = at(after), at(before)
    way = (frr_before - far_before) / (frr_before - far_before + far - frr)
    return far_before + way * (far - far_before)


def auc(similarity: Floats, same: Booleans) -> float:
    """Gives the chance that a genuine pair is more similar than an impostor pair, a draw counting half."""
    check_scores(similarity, same)
    genuine, impostor = np.sort(similarity[same]), np.sort(similarity[~same])
    twice = sum(int(np.searchsorted(impostor, genuine, side=side).sum()) for side in ("left", "right"))
    return twice / (2 * len(genuine) * len(impostor))


@dataclass(frozen=True)
class TarAtFar:
    """The share of genuine pairs that a false accept rate allows, and the threshold that gives it."""

    far: float  # asked for
    tar: Estimate
    threshold: Estimate
    measured_far: float | None = None  # at that threshold; at most `far`


def tar_at_far(similarity: Floats, same: Booleans, far: float) -> TarAtFar:
    """Gives the lowest threshold whose FAR is at most `far`, and the TAR there; no intervals.

    Both are refused (no value but a reason) where the impostor pairs are too few for even one false accept at
    that rate: the threshold would be that of the single most similar impostor, whatever FAR is asked for.

    Raises:
        ValueError: `far` is no rate, or see `roc`.
    """
    if not 0 < far < 1:
        raise ValueError(f"FAR {far} is no rate of false accepts; it lies between 0 and 1")
    check_scores(similarity, same)
    impostor, genuine = similarity[~same], similarity[same]
    impostors = len(impostor)
    if reason := too_few(far, impostors):
        return TarAtFar(far, Estimate(None, reason=reason), Estimate(None, reason=reason))
    accepted = int(impostors * far * (1 + 1e-9))  # at most, but for a rounding
    rejected = np.partition(impostor, impostors - 1 - accepted)[impostors - 1 - accepted]  # the most similar such
    above = similarity[similarity > rejected]
    threshold = between(rejected, above.min()) if len(above) else np.nextafter(rejected, np.inf)
    tar, measured = np.mean(genuine > rejected), np.mean(impostor > rejected)
    return TarAtFar(far, Estimate(float(tar)), Estimate(float(threshold)), float(measured))


def too_few(far: float, impostors: int) -> str:
    """Says that so many impostor pairs carry no FAR of `far`, "" where they do."""
    if impostors * far >= 1 - 1e-9:
        return ""
    fewest = int(np.ceil(1 / far - 1e-9))
    return f"FAR {rate_name(far)} wants at least {fewest:,} impostor pairs; there are {impostors:,}"


def equal_error(far: Floats, tar: Floats) -> Floats:
    """(..., T) each -> (...,); see `eer`."""
    gap = far + tar - 1  # FAR - FRR: rises from -1 to 1
    after = np.argmax(gap >= 0, axis=-1)[..., None]
    before = after - 1
    gap_before, gap_after, far_before = (
        np.take_along_axis(*of, axis=-1) for of in ((gap, before), (gap, after), (far, before))
    )
    way = gap_before / (gap_before - gap_after)
    return np.asarray((far_before + way * (np.take_along_axis(far, after, axis=-1) - far_before))[..., 0])


def area(far: Floats, tar: Floats) -> Floats:
    """(..., T) each -> (...,); see `auc`."""
    return np.asarray(np.trapezoid(tar, far, axis=-1))


def last_within(far: Floats, most: float) -> Integers:
    """Finds the last of (..., T) rising rates that is at most `most`, but for a rounding: (...,)."""
    return np.asarray(np.sum(far <= most * (1 + 1e-9), axis=-1) - 1)


def rate_name(far: float) -> str:
    """Writes a rate as the metrics name it.

    >>> rate_name(0.001)
    '1e-3'
    """
    mantissa, exponent = f"{far:.6e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def check_scores(similarity: Floats, same: Booleans, *others: NDArray[Any]) -> None:
    """Refuses arrays that no error rate can be computed from."""
    shapes = {array.shape for array in (similarity, same, *others)}
    if len(shapes) != 1 or similarity.ndim != 1:
        raise ValueError(f"similarities and labels want one value per pair each; they have {sorted(shapes)}")
    if same.dtype != np.bool_:
        raise ValueError(f"labels want bool (True: same person), not {same.dtype}")
    if not np.isfinite(similarity).all():
        raise ValueError(f"{int((~np.isfinite(similarity)).sum())} similarities are not finite numbers")
    if same.all() or not same.any():
        raise ValueError(f"verification wants genuine and impostor pairs; all {len(same)} are of one kind")
