"""Verification pairs drawn at random: from labelled faces, or from rendered identities."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .folders import LabelledFaces
from .pairs import FOLDS, Pairs
from .rendering.synthetic import synthetic_faces


def synthetic_pairs(
    identities: int, shots: int, seed: int = 0, size: int | tuple[int, int] = 112, first: int = 0
) -> Pairs:
    """Pairs rendered identities: every genuine pair, and as many random impostor pairs.

    The identities are split into ten folds, or fewer if they are fewer than twenty; no identity is in two folds.

    Args:
        identities: Number of people, at least 2.
        shots: Number of faces of each, at least 2.
        seed: Of the rendered people and of the impostor pairs.
        size: Of the faces, in pixels a side, or height and width.
        first: Number of the first person, see `synthetic_faces`.

    Returns:
        The pairs, with crops, folds and identities.

    Raises:
        ValueError: Fewer than 2 identities, or fewer than 2 shots of each.
    """
    if identities < 2 or shots < 2:
        raise ValueError(f"{identities} identities x {shots} shots make no pairs; 2 x 2 are the fewest that do")
    faces, labels = synthetic_faces(identities, shots, seed=seed, size=size, first=first)
    crops = np.argsort(labels, kind="stable").reshape(identities, shots)  # row: the crops of one identity
    random = np.random.default_rng(seed)
    blocks = [_fold_pairs(part, random) for part in np.array_split(crops, max(1, min(FOLDS, identities // 2)))]
    left, right, same = (np.concatenate(columns) for columns in zip(*blocks, strict=True))
    fold = np.repeat(np.arange(len(blocks)), [len(block[0]) for block in blocks])
    shot = np.empty(len(labels), dtype=np.int64)
    shot[crops] = np.arange(shots)
    names = [f"synthetic_{label:05d}/{number:04d}" for label, number in zip(labels, shot, strict=True)]
    return Pairs.of(faces, left, right, same, fold, names, labels, rendered=True)


def _fold_pairs(
    crops: NDArray[np.int64], random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Gives all genuine pairs among `crops` (identities, shots), then as many different impostor pairs."""
    identities, shots = crops.shape
    earlier, later = np.triu_indices(shots, 1)
    genuine = identities * len(earlier)
    one, other = np.triu_indices(identities, 1)
    drawn = np.sort(random.choice(len(one) * shots * shots, genuine, replace=False))
    people, shot = np.divmod(drawn, shots * shots)
    left = np.concatenate([crops[:, earlier].ravel(), crops[one[people], shot // shots]])
    right = np.concatenate([crops[:, later].ravel(), crops[other[people], shot % shots]])
    return left, right, np.arange(2 * genuine) < genuine


def draw_pairs(faces: LabelledFaces, most: int, seed: int = 0) -> Pairs:
    """Draws genuine pairs, and as many impostor pairs, of the people with two or more crops.

    The people are split into ten folds, or fewer if they are fewer than twenty; nobody is in two folds. In a fold each
    person gets one genuine pair before any gets a second, and likewise each two people an impostor pair. Each crop
    that is in a pair is read into memory.

    Args:
        faces: In memory or on disk.
        most: The largest number of pairs, half of them genuine; there are fewer if a fold has no more.
        seed: Of everything random.

    Raises:
        ValueError: Fewer than 2 pairs are wanted, or there are fewer than 2 people with two crops.
    """
    random = np.random.default_rng(seed)
    order = np.argsort(faces.labels, kind="stable")
    by_label = np.split(order, np.flatnonzero(np.diff(faces.labels[order])) + 1)
    crops = [rows for rows in by_label if len(rows) > 1]
    if most < 2 or len(crops) < 2:
        raise ValueError(f"no {most} pairs of {len(crops)} people with two crops; 2 of 2 are the fewest that can be")
    people = random.permutation(len(crops))[: max(2, most // 2)]
    folds = max(1, min(FOLDS, len(people) // 2))
    drawn = [
        _drawn_pairs([crops[person] for person in part], most // 2 // folds, random)
        for part in np.array_split(people, folds)
    ]
    lefts, rights, same = (np.concatenate(columns) for columns in zip(*drawn, strict=True))
    fold = np.repeat(np.arange(folds), [len(part[0]) for part in drawn])
    used, places = np.unique(np.stack([lefts, rights]), return_inverse=True)
    left, right = places.reshape(2, -1)
    names = [f"{faces.names[label]}/{row:07d}" for label, row in zip(faces.labels[used], used, strict=True)]
    return Pairs.of(faces.faces[used], left, right, same, fold, names, faces.labels[used])


MOST_PAIRS = 10_000_000
"""Of each kind, in memory at once: as many take 250 MB, and 30 of the impostor pairs carry a FAR of 3e-6."""


def cross_pairs(faces: LabelledFaces, most: int = MOST_PAIRS, seed: int = 0) -> Pairs:
    """Pairs every face with every other: genuine within a person, impostor across all people.

    Beyond `most` pairs of a kind a sample of them is taken, one from each of `most` equal parts of the list of all, so
    that every face has its share; the list itself is never held. People are dealt into ten folds, or fewer if they are
    fewer than ten; a pair is in the fold of its left person. All crops are read into memory.

    Args:
        faces: In memory or on disk, with a person each.
        most: The largest number of genuine pairs, and of impostor pairs.
        seed: Of the folds and the samples.

    Returns:
        The pairs; `sample` says of how many each kind was drawn, if it was.

    Raises:
        ValueError: There are fewer than 2 people, or none has two crops.
    """
    random = np.random.default_rng(seed)
    order = np.argsort(faces.labels, kind="stable")
    people, starts, sizes = np.unique(faces.labels[order], return_index=True, return_counts=True)
    if len(people) < 2 or sizes.max() < 2:
        raise ValueError(
            f"{len(order)} faces of {len(people)} people make no pairs of both kinds; at least 2 people are wanted, "
            "one of them with 2 faces: a folder for each person"
        )
    place, end = np.arange(len(order)), np.repeat(starts + sizes, sizes)
    genuine, all_genuine = _later(place + 1, end, most, random)
    impostor, all_impostor = _later(end, np.full(len(order), len(order)), most, random)
    left, right = np.concatenate([genuine, impostor], axis=1)
    turned = np.arange(len(left)) % 2 == 1  # else the first people would be on the left of most impostor pairs
    left[turned], right[turned] = right[turned], left[turned]
    left, right = order[left], order[right]
    dealt = random.permutation(np.arange(len(people)) % min(FOLDS, len(people)))
    person = np.searchsorted(people, faces.labels)
    kinds = (("genuine", genuine.shape[1], all_genuine), ("impostor", impostor.shape[1], all_impostor))
    sample = " and ".join(f"{taken:,} of {of:,} {kind} pairs" for kind, taken, of in kinds if taken < of)
    names = [f"{faces.names[label]}/{row:07d}" for row, label in enumerate(faces.labels)]
    pairs = Pairs.of(
        faces.faces[:],
        left,
        right,
        np.arange(len(left)) < genuine.shape[1],
        dealt[person[left]],
        names,
        faces.labels,
    )
    return dataclasses.replace(pairs, sample=sample)


def _later(
    first: NDArray[np.int64], end: NDArray[np.int64], most: int, random: np.random.Generator
) -> tuple[NDArray[np.int64], int]:
    """Pairs each place i with the places `first[i]` to `end[i] - 1`.

    Returns:
        (2, P) of these pairs, P at most `most`, by rising place; and how many there are.
    """
    until = np.cumsum(end - first)
    count = int(until[-1])
    taken = min(most, count)
    edges = (np.arange(taken + 1) * (count / max(taken, 1))).astype(np.int64)
    number = edges[:-1] + (random.random(len(edges) - 1) * np.diff(edges)).astype(np.int64)
    left = np.searchsorted(until, number, side="right")
    return np.stack([left, end[left] - (until[left] - number)]), count


def _rows_by_label(labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def _drawn_pairs(
    crops: Sequence[NDArray[np.int64]], most: int, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Gives up to `most` genuine pairs of the people whose crops these are, then as many impostor pairs."""
    sizes = np.array([len(rows) for rows in crops])
    one, other = np.triu_indices(len(crops), 1)
    of_person, of_two = sizes * (sizes - 1) // 2, sizes[one] * sizes[other]
    count = min(most, of_person.sum(), of_two.sum())
    left, right = [], []
    for person, number in _dealt(of_person, count, random):
        later = int((1 + np.sqrt(1 + 8 * number)) // 2)  # 0-1, 0-2, 1-2, 0-3, ...: later * (later - 1) / 2 come before
        left.append(crops[person][number - later * (later - 1) // 2])
        right.append(crops[person][later])
    for couple, number in _dealt(of_two, count, random):
        first, second = divmod(number, sizes[other[couple]])
        left.append(crops[one[couple]][first])
        right.append(crops[other[couple]][second])
    return np.array(left), np.array(right), np.arange(2 * count) < count


def _dealt(sizes: NDArray[np.int64], count: int, random: np.random.Generator) -> list[tuple[int, int]]:
    """Draws `count` different (i, k), k below `sizes[i]`, spread as evenly over i as the sizes allow."""
    chosen = random.permutation(len(sizes))[:count]
    rounds = next(turn for turn in itertools.count() if np.minimum(sizes[chosen], turn).sum() >= count)
    drawn = [
        (turn, int(i), int(number))
        for i in chosen
        for turn, number in enumerate(random.choice(sizes[i], min(sizes[i], rounds), replace=False))
    ]
    return [(i, number) for _, i, number in sorted(drawn, key=lambda each: each[0])[:count]]
