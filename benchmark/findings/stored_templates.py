"""Verification where an app stores what it enrols as int8, a byte a number, and compares int8 with int8."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...export.app.int8_template import int8_templates, kept_cosines, lengths, template_scale
from ...export.certificate import why_unfit
from ...faces.pairs import Pairs
from ..accuracy.intervals import Estimate, Floats
from ..accuracy.paired import at_old_threshold, paired_differences
from ..accuracy.roc import rate_name
from ..accuracy.verification import people_of, similarities, verify_similarities
from ..measurement import Measurement, RowMaker
from .differences import verdict_of

if TYPE_CHECKING:
    from ..subjects import VerifiedFile

PART = "one scale for all"


def stored_template_rows(file: VerifiedFile, row: RowMaker) -> list[Measurement]:
    """Gives rows of what int8 templates take and lose, each beside the same file's float32 embeddings.

    The scale is chosen on these very embeddings: one number, which thousands of them set. `flipped` is the share of
    decisions that change where an app keeps the threshold of float32.
    """
    scale, before, pairs = template_scale(file.embeddings), file.verification, file.pairs
    if scale is None:
        return [row.missing("int8_template_accuracy", "the embeddings are zeros: there is nothing to store", part=PART)]
    people = people_of(pairs.identities, pairs)
    similarity = template_similarities(int8_templates(file.embeddings, scale), pairs)
    stored = verify_similarities(similarity, pairs.same, pairs.fold, people, tuple(before.tar))
    row = row.under(part=PART, template_scale=scale, to="float32 templates of the same file")
    by_pairs = row.under(interval=f"closed form, {stored.units}")
    rows = [
        row.value("int8_template_bytes", file.embeddings.shape[1], float32_bytes=4 * file.embeddings.shape[1]),
        row.value("int8_template_cosine_min", float(kept_cosines(file.embeddings, scale).min()), len(file.embeddings)),
        by_pairs.estimate("int8_template_accuracy", stored.accuracy, stored.pairs),
    ]
    paired = row.under(interval=f"paired, closed form, {stored.units}; the choice of thresholds counts")
    for comparison in paired_differences(stored, before, pairs.same, people):
        difference = comparison.difference
        verdict = {} if difference.value is None else verdict_of(difference, file.recipe.margin, stored.pairs)
        rows.append(paired.estimate(f"int8_template_{comparison.metric}", difference, stored.pairs, **verdict))
    impostor = int((~pairs.same).sum())
    for far, point in stored.tar.items():
        old = before.tar[far].threshold
        unfit = "" if point.threshold.value is None else why_unfit(far, impostor)
        threshold = Estimate(None, reason=unfit) if unfit else point.threshold
        flipped = at_old_threshold(similarity, before.similarity, pairs.same, people, old)["decisions_flipped"]
        at_far = by_pairs.under(float32_threshold=None if unfit else old.value)
        rows += [
            at_far.estimate(f"int8_template_threshold_at_far_{rate_name(far)}", threshold, stored.pairs),
            at_far.estimate(f"int8_template_flipped_{rate_name(far)}", flipped, stored.pairs),
        ]
    return rows


def template_similarities(templates: NDArray[np.int8], pairs: Pairs) -> Floats:
    """Gives the cosine of each pair of (M, D) templates, (P,): the product of integers divided by both lengths."""
    length = lengths(templates)
    products = similarities(templates.astype(np.float32), pairs.left, pairs.right)  # whole numbers, exact
    return products / (length[pairs.left] * length[pairs.right])
