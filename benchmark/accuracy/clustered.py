"""Means over some of the pairs, and how sure they are where the same people recur: in closed form."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .intervals import Booleans, Estimate, Floats, Integers, Units


@dataclass(frozen=True, eq=False)
class ClusteredPairs:
    """Some of the pairs, and which of them are not independent."""

    pairs: Integers = field(repr=False)  # (n,) which pairs
    first: NDArray[np.integer[Any]] = field(repr=False)  # (n,) the unit of each
    second: NDArray[np.integer[Any]] | None = field(repr=False)  # (n,) where units are people: the other one
    couple: Integers | None = field(repr=False)  # (n,) where units are people: which two, by number
    units: int  # how many units occur

    def standard_error(self, values: Floats) -> float:
        """Gives the standard error of the mean of `values` (n,), pairs that share a unit not being independent.

        Sources: Cameron and Miller, A Practitioner's Guide to Cluster-Robust Inference, JHR 2015, eq. 11 (groups);
        Fafchamps and Gubert, The formation of risk sharing networks, JDE 2007, eq. 2.7 (people, of whom a pair has
        two).
        """
        rest = values - values.mean()
        together = np.bincount(self.first, rest)
        if self.second is None or self.couple is None:
            return float(np.sqrt(np.sum(together**2))) / len(values)
        other = self.first != self.second
        size = max(len(together), int(self.second.max()) + 1)
        together = np.bincount(self.first, rest, size) + np.bincount(self.second[other], rest[other], size)
        twice = np.bincount(self.couple[other], rest[other])  # two pairs of the same two people share both
        variance = float(np.sum(together**2) - np.sum(twice**2))
        return float(np.sqrt(max(variance, np.sum(rest**2)))) / len(values)

    def worth(self, values: Floats) -> float:
        """Gives how many independent pairs would leave the mean of `values` (n,) as uncertain; at most n.

        Where all values are alike nothing tells, and it is the number of units.

        Source: Kish, Survey Sampling, 1965, sec. 8.2 (effective sample size).
        """
        error = self.standard_error(values)
        return min(float(len(values)), float(values.var()) / error**2 if error else float(self.units))


def clustered_pairs(units: Units, chosen: Booleans) -> ClusteredPairs:
    """Gives the pairs of `chosen` (P,) as `units` group them; see `intervals.resampling_units`."""
    where = np.flatnonzero(chosen)
    first, second, couple = units.first[where], None, None
    if units.second is not None:
        second = units.second[where]
        low, high = np.minimum(first, second).astype(np.int64), np.maximum(first, second).astype(np.int64)
        couple = np.unique(low * units.count + high, return_inverse=True)[1]
    return ClusteredPairs(where, first, second, couple, units.among(chosen))


def share_of(right: Booleans, among: ClusteredPairs, level: float = 0.95) -> Estimate:
    """Gives the share that `right` (n,) is true, with Wilson's interval for as many pairs as `among` is worth.

    Source: Wilson, Probable Inference, JASA 1927.
    """
    value, worth, z = float(right.mean()), among.worth(right.astype(np.float64)), _z(level)
    centre = (value + z * z / (2 * worth)) / (1 + z * z / worth)
    reach = z / (1 + z * z / worth) * float(np.sqrt(value * (1 - value) / worth + z * z / (4 * worth * worth)))
    return Estimate(value, max(0.0, centre - reach), min(1.0, centre + reach))


def change_of(before: Booleans, after: Booleans, among: ClusteredPairs, level: float = 0.95) -> Estimate:
    """Gives how much more often `after` (n,) is right than `before` (n,), pair by pair.

    The interval is Bonett and Price's for as many pairs as `among` is worth. It adds one pair to those won and one to
    those lost, so that few differing verdicts are not taken for certain: five lost and none won among 2,000 are within
    chance, as the exact sign test has it, where resampling would call them a loss.

    Source: Bonett and Price, Adjusted Wald Confidence Interval for a Difference of Binomial Proportions Based on Paired
    Data, Journal of Educational and Behavioral Statistics 2012.
    """
    change = after.astype(np.float64) - before
    value, worth = float(change.mean()), among.worth(change)
    differing = (float(np.abs(change).mean()) * worth + 2) / (worth + 2)
    middle = value * worth / (worth + 2)
    reach = _z(level) * float(np.sqrt((differing - middle**2) / (worth + 2)))
    return Estimate(value, max(-1.0, middle - reach), min(1.0, middle + reach))


def _z(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)
