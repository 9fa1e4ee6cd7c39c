"""What becomes of an app that has thresholds and enrolled templates of the source when this file replaces it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..accuracy.intervals import Booleans, Estimate, Floats, Integers, resampling_units, share
from ..accuracy.roc import power
from ..accuracy.verification import people_of, similarities, verify_similarities
from ..measurement import Measurement, RowMaker

if TYPE_CHECKING:
    from ..subjects import Seen

CROSS = "left of every pair embedded by the source, right by this file; thresholds chosen on these similarities"


def threshold_transfer(seen: Seen, row: RowMaker) -> list[Measurement]:
    """Gives rows of what the source's thresholds do on this file: FAR, TAR, and the share of decisions that flip."""
    if seen.source is None:
        return []
    rows = []
    people = people_of(seen.pairs.identities, seen.pairs)
    before, now = seen.source.verification, seen.verification
    for far, point in before.tar.items():
        found = transferred(now.similarity, before.similarity, seen.pairs.same, people, point.threshold)
        conditions: dict[str, Any] = {"to": seen.source.model, "threshold": point.threshold.value}
        conditions["interval"] = f"bootstrap of {now.resampled}; the threshold stays"
        for what, estimate in found.items():
            rows.append(row.estimate(f"{what}_{power(far)}", estimate, now.pairs, **conditions))
    return rows


def transferred(
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
    found = (of(is_accepted, ~is_same, ~same), of(is_accepted, is_same, same), of(is_flipped, everyone, same | ~same))
    return dict(zip(names, found, strict=True))


def template_compatibility(seen: Seen, row: RowMaker) -> list[Measurement]:
    """Gives rows of how well faces enrolled with the source are verified by this file, without enrolling them again.

    Left only: each pair is judged once, its left face by the source and its right face by this file.
    """
    if seen.source is None:
        return []
    old, new, pairs = seen.source.embeddings, seen.embeddings, seen.pairs
    conditions: dict[str, Any] = {"to": seen.source.model, "protocol": CROSS}
    fars = seen.source.verification.tar
    if old.shape != new.shape:
        sizes = f"{old.shape[1]} and {new.shape[1]} numbers per face"
        reason = f"{seen.source.model} and {seen.name} give {sizes}: old templates do not fit the new file"
        metrics = ["cross_accuracy", *(f"cross_tar_at_far_{power(far)}" for far in fars)]
        estimates = dict.fromkeys(metrics, Estimate(None, reason=reason))
    else:
        stacked = np.concatenate([old, new])
        similarity = similarities(stacked, pairs.left, pairs.right + len(old))
        found = verify_similarities(similarity, pairs.same, pairs.fold, people_of(pairs.identities, pairs), tuple(fars))
        conditions["interval"] = f"bootstrap of {found.resampled}"
        estimates = {"cross_accuracy": found.accuracy}
        estimates |= {f"cross_tar_at_far_{power(far)}": point.tar for far, point in found.tar.items()}
    return [row.estimate(metric, estimate, len(pairs), **conditions) for metric, estimate in estimates.items()]
