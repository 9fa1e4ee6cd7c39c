"""What can be said of a file on faces of whom nobody said who they are: it is held against the source."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...models.embedder import Embeddings
from ..accuracy.intervals import Estimate
from ..accuracy.label_free import NEIGHBOURS, neighbour_overlap, transported_threshold
from ..measurement import Measurement, RowMaker
from ..subjects import VerifiedFile

MOST_FACES = 1500  # looked at; their million pairs carry a FAR of 1e-4
FAR = 1e-3


def unlabelled_rows(file: VerifiedFile, row: RowMaker) -> list[Measurement]:
    """Gives what a run can tell without its labels, but for the source's threshold: neighbours, transported threshold.

    Where pairs are labelled, `threshold_at_far_1e-3` is the truth that the transported threshold can be judged by.
    """
    if file.source is None:
        return []
    chosen = drawn_faces(len(file.embeddings))
    source, embeddings = file.source.embeddings[chosen], file.embeddings[chosen]
    point = file.source.verification.tar.get(FAR)
    if point is None or point.threshold.value is None:
        known: float | str = "the source has no threshold at FAR 1e-3" if point is None else point.threshold.reason
    else:
        known = point.threshold.value
    row = row.under(to=file.source.model)
    return [overlap_row(source, embeddings, row), transported_row(source, embeddings, known, row)]


def drawn_faces(faces: int) -> NDArray[np.int64]:
    """Gives the indices of at most 1,500 of `faces` faces, always the same ones."""
    if faces <= MOST_FACES:
        return np.arange(faces)
    return np.sort(np.random.default_rng(0).choice(faces, MOST_FACES, replace=False))


def overlap_row(source: Embeddings, embeddings: Embeddings, row: RowMaker) -> Measurement:
    """Gives the row `neighbour_overlap_10` of (M, E) embeddings against the source's (M, D)."""
    if len(source) > NEIGHBOURS:
        overlap = Estimate(neighbour_overlap(source, embeddings))
    else:
        overlap = Estimate(None, reason=f"{len(source)} faces have no {NEIGHBOURS} neighbours")
    return row.estimate(f"neighbour_overlap_{NEIGHBOURS}", overlap, len(source))


def transported_row(source: Embeddings, embeddings: Embeddings, known: float | str, row: RowMaker) -> Measurement:
    """Gives the row of the threshold that accepts as many pairs as the source at `known`, or the reason for none."""
    metric, row = "transported_threshold_1e-3", row.under(faces=len(source))
    if isinstance(known, str):
        return row.missing(metric, known)
    found = transported_threshold(source, embeddings, known)
    conditions = {"from": known, "accepted": found.accepted, "interval": "jackknife over tenths of the faces"}
    return row.estimate(metric, found.threshold, found.pairs, **conditions)
