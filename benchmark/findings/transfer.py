"""A file that replaces the source in an app: old thresholds and old enrolled templates with the new file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..accuracy.intervals import Estimate
from ..accuracy.paired import at_old_threshold, paired_differences
from ..accuracy.roc import rate_name
from ..accuracy.verification import people_of, similarities, verify_similarities
from ..measurement import Measurement, RowMaker
from .differences import verdict_of

if TYPE_CHECKING:
    from ..subjects import VerifiedFile

CROSSED = "cross_accuracy_difference"
CROSS = "left of every pair embedded by the source, right by this file; thresholds chosen on these similarities"


def threshold_transfer(file: VerifiedFile, row: RowMaker) -> list[Measurement]:
    """Gives rows of what the source's thresholds do on this file: FAR, TAR, and the share of decisions that flip."""
    if file.source is None:
        return []
    rows = []
    people = people_of(file.pairs.identities, file.pairs)
    before, now = file.source.verification, file.verification
    for far, point in before.tar.items():
        results = at_old_threshold(now.similarity, before.similarity, file.pairs.same, people, point.threshold)
        conditions: dict[str, Any] = {"to": file.source.model, "threshold": point.threshold.value}
        conditions["interval"] = f"closed form, {now.units}; the threshold stays"
        for what, estimate in results.items():
            rows.append(row.estimate(f"{what}_{rate_name(far)}", estimate, now.pairs, **conditions))
    return rows


def template_compatibility(file: VerifiedFile, row: RowMaker) -> list[Measurement]:
    """Gives rows of how well faces enrolled with the source are verified by this file, without enrolling them again.

    Left only: each pair is judged once, its left face by the source and its right face by this file. The row
    `cross_accuracy_difference` tells how much better that is than enrolling them again, pair by pair; where it is
    worse, that much is gained by enrolling again.
    """
    if file.source is None:
        return []
    old, new, pairs = file.source.embeddings, file.embeddings, file.pairs
    conditions: dict[str, Any] = {"to": file.source.model, "protocol": CROSS}
    fars = file.source.verification.tar
    if old.shape != new.shape:
        sizes = f"{old.shape[1]} and {new.shape[1]} numbers per face"
        reason = f"{file.source.model} and {file.name} give {sizes}: old templates do not fit the new file"
        metrics = [CROSSED, "cross_accuracy", *(f"cross_tar_at_far_{rate_name(far)}" for far in fars)]
        return [row.estimate(metric, Estimate(None, reason=reason), len(pairs), **conditions) for metric in metrics]
    stacked, people = np.concatenate([old, new]), people_of(pairs.identities, pairs)
    similarity = similarities(stacked, pairs.left, pairs.right + len(old))
    crossed = verify_similarities(similarity, pairs.same, pairs.fold, people, tuple(fars))
    estimates = {"cross_accuracy": crossed.accuracy}
    estimates |= {f"cross_tar_at_far_{rate_name(far)}": point.tar for far, point in crossed.tar.items()}
    shares = row.under(**conditions, interval=f"closed form, {crossed.units}")
    gain = paired_differences(crossed, file.verification, pairs.same, people)[0].difference
    paired = f"paired, closed form, {crossed.units}; the choice of thresholds counts"
    verdict = verdict_of(gain, file.recipe.margin, crossed.pairs)
    return [
        row.estimate(CROSSED, gain, len(pairs), **conditions, interval=paired, **verdict),
        *(shares.estimate(metric, estimate, len(pairs)) for metric, estimate in estimates.items()),
    ]
