"""Accuracy on disturbed crops: moved, compressed, channels swapped, darkened."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...faces.contract import Faces
from ...faces.pairs import Pairs
from ...models.embedder import unit
from ..accuracy.intervals import Booleans, Integers
from ..accuracy.roc import best_threshold
from ..accuracy.shares import change_of, share_of
from ..accuracy.units import Units, independent_units
from ..accuracy.verification import people_of, similarities
from ..embedding import embed_all
from ..measurement import Measurement, RowMaker
from ..subjects import VerifiedFile, embedding_job
from .disturbances import DISTURBANCES

UNDISTURBED = "as they are"


@dataclass(frozen=True, eq=False)
class Sample:
    """Some of the pairs, with their faces in every condition."""

    pairs: Integers = field(repr=False)  # which pairs
    units: Units = field(repr=False)  # of these
    left: Integers = field(repr=False)  # (n,) indices into the faces of one condition
    right: Integers = field(repr=False)
    same: Booleans = field(repr=False)
    conditions: tuple[str, ...]  # K, the undisturbed one first
    crops: Faces = field(repr=False)  # (K * F, H, W, 3), condition by condition
    sha256: str  # of the crops


@dataclass(frozen=True, eq=False)
class DisturbedVerdicts:
    """One file's verdicts on a sample, under every disturbance."""

    right: dict[str, Booleans] = field(repr=False)  # by condition, (n,) whether each pair was decided right
    cosine: dict[str, float]  # by condition, the mean between a face's embedding and its undisturbed one
    threshold: float  # that decides most undisturbed pairs of the sample right


def robustness_rows(file: VerifiedFile, row: RowMaker) -> list[Measurement]:
    """Gives rows of the accuracy under each disturbance, at the threshold that is best for undisturbed crops.

    Both faces of a pair are disturbed, each in its own direction, so it is the worst that an app can do: it disturbs at
    enrolment and at recognition. Single crops are embedded also where the run sums an embedding and its mirror image's.
    """
    if not file.recipe.robustness:
        return []
    sample = disturbed_sample(file.pairs, file.recipe.robustness)
    mine = _embedded(file, sample)
    if isinstance(mine, str):
        return [row.missing("disturbed_accuracy", mine)]
    verdicts = disturbed_verdicts(mine, sample)
    theirs = None if file.source is None else _embedded(file.source, sample)
    source = None if theirs is None or isinstance(theirs, str) else disturbed_verdicts(theirs, sample)
    rows = []
    for part in sample.conditions[1:]:
        of_part = row.under(part=part, flip=False)
        rows += _rows(part, verdicts, sample, of_part)
        if source is not None and file.source is not None:
            rows.append(_compared(part, verdicts, source, file.source.model, sample, of_part))
    return rows


@lru_cache(maxsize=1)  # every file of a run is asked about the same pairs
def disturbed_sample(pairs: Pairs, most: int, seed: int = 0) -> Sample:
    """Draws up to `most` pairs, half of them genuine where there are as many, and disturbs their faces by `seed`."""
    random = np.random.default_rng(seed)
    chosen = np.zeros(len(pairs), np.bool_)
    for kind in (pairs.same, ~pairs.same):
        where = np.flatnonzero(kind)
        chosen[random.choice(where, min(len(where), max(1, most // 2)), replace=False)] = True
    units = independent_units(len(pairs), people_of(pairs.identities, pairs)).of(chosen)
    used, places = np.unique(np.stack([pairs.left[chosen], pairs.right[chosen]]), return_inverse=True)
    left, right = places.reshape(2, -1)
    faces = pairs.faces[used]
    crops = np.concatenate([faces, *(disturb(faces, random) for disturb in DISTURBANCES.values())])
    digest = hashlib.sha256(crops.data).hexdigest()
    return Sample(
        np.flatnonzero(chosen), units, left, right, pairs.same[chosen], (UNDISTURBED, *DISTURBANCES), crops, digest
    )


def disturbed_verdicts(embeddings: NDArray[np.floating[Any]], sample: Sample) -> DisturbedVerdicts:
    """Judges (K * F, D) unit embeddings of the sample's crops by the threshold that suits the undisturbed ones."""
    parts = dict(zip(sample.conditions, np.split(embeddings, len(sample.conditions)), strict=True))
    similarity = {name: similarities(part, sample.left, sample.right) for name, part in parts.items()}
    threshold = best_threshold(similarity[UNDISTURBED], sample.same)
    whole = parts[UNDISTURBED].astype(np.float64)
    return DisturbedVerdicts(
        {name: (values >= threshold) == sample.same for name, values in similarity.items()},
        {name: float((part * whole).sum(axis=1).mean()) for name, part in parts.items()},
        threshold,
    )


def _embedded(file: VerifiedFile, sample: Sample) -> NDArray[np.float32] | str:
    (raw,) = embed_all([embedding_job(file.candidate, sample.sha256)], sample.crops, file.folder / "embeddings")
    return raw if isinstance(raw, str) else unit(raw)


def _rows(part: str, verdicts: DisturbedVerdicts, sample: Sample, row: RowMaker) -> list[Measurement]:
    accuracy = row.estimate(
        "disturbed_accuracy",
        share_of(verdicts.right[part], sample.units),
        len(sample.same),
        undisturbed=float(verdicts.right[UNDISTURBED].mean()),
        threshold=verdicts.threshold,
        interval=f"closed form, {sample.units.count} independent units",
    )
    faces = len(sample.crops) // len(sample.conditions)
    return [accuracy, row.value("disturbed_cosine_mean", verdicts.cosine[part], faces)]


def _compared(
    part: str, mine: DisturbedVerdicts, source: DisturbedVerdicts, to: str, sample: Sample, row: RowMaker
) -> Measurement:
    change = change_of(source.right[part], mine.right[part], sample.units)
    lost = [float(of.right[UNDISTURBED].mean() - of.right[part].mean()) for of in (mine, source)]
    conditions = {"to": to, "lost": lost[0], "source_lost": lost[1]}
    return row.estimate("disturbed_accuracy_difference", change, len(sample.same), **conditions)
