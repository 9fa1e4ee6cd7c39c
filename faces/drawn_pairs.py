"""Verification pairs drawn at random: from labelled faces, or from rendered identities."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .contract import Faces
from .folders import LARGEST_IN_MEMORY, FaceSource, LabelledFaces, content_sha256
from .pairs import FOLDS, Pairs

READ_AT_A_TIME = 1000  # crops


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
    from .rendering.synthetic import synthetic_faces  # which loads SciPy

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


MOST_PAIRS = 1_000_000
"""Of each kind in the folds: an accuracy of so many is known to 0.02 points, were they all independent."""


def cross_pairs(faces: LabelledFaces, most: int = MOST_PAIRS, seed: int = 0) -> Pairs:
    """Pairs the faces of a folder of people: every genuine pair, and as many impostor pairs.

    People are dealt into ten folds, or fewer if they are fewer than twenty, and an impostor pair is of two people of
    one fold: a pair of two folds belongs to neither, as it would show each the people of the other. FARs are not for
    these pairs: they count every pair of the faces, across folds too (`Pairs.whole`).

    In a fold there are as many impostor pairs as genuine ones, else an accuracy would be that of the impostors, who are
    hundreds to one. They are one from each of as many equal parts of the list of all, so that every face has its share;
    the list itself is never held. So is a sample of the genuine pairs, beyond `most`. Crops of more than 1 GiB are held
    in a temporary file that has no name.

    Args:
        faces: In memory or on disk, with a person each.
        most: The largest number of genuine pairs, and of impostor pairs.
        seed: Of the folds and the samples.

    Returns:
        The pairs; `sample` says of how many each kind was drawn.

    Raises:
        ValueError: There are fewer than 4 people, or none has two crops.
    """
    random = np.random.default_rng(seed)
    people, person, sizes = np.unique(faces.labels, return_inverse=True, return_counts=True)
    if len(people) < 4 or sizes.max() < 2:
        raise ValueError(
            f"{len(faces.labels)} faces of {len(people)} people make no pairs for two folds of people; at least 4 "
            "people are wanted, one of them with 2 faces: a folder for each person"
        )
    folds = min(FOLDS, len(people) // 2)
    by_size = np.lexsort([random.random(len(people)), -sizes])  # who has many faces, and so most pairs, is dealt first
    dealt = np.empty(len(people), np.int64)
    dealt[by_size] = np.arange(len(people)) % folds
    order = np.lexsort([person, dealt[person]])  # by fold, and by person in it
    starts = np.searchsorted(dealt[person[order]], np.arange(folds + 1))
    parts, counts = [], np.zeros(2, np.int64)
    all_genuine = int((sizes * (sizes - 1) // 2).sum())
    for start, end in itertools.pairwise(starts):
        rows = order[start:end]
        first, until = np.arange(len(rows)) + 1, _ends(person[rows])
        share = int(((until - first).sum() * min(1.0, most / all_genuine)).round())
        genuine, _ = _later(first, until, share, random)
        impostor, available = _later(until, np.full(len(rows), len(rows)), share, random)
        turned = np.arange(impostor.shape[1]) % 2 == 1  # else the first people would be on the left of most of them
        impostor[:, turned] = impostor[::-1, turned]
        parts += [rows[genuine], rows[impostor]]
        counts += (genuine.shape[1], available)
    left, right = np.concatenate(parts, axis=1)
    lengths = [part.shape[1] for part in parts]
    same, fold = np.repeat(np.arange(len(parts)) % 2 == 0, lengths), np.repeat(np.arange(len(parts)) // 2, lengths)
    impostors = len(left) - int(counts[0])
    sample = (
        f"{counts[0]:,} of {all_genuine:,} genuine pairs, and {impostors:,} of {counts[1]:,} impostor pairs of two "
        "people in one fold"
    )
    names = [f"{faces.names[label]}/{row:07d}" for row, label in enumerate(faces.labels)]
    pairs = Pairs.of(_held(faces.faces), left, right, same, fold, names, faces.labels)
    sha256 = content_sha256(pairs.sha256, faces.labels)  # who is on a face decides pairs that are not listed
    return dataclasses.replace(pairs, sha256=sha256, sample=sample, whole=True)


def _ends(person: NDArray[np.int64]) -> NDArray[np.int64]:
    """Gives for each place of a sorted list the place after the last of the same person."""
    return np.searchsorted(person, person, side="right")


def _held(faces: FaceSource) -> Faces:
    """Gives all crops as one array: in memory if they fit, else mapped from a file that is gone with the process."""
    if isinstance(faces, np.ndarray) or np.prod(faces.shape) <= LARGEST_IN_MEMORY:
        return faces[:]
    with tempfile.TemporaryFile() as file:
        held = np.memmap(file, np.uint8, "w+", shape=faces.shape)  # keeps the file open for itself
    for start in range(0, len(faces), READ_AT_A_TIME):
        part = slice(start, start + READ_AT_A_TIME)
        held[part] = faces[part]
    return held


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
