"""How well embeddings tell whether two faces show the same person, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..measurement import Measurement
from .intervals import (
    Booleans,
    Estimate,
    Floats,
    Integers,
    accuracy_difference,
    percentiles,
    resampling_units,
    share,
)
from .roc import (
    TarAtFar,
    area,
    auc,
    best_threshold,
    check,
    eer,
    equal_error,
    last_within,
    power,
    steps,
    tar_at_far,
)

if TYPE_CHECKING:
    from ...faces.pairs import Pairs

FARS = (1e-2, 1e-3)
PROTOCOL = "cosine; each fold judged by the threshold that is best on the other folds"


@dataclass(frozen=True)
class Verification:
    """What `verify` finds out; shares between 0 and 1, each with its 95 % interval."""

    accuracy: Estimate
    accuracy_spread: float  # standard deviation over the folds, as papers give it
    eer: Estimate
    auc: Estimate
    tar: Mapping[float, TarAtFar]  # by FAR
    pairs: int
    resampled: str  # what the intervals are about: "6000 pairs"
    crops: str  # "112x112"
    sha256: str  # of crops and pairs
    similarity: Floats = field(repr=False, compare=False)  # (P,)
    correct: Booleans = field(repr=False, compare=False)  # (P,) the verdict by the other folds' threshold


def similarities(embeddings: NDArray[np.floating[Any]], left: Integers, right: Integers) -> Floats:
    """Gives the cosine of each pair of (M, D) unit vectors, (P,).

    >>> similarities(np.float32([[1, 0], [0, 1]]), np.array([0, 0]), np.array([0, 1])).tolist()
    [1.0, 0.0]
    """
    return np.asarray(np.einsum("pd,pd->p", embeddings[left], embeddings[right], dtype=np.float64))


def tenfold_accuracy(similarity: Floats, same: Booleans, fold: Integers) -> tuple[Floats, Floats]:
    """Judges each fold by the threshold that is best on all others.

    Every threshold that decides differently is tried, where the usual code tries a grid (squared distance 0
    to 4 in steps of 0.01): the two differ by a few pairs in 6,000. Of equally good thresholds the highest
    stands, for it admits fewest impostors.

    Args:
        similarity: (P,) cosines.
        same: (P,) whether the pair shows one person.
        fold: (P,) which fold a pair is in: K different numbers.

    Returns:
        The share of right decisions in each fold, (K,), and the fold's threshold, (K,); by fold number.

    Raises:
        ValueError: There are fewer than two folds, or the arrays do not fit.

    Source: Huang et al., Labeled Faces in the Wild, UMass 07-49, 2007, view 2.
    """
    check(similarity, same, fold)
    folds, place = np.unique(fold, return_inverse=True)
    if len(folds) < 2:
        raise ValueError("accuracy by folds wants at least 2 folds; all pairs are in one")
    thresholds = np.array([best_threshold(similarity[fold != k], same[fold != k]) for k in folds])
    right = (similarity >= thresholds[place]) == same
    return np.bincount(place, right) / np.bincount(place), thresholds


def verify(
    embeddings: NDArray[np.floating[Any]],
    pairs: Pairs,
    identities: Integers | None = None,
    fars: Sequence[float] = FARS,
    seed: int = 0,
) -> Verification:
    """Measures how well `embeddings` verify `pairs`.

    The intervals are of 1,000 resamples (see `intervals.resampling_units`). In each the thresholds of the
    folds stay as they were chosen, those of a FAR are chosen anew.

    Args:
        embeddings: (M, D) of unit length, one per face of `pairs`.
        pairs: Which faces to compare.
        identities: (M,) who each face is, below 0 where that is not known. People who recur make intervals
            wider; where anybody is not known, pairs are resampled.
        fars: False accept rates to report the TAR at.
        seed: Of the resamples.

    Raises:
        ValueError: Embeddings, pairs and identities do not fit together.
    """
    if len(embeddings) != len(pairs.faces):
        faces = len(pairs.faces)
        raise ValueError(f"{len(embeddings)} embeddings for {faces} faces; verification wants one for each")
    similarity, same = similarities(embeddings, pairs.left, pairs.right), pairs.same
    accuracies, thresholds = tenfold_accuracy(similarity, same, pairs.fold)
    correct = (similarity >= thresholds[np.unique(pairs.fold, return_inverse=True)[1]]) == same

    known = identities is not None and bool((identities >= 0).all())
    units = resampling_units(len(same), _people(identities, pairs) if known and identities is not None else None)
    again = _resampled(similarity, same, correct, fars, units.weights(seed))
    genuine = units.among(same)
    fewer = min(genuine, units.among(~same))
    points = [tar_at_far(similarity, same, far) for far in fars]
    return Verification(
        accuracy=share(float(accuracies.mean()), again["accuracy"], units.count),
        accuracy_spread=float(accuracies.std()),
        eer=share(eer(similarity, same), again["eer"], fewer),
        auc=share(auc(similarity, same), again["auc"], fewer),
        tar={point.far: _with_intervals(point, again, genuine) for point in points},
        pairs=len(same),
        resampled=units.name,
        crops="x".join(str(side) for side in pairs.faces.shape[1:3]),
        sha256=pairs.sha256,
        similarity=similarity,
        correct=correct,
    )


def measurements(
    verification: Verification, row: Callable[..., Measurement], certified: bool = False
) -> list[Measurement]:
    """Gives the rows of measurements.json; `row` makes one and knows model ... device already.

    `certified` says that the thresholds stand in the file itself.
    """
    conditions = {
        "protocol": PROTOCOL,
        "flip": False,
        "crops": verification.crops,
        "pairs_sha256": verification.sha256,
        "interval": f"bootstrap of {verification.resampled}",
    }

    def one(metric: str, estimate: Estimate, **more: object) -> Measurement:
        return row(
            metric=metric,
            value=estimate.value,
            unit="1",
            low=estimate.low,
            high=estimate.high,
            n=verification.pairs,
            valid=not estimate.reason,
            reason=estimate.reason,
            conditions={**conditions, **more},
        )

    rows = [
        one("verification_accuracy", verification.accuracy),
        one("verification_accuracy_fold_sd", Estimate(verification.accuracy_spread)),
        one("eer", verification.eer),
        one("auc", verification.auc),
    ]
    for far, point in verification.tar.items():
        rows.append(one(f"tar_at_far_{power(far)}", point.tar, measured_far=point.measured_far))
        known = {"measured_far": point.measured_far, "certified": "in the file's own metadata" if certified else None}
        rows.append(one(f"threshold_at_far_{power(far)}", point.threshold, **known))
    return rows


def difference(
    verification: Verification, source: Verification, pairs: Pairs, row: Callable[..., Measurement]
) -> Measurement:
    """Gives the row of how much more often one decides right than `source`, pair by pair on the same `pairs`."""
    known = bool((pairs.identities >= 0).all())
    people = _people(pairs.identities, pairs) if known else None
    estimate = accuracy_difference(source.correct, verification.correct, people)
    interval = f"paired bootstrap of {verification.resampled}"
    fields = dict(value=estimate.value, low=estimate.low, high=estimate.high, unit="1", n=verification.pairs)
    return row(metric="accuracy_difference", **fields, conditions={"interval": interval})


def _people(identities: Integers, pairs: Pairs) -> tuple[Integers, Integers]:
    left, right = identities[pairs.left], identities[pairs.right]
    contradicted = np.flatnonzero((left == right) != pairs.same)
    if len(contradicted):
        label = "same" if pairs.same[contradicted[0]] else "different"
        raise ValueError(f"pair {contradicted[0]} is labelled {label}, but its identities say otherwise")
    return left, right


def _resampled(
    similarity: Floats, same: Booleans, correct: Booleans, fars: Sequence[float], draws: Iterable[Floats]
) -> dict[Any, Floats]:
    """Computes every statistic on every resample, (R,); one where no pair of a kind was drawn gives NaN."""
    at = steps(similarity)
    parts: dict[Any, list[Floats]] = {}
    for weights in draws:
        with np.errstate(invalid="ignore"):
            false, true = at.count(weights * ~same), at.count(weights * same)
            far, tar = false / false[:, -1:], true / true[:, -1:]
            found: dict[Any, Floats] = {
                "accuracy": weights @ correct.astype(np.float64) / weights.sum(axis=1),
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


def _with_intervals(point: TarAtFar, again: Mapping[Any, Floats], genuine: int) -> TarAtFar:
    if point.tar.value is None or point.threshold.value is None:
        return point
    tar = share(point.tar.value, again["tar", point.far], genuine)
    threshold = Estimate(point.threshold.value, *percentiles(again["threshold", point.far]))
    return TarAtFar(point.far, tar, threshold, point.measured_far)
