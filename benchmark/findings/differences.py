"""The rows of how much better a file is than the source of its run, and the verdict on each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..accuracy.intervals import Estimate
from ..accuracy.paired import judge_difference, mcnemar, paired_differences
from ..accuracy.verification import people_of
from ..measurement import Measurement, RowMaker

if TYPE_CHECKING:
    from ..subjects import VerifiedFile


def differences(file: VerifiedFile, row: RowMaker) -> list[Measurement]:
    """Gives rows of how much better a file is than the run's source, pair by pair, and what may be said of it."""
    if file.source is None:
        return []
    mine, other, pairs, margin = file.verification, file.source.verification, file.pairs, file.recipe.margin
    conditions: dict[str, Any] = {
        "to": file.source.model,
        "interval": f"paired, closed form, {mine.units}; the choice of thresholds counts",
    }
    row, rows = row.under(**conditions), []
    for comparison in paired_differences(mine, other, pairs.same, people_of(pairs.identities, pairs)):
        more = {} if comparison.difference.value is None else verdict_of(comparison.difference, margin, mine.pairs)
        if comparison.metric == "accuracy_difference":
            more["mcnemar_p"] = mcnemar(other.correct, mine.correct)
        rows.append(row.estimate(comparison.metric, comparison.difference, mine.pairs, **more))
    return rows


def verdict_of(estimate: Estimate, margin: float, pairs: int) -> dict[str, Any]:
    """Gives the conditions of a row that tell the verdict."""
    verdict = judge_difference(estimate, margin, pairs)
    conditions = {"verdict": verdict.word, "margin": margin, "said": verdict.said}
    return conditions if verdict.pairs_needed is None else {**conditions, "pairs_needed": verdict.pairs_needed}
