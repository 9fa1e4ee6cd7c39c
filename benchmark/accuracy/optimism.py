"""What choosing a threshold adds to the uncertainty of an accuracy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .intervals import Booleans, Floats

PART = 0.4  # of the squared optimism


@dataclass(frozen=True)
class Optimism:
    """By how much the best threshold of all pairs flatters an accuracy, and the thresholds that chance might choose."""

    gap: float  # accuracy by the threshold that is best for all pairs, less that by folds; at least 0
    low: float  # thresholds between the two lose no more than the gap
    high: float

    @property
    def variance(self) -> float:
        """The variance that the choice adds to the accuracy.

        A threshold strays about the best one until what it loses exceeds what chance can hide: both the optimism and
        what straying adds to the standard deviation are proportional to n^(-2/3), whatever the distributions. Their
        ratio is that of Chernoff's process, which simulations put near the root of 0.4.

        Sources: Kim and Pollard, Cube root asymptotics, Annals of Statistics 1990 (the process); Efron, How biased is
        the apparent error rate, JASA 1986 (optimism).
        """
        return PART * self.gap**2

    def holds(self, similarity: Floats) -> Booleans:
        """Gives which of (P,) similarities lie between the thresholds."""
        return (similarity >= self.low) & (similarity <= self.high)


def optimism_of(similarity: Floats, same: Booleans, accuracy: float) -> Optimism:
    """Compares an accuracy by folds with that of the best threshold for all (P,) pairs."""
    order = np.argsort(-similarity)
    falling, genuine = similarity[order], same[order]
    gained = np.cumsum(np.where(genuine, np.int32(1), np.int32(-1)), dtype=np.int32)
    gained[:-1][falling[:-1] == falling[1:]] = -len(same)  # equal similarities are accepted together
    by_folds = accuracy * len(same) - int((~same).sum())  # pairs gained over accepting none
    best = max(int(gained.max()), 0)
    near = np.flatnonzero(gained >= min(by_folds, best) - 1e-6)
    if not len(near):
        return Optimism(0.0, float(falling[0]), float(falling[0]))
    return Optimism(max(0.0, best - by_folds) / len(same), float(falling[near[-1]]), float(falling[near[0]]))


def variance_of_change(mine: Optimism, other: Optimism, similarity: Floats, other_similarity: Floats) -> float:
    """Gives the variance that choosing thresholds adds to the difference of two files' accuracies.

    What both have in common cancels: their thresholds stray together as far as the same pairs lie where they stray.

    Args:
        mine: Of one file.
        other: Of another on the same pairs.
        similarity: (P,) by the one.
        other_similarity: (P,) by the other.
    """
    near, also = mine.holds(similarity), other.holds(other_similarity)
    both = float((near & also).sum())
    alike = both / float(np.sqrt(float(near.sum()) * float(also.sum()))) if both else 0.0
    return PART * max(0.0, mine.gap**2 + other.gap**2 - 2 * alike * mine.gap * other.gap)
