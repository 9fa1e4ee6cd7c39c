"""A file that replaces the source in an app: old thresholds and old enrolled templates with the new file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..accuracy.intervals import Estimate
from ..accuracy.paired import at_old_threshold
from ..accuracy.roc import rate_name
from ..accuracy.verification import people_of, similarities, verify_similarities
from ..measurement import Measurement, RowMaker

if TYPE_CHECKING:
    from ..subjects import VerifiedFile

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

    Left only: each pair is judged once, its left face by the source and its right face by this file.
    """
    if file.source is None:
        return []
    old, new, pairs = file.source.embeddings, file.embeddings, file.pairs
    conditions: dict[str, Any] = {"to": file.source.model, "protocol": CROSS}
    fars = file.source.verification.tar
    if old.shape != new.shape:
        sizes = f"{old.shape[1]} and {new.shape[1]} numbers per face"
        reason = f"{file.source.model} and {file.name} give {sizes}: old templates do not fit the new file"
        metrics = ["cross_accuracy", *(f"cross_tar_at_far_{rate_name(far)}" for far in fars)]
        estimates = dict.fromkeys(metrics, Estimate(None, reason=reason))
    else:
        stacked = np.concatenate([old, new])
        similarity = similarities(stacked, pairs.left, pairs.right + len(old))
        crossed = verify_similarities(
            similarity, pairs.same, pairs.fold, people_of(pairs.identities, pairs), tuple(fars)
        )
        conditions["interval"] = f"closed form, {crossed.units}"
        estimates = {"cross_accuracy": crossed.accuracy}
        estimates |= {f"cross_tar_at_far_{rate_name(far)}": point.tar for far, point in crossed.tar.items()}
    return [row.estimate(metric, estimate, len(pairs), **conditions) for metric, estimate in estimates.items()]
