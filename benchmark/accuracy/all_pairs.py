"""TAR and threshold at low FARs from every pair of some faces, which are compared block by block and never listed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...models.embedder import Embeddings
from .intervals import Estimate, Floats, Integers, Z, wilson
from .roc import TarAtFar, between, too_few

BLOCK = 1024  # faces on each side of a block of similarities: 4 MB
MOST_COMPARED = 4_000_000_000  # pairs: 90,000 faces; of more, people are drawn
MOST_KEPT = 20_000_000  # similarities of impostor pairs, 120 MB; a FAR that half of them do not hold is left out
FEWEST_ACCEPTED = 30  # impostor pairs that a FAR below the usual ones must accept
GROUPS = 20  # of people, one left out at a time
STUDENT = 2.093  # 97.5 % of Student's t with 19 degrees of freedom lie below

Groups = NDArray[np.uint8]


@dataclass(frozen=True)
class AllPairs:
    """What every pair of some faces says of low FARs."""

    points: Mapping[float, TarAtFar]  # by FAR
    genuine: int  # pairs of one person
    impostor: int  # pairs of two people
    people: int
    sample: str = ""  # of how many people these were drawn, "" where they are all

    @property
    def pairs(self) -> int:
        """All that were compared."""
        return self.genuine + self.impostor


@dataclass(frozen=True, eq=False)
class _Faces:
    """Embeddings, sorted by person, and which group each person is in."""

    embeddings: Embeddings  # (M, D)
    person: Integers  # (M,) 0, 1, ..., rising
    group: Groups  # (M,)
    groups: int

    def counts(self) -> tuple[Integers, Integers]:
        """Gives the genuine and the impostor pairs that are left without each group, and last those of all."""
        sizes = np.bincount(self.person)
        group = self.group[np.searchsorted(self.person, np.arange(len(sizes)))]
        own = np.bincount(group, sizes * (sizes - 1) // 2, self.groups).astype(np.int64)
        faces = np.append(len(self.person) - np.bincount(self.group, minlength=self.groups), len(self.person))
        genuine = own.sum() - np.append(own, 0)
        return genuine, faces * (faces - 1) // 2 - genuine


def compare_all(embeddings: Embeddings, identities: Integers, fars: Sequence[float], seed: int = 0) -> AllPairs:
    """Compares every face with every other, and gives the lowest thresholds whose FAR is at most those asked for.

    The most similar impostor pairs are kept, as many as the FARs need, and all others are forgotten: 10^8 pairs take
    seconds and 200 MB. The intervals are of a jackknife over twentieths of the people: each is left out once, with
    every pair that it is in. At a TAR of 0 or 1, and wherever leaving out changes nothing, that of the TAR is Wilson's
    for the people who are in genuine pairs.

    Args:
        embeddings: (M, D) of unit length.
        identities: (M,) who each face is.
        fars: FARs to report. Powers of ten below 1e-3 that accept at least 30 impostor pairs are added; those that
            accept more than ten million are left out.
        seed: Of the groups of people.

    Raises:
        ValueError: There is no genuine or no impostor pair.

    Sources: Shao and Wu, A General Theory for Jackknife Variance Estimation, Annals of Statistics 1989 (leaving out
    groups, for quantiles too); Kish, Survey Sampling, 1965, sec. 8.2 (what the genuine pairs are worth).
    """
    chosen, sample = _drawn_people(identities, np.random.default_rng(seed))
    faces = _sorted(embeddings[chosen], identities[chosen], np.random.default_rng(seed))
    genuine, impostor = faces.counts()
    if not genuine[-1] or not impostor[-1]:
        raise ValueError(f"{len(chosen)} faces of {faces.person[-1] + 1} people make no pairs of both kinds")
    rates = _carried(fars, int(impostor[-1]))
    tail = _most_similar(faces, 2 * max((int(impostor[-1] * far) for far in rates), default=0) + 1000)
    rejected, above, measured = _rejected(tail, impostor, rates, faces.groups)
    accepted, nearest = _accepted(faces, rejected)
    with np.errstate(invalid="ignore"):  # 0 of 0 where a group has all genuine pairs
        tars = np.where(np.isnan(rejected), np.nan, accepted / genuine)
    people, next_above = int((np.bincount(faces.person) > 1).sum()), np.minimum(above, nearest)
    points = {
        far: TarAtFar(far, _share(tar, int(genuine[-1]), people), _threshold(of_far, least), share)
        for far, tar, of_far, least, share in zip(rates, tars, rejected, next_above, measured, strict=True)
    }
    for far in fars:
        if reason := too_few(far, int(impostor[-1])):
            points[far] = TarAtFar(far, Estimate(None, reason=reason), Estimate(None, reason=reason))
    return AllPairs(points, int(genuine[-1]), int(impostor[-1]), int(faces.person[-1]) + 1, sample)


def _drawn_people(identities: Integers, random: np.random.Generator) -> tuple[Integers, str]:
    """Gives the faces of as many people as make no more pairs than are compared, and what was drawn of what."""
    people, person, sizes = np.unique(identities, return_inverse=True, return_counts=True)
    order = random.permutation(len(people))
    faces = np.cumsum(sizes[order])
    fit = max(2, int((faces * (faces - 1) // 2 <= MOST_COMPARED).sum()))
    if fit >= len(people):
        return np.arange(len(identities)), ""
    kept = np.isin(person, order[:fit])
    return np.flatnonzero(kept), f"faces of {fit:,} of {len(people):,} people"


def _sorted(embeddings: Embeddings, identities: Integers, random: np.random.Generator) -> _Faces:
    order = np.argsort(identities, kind="stable")
    person = np.unique(identities[order], return_inverse=True)[1]
    people = int(person[-1]) + 1
    groups = min(GROUPS, people)
    dealt = random.permutation(np.arange(people) % groups).astype(np.uint8)
    return _Faces(np.ascontiguousarray(embeddings[order], np.float32), person, dealt[person], groups)


def _carried(fars: Sequence[float], impostor: int) -> list[float]:
    lower = [10.0**-power for power in range(4, 10) if impostor >= FEWEST_ACCEPTED * 10**power]
    carried = (far for far in (*fars, *lower) if 1 <= impostor * far * (1 + 1e-9) and 2 * impostor * far <= MOST_KEPT)
    return sorted(set(carried), reverse=True)


def _most_similar(faces: _Faces, most: int) -> tuple[Floats, Groups, Groups]:
    """Gives the most similar impostor pairs, the most similar first: their cosines and the groups of both faces."""
    kept: list[tuple[NDArray[np.float32], Groups, Groups]] = []
    count, floor = 0, np.float32(-np.inf)
    for rows in _blocks(len(faces.person)):
        for columns in _blocks(len(faces.person), rows.start):
            similarity = faces.embeddings[rows] @ faces.embeddings[columns].T
            left, right = np.divmod(np.flatnonzero(similarity >= floor), similarity.shape[1])  # np.nonzero is slow
            one, other = left + rows.start, right + columns.start
            impostor = (faces.person[one] != faces.person[other]) & (one < other)
            left, right, one, other = left[impostor], right[impostor], one[impostor], other[impostor]
            kept.append((similarity[left, right], faces.group[one], faces.group[other]))
            count += len(left)
            if count > 2 * most:
                kept = [_cut(kept, most)]
                count, floor = most, kept[0][0].min()
    values, first, second = _cut(kept, min(most, count))
    falling = np.argsort(-values, kind="stable")
    return values[falling].astype(np.float64), first[falling], second[falling]


def _blocks(faces: int, first: int = 0) -> Iterator[slice]:
    return (slice(start, min(start + BLOCK, faces)) for start in range(first, faces, BLOCK))


def _cut(
    kept: Sequence[tuple[NDArray[np.float32], Groups, Groups]], most: int
) -> tuple[NDArray[np.float32], Groups, Groups]:
    """Gives the `most` largest with their groups; of equal ones at the end, any."""
    values, first, second = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    if len(values) <= most:
        return values, first, second
    least = np.partition(values, len(values) - most)[len(values) - most]
    chosen = np.flatnonzero(values > least)
    chosen = np.concatenate([chosen, np.flatnonzero(values == least)[: most - len(chosen)]])
    return values[chosen], first[chosen], second[chosen]


def _rejected(
    tail: tuple[Floats, Groups, Groups], impostor: Integers, fars: Sequence[float], groups: int
) -> tuple[Floats, Floats, list[float]]:
    """Finds the most similar impostor pair that each FAR rejects.

    Returns:
        Its similarity without each group, and last of all, (F, G + 1): the least that is kept where it lies below that,
        NaN where no impostor pair is left; the next similarity above it of all, (F,), infinite where there is none; and
        the FAR of what lies above it, (F,).
    """
    falling, first, second = tail
    rejected, above, measured = np.full((len(fars), groups + 1), np.nan), np.full(len(fars), np.inf), []
    for group in range(groups + 1):  # number `groups` is nobody's: all pairs
        rest = falling[(first != group) & (second != group)]
        for i, far in enumerate(fars if len(rest) else ()):
            rejected[i, group] = rest[min(int(impostor[group] * far * (1 + 1e-9)), len(rest) - 1)]
    for i, value in enumerate(rejected[:, -1]):
        accepted = int(np.searchsorted(-falling, -value, side="left"))  # equal ones are rejected together
        measured.append(accepted / int(impostor[-1]))
        above[i] = falling[accepted - 1] if accepted else np.inf
    return rejected, above, measured


def _accepted(faces: _Faces, rejected: Floats) -> tuple[Floats, Floats]:
    """Counts the genuine pairs above each of (F, G + 1) similarities, those of its group left out.

    Returns:
        The counts, (F, G + 1); and the least similarity above that of all groups, (F,), infinite where there is none.
    """
    rising = np.sort(rejected.ravel())
    at = np.searchsorted(rising, rejected)
    places = len(rising) + 1
    counts, nearest = np.zeros(faces.groups * places, np.int64), np.full(len(rejected), np.inf)
    for groups, similarity in _genuine(faces):
        below = np.searchsorted(rising, similarity)  # how many of them lie below a pair
        counts += np.bincount(groups * places + below, minlength=len(counts))
        for i, value in enumerate(rejected[:, -1]):
            nearest[i] = np.min(similarity, where=similarity > value, initial=nearest[i])
    # (G, T): how many pairs of a group lie above the similarity of each rank
    above = counts.reshape(faces.groups, places)[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
    every = above.sum(axis=0)[at]
    every[:, :-1] -= np.stack([above[group][at[:, group]] for group in range(faces.groups)], axis=1)
    return every.astype(np.float64), nearest


def _genuine(faces: _Faces) -> Iterator[tuple[Integers, NDArray[np.float32]]]:
    """Gives the group and the cosine of each genuine pair, a million or so at a time."""
    starts = np.searchsorted(faces.person, np.arange(faces.person[-1] + 2))
    groups, cosines, count = list[Integers](), list[NDArray[np.float32]](), 0
    for start, end in itertools.pairwise(starts):
        own = faces.embeddings[start:end]
        for rows in _blocks(len(own)):
            for columns in _blocks(len(own), rows.start):
                similarity = own[rows] @ own[columns].T
                upper = np.triu(np.ones(similarity.shape, np.bool_), 1 if rows == columns else -len(similarity))
                cosines.append(similarity[upper])
                groups.append(np.full(len(cosines[-1]), faces.group[start], np.int64))
                count += len(cosines[-1])
                if count > BLOCK**2:
                    yield np.concatenate(groups), np.concatenate(cosines)
                    groups, cosines, count = [], [], 0
    yield np.concatenate([*groups, np.zeros(0, np.int64)]), np.concatenate([*cosines, np.zeros(0, np.float32)])


def _threshold(rejected: Floats, above: float) -> Estimate:
    """Gives the threshold midway between what is rejected (G + 1,) and what is accepted next, as `roc.tar_at_far`."""
    low = float(rejected[-1])
    value = float(between(np.array(low), np.array(above))) if np.isfinite(above) else float(np.nextafter(low, np.inf))
    reach = STUDENT * _spread(rejected[:-1])
    return Estimate(value, value - reach, value + reach)


def _spread(without: Floats) -> float:
    """Gives the standard error of a number from those without each group (G,), NaN left out."""
    known = without[np.isfinite(without)]
    return float(np.sqrt((len(known) - 1) * known.var())) if len(known) else 0.0


def _share(values: Floats, pairs: int, people: int) -> Estimate:
    """Gives a share with Wilson's interval for as many pairs as the jackknife says that these are worth."""
    value, error = float(values[-1]), _spread(values[:-1])
    worth = min(float(pairs), value * (1 - value) / error**2) if error else float(people)
    return Estimate(value, *wilson(value, max(1, int(worth * (Z / STUDENT) ** 2))))
