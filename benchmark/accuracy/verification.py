"""How well embeddings tell whether two faces show the same person, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .intervals import (
    Booleans,
    Estimate,
    Floats,
    Integers,
    resampling_units,
    share,
)
from .resampling import centred_on, resampled, with_intervals
from .roc import (
    TarAtFar,
    auc,
    best_of_falling,
    check_scores,
    eer,
    tar_at_far,
)

if TYPE_CHECKING:
    from ...faces.pairs import Pairs

FARS = (1e-2, 1e-3)
TOGETHER = 2000  # pairs


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
    # what every resample gave, (R,) each; those of two files on the same pairs are paired
    again: Mapping[Any, Floats] = field(default_factory=dict, repr=False, compare=False)


def similarities(embeddings: NDArray[np.floating[Any]], left: Integers, right: Integers) -> Floats:
    """Gives the cosine of each pair of (M, D) unit vectors, (P,); a few at a time, so that they stay in the cache.

    >>> similarities(np.float32([[1, 0], [0, 1]]), np.array([0, 0]), np.array([0, 1])).tolist()
    [1.0, 0.0]
    """
    cosines = np.empty(len(left))
    for start in range(0, len(left), TOGETHER):
        part = slice(start, start + TOGETHER)
        cosines[part] = np.einsum("pd,pd->p", embeddings[left[part]], embeddings[right[part]], dtype=np.float64)
    return cosines


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
    check_scores(similarity, same, fold)
    folds, place = _places(fold)
    if len(folds) < 2:
        raise ValueError("accuracy by folds wants at least 2 folds; all pairs are in one")
    falling = np.argsort(-similarity)
    sorted_similarity, sorted_same, sorted_place = similarity[falling], same[falling], place[falling]
    del falling
    thresholds = np.empty(len(folds))
    for k in range(len(folds)):
        others = sorted_place != k
        thresholds[k] = best_of_falling(sorted_similarity[others], sorted_same[others])
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

    The intervals are of 1,000 resamples (see `intervals.resampling_units`). In each the thresholds of a FAR are
    chosen anew, and accuracy is that of the threshold which was best on another resample. Beyond 200,000 pairs there
    are 200, of similarities that are rounded for that; see `Units.tallies`.

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
    return verify_similarities(
        similarities(embeddings, pairs.left, pairs.right),
        pairs.same,
        pairs.fold,
        people_of(identities, pairs),
        fars,
        seed,
        crops="x".join(str(side) for side in pairs.faces.shape[1:3]),
        sha256=pairs.sha256,
    )


def verify_similarities(
    similarity: Floats,
    same: Booleans,
    fold: Integers,
    people: tuple[Integers, Integers] | None = None,
    fars: Sequence[float] = FARS,
    seed: int = 0,
    crops: str = "",
    sha256: str = "",
) -> Verification:
    """Measures the same of (P,) cosines; `people` are on the left and on the right of each pair, if all are known."""
    accuracies, thresholds = tenfold_accuracy(similarity, same, fold)
    correct = (similarity >= thresholds[_places(fold)[1]]) == same
    units = resampling_units(len(same), people)
    del people  # of ten million pairs they take 160 MB
    again = resampled(similarity, same, correct, units, fars, seed)
    genuine = units.among(same)
    fewer = min(genuine, units.among(~same))
    points = [tar_at_far(similarity, same, far) for far in fars]
    accuracy = float(accuracies.mean())
    return Verification(
        accuracy=share(accuracy, centred_on(accuracy, again["accuracy anew"]), units.count),
        accuracy_spread=float(accuracies.std()),
        eer=share(eer(similarity, same), again["eer"], fewer),
        auc=share(auc(similarity, same), again["auc"], fewer),
        tar={point.far: with_intervals(point, again, genuine) for point in points},
        pairs=len(same),
        resampled=units.name,
        crops=crops,
        sha256=sha256,
        similarity=similarity,
        correct=correct,
        again=again,
    )


def usual_fars(same: Booleans) -> tuple[float, ...]:
    """Gives the usual false accept rates, and every lower power of ten that these impostor pairs carry.

    >>> usual_fars(np.zeros(100_000, np.bool_))
    (0.01, 0.001, 0.0001, 1e-05)
    """
    lower = [10.0**-rate_name for rate_name in range(4, 10) if np.sum(~same) >= 10**rate_name]
    return (*FARS, *lower)


def people_of(identities: Integers | None, pairs: Pairs) -> tuple[Integers, Integers] | None:
    """Gives who is on the left and on the right of each pair, (P,) each; None where anybody is not known."""
    if identities is None or (identities < 0).any():
        return None
    left, right = identities[pairs.left], identities[pairs.right]
    contradicted = np.flatnonzero((left == right) != pairs.same)
    if len(contradicted):
        label = "same" if pairs.same[contradicted[0]] else "different"
        raise ValueError(f"pair {contradicted[0]} is labelled {label}, but its identities say otherwise")
    return left, right


def _places(fold: Integers) -> tuple[Integers, NDArray[np.int32]]:
    """Gives the K different folds and, (P,), which of them each pair is in."""
    folds = np.unique(fold)
    return folds, np.searchsorted(folds, fold).astype(np.int32)
