"""How well embeddings tell whether two faces show the same person, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .curve_intervals import auc_with_interval, eer_with_interval, tars_with_intervals
from .intervals import Booleans, Estimate, Floats, Integers
from .optimism import Optimism, optimism_of
from .roc import TarAtFar, best_of_falling, check_scores
from .shares import share_with
from .units import independent_units

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
    units: str  # what is independent: "6000 pairs"
    crops: str  # "112x112"
    sha256: str  # of crops and pairs
    similarity: Floats = field(repr=False, compare=False)  # (P,)
    correct: Booleans = field(repr=False, compare=False)  # (P,) the verdict by the other folds' threshold
    optimism: Optimism = field(repr=False, compare=False)  # of the thresholds that accuracy is judged by


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
) -> Verification:
    """Measures how well `embeddings` verify `pairs`.

    The intervals are in closed form, from what the pairs are worth where people recur (`units.independent_units`).
    That of the accuracy counts what the choice of thresholds adds (`optimism`), those of EER and TAR that they have
    thresholds of their own (`curve_intervals`).

    Args:
        embeddings: (M, D) of unit length, one per face of `pairs`.
        pairs: Which faces to compare.
        identities: (M,) who each face is, below 0 where that is not known. People who recur make intervals
            wider; where anybody is not known, pairs count as independent.
        fars: False accept rates to report the TAR at.

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
        crops="x".join(str(side) for side in pairs.faces.shape[1:3]),
        sha256=pairs.sha256,
    )


def verify_similarities(
    similarity: Floats,
    same: Booleans,
    fold: Integers,
    people: tuple[Integers, Integers] | None = None,
    fars: Sequence[float] = FARS,
    crops: str = "",
    sha256: str = "",
) -> Verification:
    """Measures the same of (P,) cosines; `people` are on the left and on the right of each pair, if all are known."""
    accuracies, thresholds = tenfold_accuracy(similarity, same, fold)
    correct = (similarity >= thresholds[_places(fold)[1]]) == same
    units = independent_units(len(same), people)
    del people  # of ten million pairs they take 160 MB
    accuracy = float(accuracies.mean())
    optimism = optimism_of(similarity, same, float(correct.mean()))
    variance = units.variance((correct - correct.mean()) / len(same)) + optimism.variance
    return Verification(
        accuracy=share_with(accuracy, variance, units.count, units.quantile()),
        accuracy_spread=float(accuracies.std()),
        eer=eer_with_interval(similarity, same, units),
        auc=auc_with_interval(similarity, same, units),
        tar=tars_with_intervals(similarity, same, fars, units),
        pairs=len(same),
        units=units.name,
        crops=crops,
        sha256=sha256,
        similarity=similarity,
        correct=correct,
        optimism=optimism,
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
