"""Curves for the page: error trade-offs and similarities of each file, thinned to what a screen can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..accuracy.record import Record
from ..accuracy.roc import roc
from .limits import DIFFERENCE
from .summary import ACCURACY, Line

MOST_POINTS = 200  # of a curve
BINS = 60  # of similarities
FARS = ("1e-3", "1e-2")  # the one whose threshold is drawn comes first
CHANGES = 41  # bins of the change against the source; the middle one is no change
Array = NDArray[Any]


def det(similarity: Array, same: Array, most: int = MOST_POINTS) -> list[list[float]]:
    """Gives points of the detection error trade-off, by rising FAR: [FAR, FRR, threshold].

    Both rates are above 0, as logarithmic axes need; of many points, those that are evenly spread over both axes.

    Args:
        similarity: (P,) cosines.
        same: (P,) whether the pair shows one person.
        most: Points to keep.

    Source: Martin et al., The DET curve in assessment of detection task performance, Eurospeech 1997.
    """
    far, tar, thresholds = roc(similarity, same)
    steps = np.flatnonzero((far > 0) & (tar < 1))
    if len(steps) > most:
        places = []
        for rate in (far[steps], 1 - tar[steps][::-1]):  # both rise
            grid = np.geomspace(rate[0], rate[-1], most // 2)
            places.append(np.clip(np.searchsorted(rate, grid), 0, len(steps) - 1))
        steps = steps[np.unique(np.concatenate([places[0], len(steps) - 1 - places[1]]))]
    rows = zip(far[steps], 1 - tar[steps], thresholds[steps], strict=True)
    return [[float(f"{fa:.3g}"), float(f"{fr:.3g}"), round(float(threshold), 4)] for fa, fr, threshold in rows]


def histogram(values: Array, low: float, high: float, bins: int) -> list[int]:
    """Counts values in equal bins from `low` to `high`; those beyond count in the last bins.

    >>> histogram(np.array([-9.0, 0.1, 0.6, 9.0]), 0.0, 1.0, 2)
    [2, 2]
    """
    counts, _ = np.histogram(np.clip(values, low, high), bins, (low, high))
    return [int(count) for count in counts]


def curves_of(record: Record, lines: Sequence[Line], first: int, best: set[int]) -> dict[str, Any] | None:
    """Gives the charts of one run's record; None where it has none of the run's files, or pairs of one kind alone.

    Args:
        record: Similarities of every pair.
        lines: Of the run.
        first: Index of its first line among all lines of the report.
        best: Indices of the recommended lines among all lines.
    """
    line_of = {line.artifact: i for i, line in reversed(list(enumerate(lines))) if line.artifact in record.similarity}
    if not line_of or record.same.all() or not record.same.any():
        return None
    source = _source(lines, record.similarity)
    low = min(0.0, *(float(values.min()) for values in record.similarity.values()))
    low = np.floor(low * 10) / 10
    files, far = [], drawn_far([lines[i] for i in line_of.values()])
    for artifact, i in line_of.items():
        similarity = record.similarity[artifact]
        line = lines[i]
        files.append(
            {
                "name": line.name,
                "row": first + i + 1,
                "shown": first + i in best or artifact == source,
                "source": artifact == source,
                "threshold": line.value(f"threshold_at_far_{far}"),
                "det": det(similarity, record.same),
                "genuine": histogram(similarity[record.same], low, 1.0, BINS),
                "impostor": histogram(similarity[~record.same], low, 1.0, BINS),
                "change": _change(similarity, record.similarity[source]) if artifact != source else None,
            }
        )
    impostors = int((~record.same).sum())
    order = sorted(files, key=lambda file: (not file["source"], not file["shown"], file["row"]))
    return {
        "run": lines[0].run,
        "low": low,
        "pairs": len(record.same),
        "impostors": impostors,
        "far": far,
        "files": order,
    }


def drawn_far(lines: Sequence[Line]) -> str:
    """Names the FAR whose threshold is drawn: 1e-3 where a file has one, else 1e-2, else none ("")."""
    return next((far for far in FARS if any(line.value(f"threshold_at_far_{far}") is not None for line in lines)), "")


def _source(lines: Sequence[Line], similarity: Mapping[str, Array]) -> str:
    """Names the file that the others are compared with: the one that is not compared, else the first of the record."""
    with_difference = {line.artifact for line in lines if DIFFERENCE in line.cells}
    alone = [line.artifact for line in lines if ACCURACY in line.cells and line.artifact not in with_difference]
    return next((artifact for artifact in alone if artifact in similarity and with_difference), next(iter(similarity)))


def _change(similarity: Array, source: Array) -> dict[str, Any]:
    """Gives the change of the pairs' similarities from the source to the file."""
    change = similarity - source
    reach = max(float(np.quantile(np.abs(change), 0.999)), 1e-6)
    return {
        "reach": float(f"{reach:.3g}"),
        "counts": histogram(change, -reach, reach, CHANGES),
        "mean": float(f"{change.mean():.3g}"),
        "sd": float(f"{change.std():.3g}"),
        "largest": float(f"{np.abs(change).max():.3g}"),
    }
