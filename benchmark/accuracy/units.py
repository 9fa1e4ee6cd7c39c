"""What is independent among pairs: the pairs themselves, or the people in them where people recur."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .intervals import Booleans, Floats, Integers, Z

FEWEST_GROUPS = 30  # below, whole groups say little about their spread
TOGETHER = 500_000  # pairs looked at at a time


@dataclass(frozen=True, eq=False)
class Units:
    """The units of some pairs; two pairs are independent where they share none."""

    first: NDArray[np.integer[Any]]  # (P,) the unit of each pair, 0 .. count-1
    second: NDArray[np.integer[Any]] | None  # (P,) where units are people: the other person of each pair
    count: int
    name: str  # "1290 groups of people that share no pair"

    @property
    def are_pairs(self) -> bool:
        """Whether every pair is a unit of its own."""
        return self.second is None and self.count == len(self.first)

    def of(self, chosen: Booleans) -> Units:
        """Gives the units of the chosen (P,) pairs alone, numbered anew."""
        sides = [side[chosen] for side in (self.first, self.second) if side is not None]
        occurs = np.zeros(self.count, np.bool_)
        for side in sides:
            occurs[side] = True
        number = np.cumsum(occurs, dtype=np.int32) - np.int32(1)
        numbered = [number[side] for side in sides]
        return Units(numbered[0], numbered[1] if len(sides) > 1 else None, int(occurs.sum()), self.name)

    def variance(self, parts: Floats) -> float:
        """Gives the variance of the sum of `parts` (P,), whose expectations are 0.

        What two pairs bring counts as correlated where they share a unit. It is never less than that of independent
        pairs, and is corrected for few units by G / (G - 1).

        Sources: Cameron and Miller, A Practitioner's Guide to Cluster-Robust Inference, JHR 2015, eq. 11 (groups);
        Fafchamps and Gubert, The formation of risk sharing networks, JDE 2007, eq. 2.7 (people, of whom a pair has
        two).
        """
        apart = float(np.sum(parts**2))
        if self.are_pairs:
            return apart
        together = np.bincount(self.first, parts, self.count)
        if self.second is None or self._couple is None:
            shared = float(np.sum(together**2))
        else:
            other, couple = self._couple
            together += np.bincount(self.second[other], parts[other], self.count)
            twice = np.bincount(couple, parts[other])  # two pairs of the same two people share both
            shared = float(np.sum(together**2) - np.sum(twice**2))
        return max(apart, shared * self.count / max(self.count - 1, 1))

    def worth(self, values: Floats) -> float:
        """Gives how many independent pairs would leave the mean of `values` (P,) as uncertain; at most P.

        Where all values are alike nothing tells, and it is the number of units.

        Source: Kish, Survey Sampling, 1965, sec. 8.2 (effective sample size).
        """
        rest, pairs = values - values.mean(), float(len(values))
        variance = self.variance(rest / pairs)
        return min(pairs, float(values.var()) / variance) if variance else min(pairs, float(self.count))

    def quantile(self, level: float = 0.95) -> float:
        """Gives how many standard errors an interval reaches: Student's for few groups of pairs, else the normal's.

        Source: Cameron and Miller, JHR 2015, sec. VI.D (G - 1 degrees of freedom).
        """
        from scipy.special import ndtri, stdtrit  # slow to import

        if self.are_pairs:
            return Z if level == 0.95 else float(ndtri((1 + level) / 2))
        return float(stdtrit(max(self.count - 1, 1), (1 + level) / 2))

    @cached_property
    def _couple(self) -> tuple[Booleans, Integers] | None:
        """Which pairs are of two people, (P,), and which two they are, by number; None where none is."""
        if self.second is None:
            return None
        other = self.first != self.second
        if not other.any():
            return None
        one, two = self.first[other], self.second[other]
        couple = np.minimum(one, two).astype(np.int64) * self.count + np.maximum(one, two)
        if self.count**2 <= max(len(couple), 1000):  # few enough to tick them off in a table
            return other, couple
        return other, np.unique(couple, return_inverse=True)[1]


def independent_units(pairs: int, identities: tuple[Integers, Integers] | None = None) -> Units:
    """Decides what is independent.

    Two pairs that show the same person are not independent: who is hard in one is hard in the other. So
    with `identities` (the person on the left and on the right of each pair, (P,) each) the units are groups
    of people: no pair lies between two groups. Where pairs connect many people (all against all), most pairs are in
    few groups, worth fewer than 30 of equal size (Kish's effective number); then the units are people, of whom a pair
    has two. Without `identities` the units are the pairs, and intervals are too narrow to the degree that people
    recur.
    """
    if identities is None:
        return Units(np.arange(pairs), None, pairs, f"{pairs} pairs")
    left, right, people = _numbered(*identities)
    count, group = _connected(left, right, people)
    sizes = np.bincount(group[left]).astype(np.float64)
    if pairs**2 / np.sum(sizes**2) >= FEWEST_GROUPS:
        return Units(group[left], None, count, f"{count} groups of people that share no pair")
    return Units(left, right, people, f"{people} people")


def _numbered(left: Integers, right: Integers) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
    """Gives the people of each pair as numbers 0 .. count-1, and the count."""
    least, most = min(left.min(), right.min()), max(left.max(), right.max())
    if most - least > 4 * len(left) + 1000:  # numbers too far apart to tick them off in a table
        members = np.unique(np.concatenate([left, right]), return_inverse=True)[1].astype(np.int32)
        return members[: len(left)], members[len(left) :], int(members.max()) + 1
    occurs = np.zeros(most - least + 1, np.bool_)
    occurs[left - least] = True
    occurs[right - least] = True
    number = np.cumsum(occurs, dtype=np.int32) - np.int32(1)
    return number[left - least], number[right - least], int(occurs.sum())


def _connected(left: NDArray[np.int32], right: NDArray[np.int32], people: int) -> tuple[int, NDArray[np.int32]]:
    """Counts the groups of people whom pairs connect, and tells each person's."""
    from scipy.sparse import coo_matrix  # slow to import: only who measures faces waits for it
    from scipy.sparse.csgraph import connected_components

    count, group = people, np.arange(people, dtype=np.int32)
    for start in range(0, len(left), TOGETHER):  # what a part of the pairs connects is one node for the next part
        one, other = group[left[start : start + TOGETHER]], group[right[start : start + TOGETHER]]
        joins = one != other
        edges = coo_matrix((np.ones(joins.sum(), np.int8), (one[joins], other[joins])), shape=(count, count))
        count, joined = connected_components(edges, directed=False)
        group = joined[group]
    return int(count), group
