"""What a verification gives on pairs drawn anew, again and again: the spread that intervals are read off."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .binning import cells_of
from .intervals import MOST_PAIRS, Booleans, Estimate, Floats, Integers, Units, percentiles, share
from .roc import TarAtFar, area, equal_error, last_within, steps


def resampled(
    similarity: Floats, same: Booleans, correct: Booleans, units: Units, fars: Sequence[float], seed: int = 0
) -> dict[Any, Floats]:
    """Gives the statistics of every resample of the units, (R,) each: "accuracy", "eer", "auc", ("tar", far) ..."""
    if len(same) <= MOST_PAIRS:
        return statistics_of(similarity, same, correct, fars, units.weights(seed))
    cells = cells_of(similarity, same, correct)
    tallies = units.tallies(cells.cell, len(cells.same), seed)
    return statistics_of(cells.similarity, cells.same, cells.correct, fars, tallies)


def statistics_of(
    similarity: Floats, same: Booleans, correct: Booleans, fars: Sequence[float], draws: Iterable[Floats]
) -> dict[Any, Floats]:
    """Computes every statistic on every resample, (R,); one where no pair of a kind was drawn gives NaN."""
    at = steps(similarity)
    parts: dict[Any, list[Floats]] = {}
    last: Integers | None = None
    for weights in draws:
        with np.errstate(invalid="ignore"):
            false, true = at.count(weights * ~same), at.count(weights * same)
            far, tar = false / false[:, -1:], true / true[:, -1:]
            best = np.argmax(true - false, axis=1)
            earlier = np.concatenate([best[-1:] if last is None else last, best[:-1]])[:, None]
            last = best[-1:]
            accepted, mistaken = (np.take_along_axis(of, earlier, axis=1)[:, 0] for of in (true, false))
            found: dict[Any, Floats] = {
                "accuracy": weights @ correct.astype(np.float64) / weights.sum(axis=1),
                # by the threshold that was best on the resample before: what choosing it adds to the uncertainty
                "accuracy anew": (accepted + false[:, -1] - mistaken) / weights.sum(axis=1),
                "eer": equal_error(far, tar),
                "auc": area(far, tar),
            }
        for rate in fars:
            index = last_within(far, rate)
            found["tar", rate] = np.take_along_axis(tar, index[:, None], axis=1)[:, 0]
            found["threshold", rate] = at.thresholds[index]
        for name, values in found.items():
            parts.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in parts.items()}


def with_intervals(point: TarAtFar, again: Mapping[Any, Floats], genuine: int) -> TarAtFar:
    """Adds the intervals of `resampled` statistics to a point; `genuine` units hold a genuine pair."""
    if point.tar.value is None or point.threshold.value is None:
        return point
    tar = share(point.tar.value, again["tar", point.far], genuine)
    threshold = Estimate(point.threshold.value, *percentiles(again["threshold", point.far]))
    return TarAtFar(point.far, tar, threshold, point.measured_far)


def centred_on(value: float, drawn: Floats) -> Floats:
    """Moves resampled shares so that their mean is `value`."""
    return np.clip(value + drawn - np.nanmean(drawn), 0, 1)
