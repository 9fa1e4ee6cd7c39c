"""The verdict on a file that no labelled pairs judged: by its drift from the source and by who stays near whom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from .summary import ACCURACY, Line

Verdict = Literal["keeps", "cannot tell", "worse", "not measured"]

COSINE, OVERLAP, JITTER = "embedding_cosine_mean", "neighbour_overlap_10", "jitter_consistency"
THRESHOLD = "transported_threshold_1e-3"

KEEPS = {COSINE: 0.99, OVERLAP: 0.88}
"""The seven files at or above both lost at most 0.16 points: w8, w8a8 and w6 (evidence/label_free_limits.py)."""

WORSE = {COSINE: 0.96, OVERLAP: 0.77}
"""The five below one of these lost 0.4 points or more there: a tenth of the parameters cut, w5 and w4."""

KNOWN_DROP = 0.2  # points: a smaller loss shows in no drift that was looked at


def is_without_labels(lines: Sequence[Line]) -> bool:
    """Tells whether the lines were measured on faces without labels."""
    return any(JITTER in line.cells for line in lines) and not any(ACCURACY in line.cells for line in lines)


def drift_verdict(line: Line, max_drop: float) -> tuple[Verdict, str, float]:
    """Gives the verdict on a file that was compared without labels, the reason, and how far it is from "keeps".

    It is no measurement of accuracy: the drifts and losses of files that were measured on both say what a drift is
    likely to cost.

    Args:
        line: With the rows of `compare_unlabelled`.
        max_drop: Points of accuracy to lose.
    """
    if line.value(JITTER) is None:
        failed = line.cells.get(JITTER)
        return "not measured", failed.reason if failed else "not compared with the source", math.inf
    if OVERLAP not in line.cells:
        return "keeps", "", 0.0  # it is the source
    values = {key: value for key in KEEPS if (value := line.value(key)) is not None}
    if not values:
        return "not measured", line.cells[OVERLAP].reason, math.inf
    names = {COSINE: "mean cosine to the source", OVERLAP: "nearest faces kept"}
    short = {key: KEEPS[key] - value for key, value in values.items() if value < KEEPS[key]}
    if not short and max_drop >= KNOWN_DROP:
        return "keeps", "", 0.0
    told = ", ".join(f"{names[key]} {value:.3f} (sure from {KEEPS[key]:g} on)" for key, value in values.items())
    if any(value < WORSE[key] for key, value in values.items()):
        return "worse", f"it drifts from the source, as files that lose accuracy do: {told}", sum(short.values())
    return "cannot tell", f"its drift does not tell whether it loses accuracy: {told}", sum(short.values())
