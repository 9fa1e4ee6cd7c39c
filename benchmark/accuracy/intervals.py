"""95 % intervals from resampled pairs, or from resampled people where people recur."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

RESAMPLES = 1000
FEWEST_GROUPS = 30  # below, resampling whole groups says little about their spread
LARGEST_CHUNK = 200_000  # weights held at a time: 1.6 MB, which stays in a CPU's cache
MOST_PAIRS, FEWER_RESAMPLES = 200_000, 200  # more pairs are counted in cells, in fewer resamples
PACKS = 20_000
TOGETHER = 500_000  # pairs looked at at a time
AT_A_TIME = 8  # resamples
Z = 1.959963984540054  # 97.5 % of a normal distribution lie below


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; or, where the data cannot carry it, the reason."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Units:
    """What is drawn again and again: pairs, groups of people, or people."""

    first: NDArray[np.integer[Any]]  # (P,) the unit of each pair, 0 .. count-1
    second: NDArray[np.integer[Any]] | None  # (P,) where units are people: the other person of each pair
    count: int
    name: str  # "1290 groups of people that share no pair"

    def among(self, chosen: Booleans) -> int:
        """Counts the units that occur in the chosen pairs."""
        occurs = np.zeros(self.count, np.bool_)
        occurs[self.first[chosen]] = True
        if self.second is not None:
            occurs[self.second[chosen]] = True
        return int(occurs.sum())

    def weights(self, seed: int = 0, resamples: int = RESAMPLES) -> Iterator[Floats]:
        """Gives how often each resample holds each pair, (R, P) at a time; a seed always gives the same."""
        random = np.random.default_rng(seed)
        rows = max(1, LARGEST_CHUNK // max(len(self.first), self.count))
        for start in range(0, resamples, rows):
            height = min(rows, resamples - start)
            drawn = random.integers(self.count, size=(height, self.count))
            drawn += np.arange(height)[:, None] * self.count
            counts = np.bincount(drawn.ravel(), minlength=height * self.count).reshape(height, self.count)
            weights = counts[:, self.first].astype(np.float64)
            if self.second is not None:
                weights *= np.where(self.first == self.second, 1, counts[:, self.second])
            yield weights

    def tallies(self, cell: NDArray[np.integer[Any]], cells: int, seed: int = 0) -> Iterator[Floats]:
        """Gives how often each resample holds the pairs of each cell, (R, cells) at a time: quick for many pairs.

        There are 200 resamples, which know an end of the interval to a tenth of its reach. More than 20,000 pairs or
        groups are dealt into 20,000 packs by the seed, and packs are drawn: as good where units are independent.
        Files that are measured on the same pairs see the same resamples.

        Args:
            cell: (P,) what each pair counts for, 0 .. cells-1; none is empty.
            cells: C.
            seed: Always gives the same.
        """
        random = np.random.default_rng(seed)
        order = np.argsort(cell, kind="stable")
        starts = np.searchsorted(cell[order], np.arange(cells))
        first, second, count = self.first[order], None, self.count
        if self.second is not None:  # number `count`, always drawn once, is the other one where a pair has no other
            second = np.where(self.first == self.second, count, self.second)[order]
        elif count > PACKS:
            first, count = (random.permutation(count) % PACKS)[first].astype(np.int32), PACKS
        del order
        for start in range(0, FEWER_RESAMPLES, AT_A_TIME):
            draws = random.integers(count, size=(min(AT_A_TIME, FEWER_RESAMPLES - start), count))
            counts = [np.append(np.bincount(drawn, minlength=count), 1).astype(np.float32) for drawn in draws]
            yield np.stack([_tally(times, first, second, starts) for times in counts])


def _tally(
    times: NDArray[np.float32],
    first: NDArray[np.integer[Any]],
    second: NDArray[np.integer[Any]] | None,
    starts: Integers,
) -> Floats:
    """Sums what each pair counts over its cell, (C,); pairs are sorted by cell, and cells begin at `starts`."""
    total = np.zeros(len(starts))
    for begin in range(0, len(first), TOGETHER):
        weights = times[first[begin : begin + TOGETHER]]
        if second is not None:
            weights *= times[second[begin : begin + TOGETHER]]
        last = int(np.searchsorted(starts, begin + TOGETHER))
        cells = slice(int(np.searchsorted(starts, begin, side="right")) - 1, last)
        total[cells] += np.add.reduceat(weights, np.maximum(starts[cells] - begin, 0))
    return total


def resampling_units(pairs: int, identities: tuple[Integers, Integers] | None = None) -> Units:
    """Decides what may be drawn independently.

    Two pairs that show the same person are not independent: who is hard in one is hard in the other. So
    with `identities` (the person on the left and on the right of each pair, (P,) each) the units are groups
    of people: no pair lies between two groups, and a group is drawn with all its pairs. Where pairs connect
    many people (all against all), most pairs are in few groups, worth fewer than 30 of equal size (Kish's
    effective number); then people are drawn, and a pair counts as often as one of them was drawn times as
    often as the other was, which errs on the wide side. Without `identities` the units
    are the pairs, and the interval is too narrow to the degree that people recur.

    Sources: Davison and Hinkley, Bootstrap Methods and their Application, 1997, sec. 3.8 (groups); Owen, The
    pigeonhole bootstrap, Annals of Applied Statistics 2007 (people).
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


def percentiles(resampled: Floats) -> tuple[float, float]:
    """Gives the middle 95 % of (R,) resampled values; NaN (no pair of a kind was drawn) is left out."""
    low, high = np.nanquantile(resampled, (0.025, 0.975))
    return float(low), float(high)


def share(value: float, resampled: Floats, n: int) -> Estimate:
    """Gives a share with its percentile interval.

    At 0 or 1 no resample can differ, which would claim certainty; there the interval reaches as far as
    Wilson's for `n` independent units.
    """
    low, high = percentiles(resampled)
    if value in (0.0, 1.0):
        edge_low, edge_high = wilson(value, n)
        low, high = min(low, edge_low), max(high, edge_high)
    return Estimate(value, low, high)


def wilson(value: float, n: int) -> tuple[float, float]:
    """Gives Wilson's 95 % interval of a share `value` among `n` independent trials.

    >>> [round(bound, 4) for bound in wilson(1.0, 300)]
    [0.9874, 1.0]

    Source: Wilson, Probable Inference, JASA 1927.
    """
    centre = (value + Z * Z / (2 * n)) / (1 + Z * Z / n)
    reach = Z / (1 + Z * Z / n) * float(np.sqrt(value * (1 - value) / n + Z * Z / (4 * n * n)))
    return max(0.0, centre - reach), min(1.0, centre + reach)


def accuracy_difference(
    correct_a: Booleans,
    correct_b: Booleans,
    identities: tuple[Integers, Integers] | None = None,
    seed: int = 0,
) -> Estimate:
    """Gives how much more often `b` decides right than `a`, on the same pairs, with a paired 95 % interval.

    Both are resampled together, so what both find hard cancels: the interval is far narrower than the two
    single ones suggest. Where no verdict differs it is as wide as what so many pairs could have missed.

    Args:
        correct_a: (P,) whether `a` decided each pair right, as in `Verification.correct`.
        correct_b: (P,) the same for `b`.
        identities: The person on the left and on the right of each pair, see `resampling_units`.
        seed: Of the resamples.

    Raises:
        ValueError: The two are not about the same number of pairs, or about none.

    >>> accuracy_difference(np.array([True, False] * 50), np.array([True, True] * 50)).value
    0.5
    """
    if correct_a.shape != correct_b.shape or correct_a.ndim != 1 or len(correct_a) == 0:
        shapes = f"{correct_a.shape} and {correct_b.shape}"
        raise ValueError(f"a paired difference wants one verdict per pair from both; they have {shapes}")
    difference = correct_b.astype(np.float64) - correct_a.astype(np.float64)
    units = resampling_units(len(difference), identities)
    if not difference.any():
        unseen = wilson(0.0, units.count)[1]
        return Estimate(0.0, -unseen, unseen)
    if len(difference) <= MOST_PAIRS:
        resampled = [weights @ difference / weights.sum(axis=1) for weights in units.weights(seed)]
    else:
        values, cell = np.unique(difference, return_inverse=True)
        resampled = [tally @ values / tally.sum(axis=1) for tally in units.tallies(cell, len(values), seed)]
    return Estimate(float(difference.mean()), *percentiles(np.concatenate(resampled)))
