"""Verification pairs: which two crops, one person or two, and which fold."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from .contract import Faces
from .folders import EXTENSIONS, LabelledFaces, decode_image, fingerprint, read_images
from .insightface_bin import read_bin
from .rendering.synthetic import synthetic_faces

FOLDS = 10


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of crops; a crop that many pairs share is held once."""

    faces: Faces  # (M, H, W, 3) uint8 RGB
    left: NDArray[np.int64]  # (P,) indices into faces
    right: NDArray[np.int64]  # (P,)
    same: NDArray[np.bool_]  # (P,) True: genuine, False: impostor
    fold: NDArray[np.int64]  # (P,) 0, 1, ...
    names: tuple[str, ...]  # M, for reports: "AJ_Cook/AJ_Cook_0001.jpg"
    identities: NDArray[np.int64]  # (M,) who is on each crop; -1 where the file does not say
    sha256: str  # of pixels, pairs, verdicts and folds

    def __len__(self) -> int:
        """P."""
        return len(self.same)


@dataclass(frozen=True)
class _Row:
    line: int
    left: str  # path below the images, for LFW without its extension
    right: str
    same: bool


def read_pairs(path: Path, images: Path | None, height: int, width: int) -> Pairs:
    """Reads pairs and their crops.

    - `.txt`, LFW's form: `Name 1 4` is a genuine pair, `Name 1 Other 2` an impostor pair, and the first
      image of Name is `images/Name/Name_0001.jpg`. The first line may say `10 300` (folds, genuine pairs in
      each, followed by as many impostors), or `500` (genuine pairs, as many impostors), or be a pair.
    - `.csv`: columns left, right, same and, if wanted, fold; paths below `images`; same is 0, 1, true, false.
    - `.bin`, InsightFace's form, see `insightface_bin`: holds its own images; ten folds by order.

    Where the file gives no folds, genuine and impostor pairs are each dealt into ten folds by order.

    Args:
        path: The file; its extension says which form it has.
        images: Folder of the crops; None: the folder of `path`.
        height: Of the crops, in pixels.
        width: Likewise.

    Raises:
        ValueError: No such file or form, a malformed line, or an image that is missing or that `read_image`
            refuses.
    """
    if path.suffix.lower() not in READERS:
        raise ValueError(f"{path}: no reader for {path.suffix!r} pairs; known: {', '.join(sorted(READERS))}")
    if not path.is_file():
        raise ValueError(f"no file of pairs {path}")
    return READERS[path.suffix.lower()](path, path.parent if images is None else images, height, width)


def read_lfw(path: Path, images: Path, height: int, width: int) -> Pairs:
    """Reads LFW's pairs.txt. Source: Huang et al., Labeled Faces in the Wild, UMass 07-49, 2007."""
    lines = [(number, line) for number, line in enumerate(_text(path).splitlines(), start=1) if line.strip()]
    header = lines[0][1].split() if lines else []
    folds, genuine = None, None
    if len(header) in (1, 2) and all(word.isdecimal() for word in header):
        folds, genuine = (int(word) for word in ["1", *header][-2:])
        lines = lines[1:]
        if len(lines) != folds * 2 * genuine:
            raise ValueError(f"{path} promises {folds} x 2 x {genuine} pairs in its first line and holds {len(lines)}")
    rows = [_lfw_row(path, number, line) for number, line in lines]
    same = _verdicts(path, rows)
    fold = np.arange(len(rows)) // (2 * genuine) if genuine and folds != 1 else deal(same)
    faces, names, left, right = _collect(path, images, rows, tuple(EXTENSIONS), height, width)
    people = [PurePosixPath(name).parent for name in names]
    index = {person: identity for identity, person in enumerate(dict.fromkeys(people))}
    return _pairs(faces, left, right, same, fold, names, [index[person] for person in people])


def _lfw_row(path: Path, number: int, line: str) -> _Row:
    words = [word.strip() for word in line.split("\t")] if "\t" in line else line.split()
    match words:
        case [name, first, second] if first.isdecimal() and second.isdecimal():
            return _Row(number, _lfw_stem(name, first), _lfw_stem(name, second), same=True)
        case [name, first, other, second] if first.isdecimal() and second.isdecimal() and name != other:
            return _Row(number, _lfw_stem(name, first), _lfw_stem(other, second), same=False)
    raise ValueError(f"{path} line {number}: {line[:80]!r} is neither `Name 1 2` nor `Name 1 Other 2`")


def _lfw_stem(name: str, number: str) -> str:
    return f"{name}/{name}_{int(number):04d}"


SAME: dict[str, bool] = {"1": True, "true": True, "0": False, "false": False}


def read_csv(path: Path, images: Path, height: int, width: int) -> Pairs:
    """Reads a table with a header: left, right, same and, if wanted, fold."""
    (_, columns), *lines = _table(path) or [(1, [])]
    for column in ("left", "right", "same"):
        if column not in columns:
            raise ValueError(f"{path} has no column {column!r}; its first line wants: left,right,same[,fold]")
    rows: list[_Row] = []
    folds: list[int] = []
    for number, line in lines:
        if len(line) != len(columns):
            raise ValueError(f"{path} line {number} has {len(line)} cells, the first line {len(columns)}")
        cells = dict(zip(columns, line, strict=True))
        if cells["same"].lower() not in SAME:
            raise ValueError(f"{path} line {number}: same is {cells['same'][:40]!r}; known: {', '.join(SAME)}")
        rows.append(_Row(number, cells["left"], cells["right"], SAME[cells["same"].lower()]))
        if "fold" in cells:
            if not cells["fold"].isdecimal():
                raise ValueError(f"{path} line {number}: fold is {cells['fold'][:40]!r}, not 0, 1, 2, ...")
            folds.append(int(cells["fold"]))
    same = _verdicts(path, rows)
    fold = np.unique(folds, return_inverse=True)[1] if folds else deal(same)
    faces, names, left, right = _collect(path, images, rows, ("",), height, width)
    return _pairs(faces, left, right, same, fold, names, [-1] * len(names))


def _table(path: Path) -> list[tuple[int, list[str]]]:
    lines = csv.reader(io.StringIO(_text(path)), skipinitialspace=True, strict=True)
    try:
        return [(lines.line_num, [cell.strip() for cell in cells]) for cells in lines if cells]
    except csv.Error as error:
        raise ValueError(f"{path} line {lines.line_num}: {error}") from None


def read_insightface(path: Path, images: Path, height: int, width: int) -> Pairs:
    """Reads InsightFace's `.bin`. An image that the file holds several times becomes one crop."""
    encoded, verdicts = read_bin(path)
    first = {data: position for position, data in reversed(list(enumerate(encoded)))}
    index = {data: crop for crop, data in enumerate(dict.fromkeys(encoded))}
    names = [f"{path.name}[{first[data]}]" for data in index]
    faces = np.empty((len(index), height, width, 3), dtype=np.uint8)
    for crop, (data, name) in enumerate(zip(index, names, strict=True)):
        faces[crop] = decode_image(io.BytesIO(data), name, height, width)
    order = [index[data] for data in encoded]
    same = np.array(verdicts)
    # As sklearn's KFold(10) cuts in InsightFace's verification.py: in order, the first folds one pair longer.
    sizes = [len(part) for part in np.array_split(same, FOLDS)]
    fold = np.repeat(np.arange(FOLDS), sizes)
    return _pairs(faces, order[::2], order[1::2], same, fold, names, [-1] * len(names))


READERS: Mapping[str, Callable[[Path, Path, int, int], Pairs]] = {
    ".txt": read_lfw,
    ".csv": read_csv,
    ".bin": read_insightface,
}


def deal(same: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Deals genuine and impostor pairs, each in their order, into ten folds, or as many as there are pairs.

    >>> deal(np.array([True, True, False, False])).tolist()
    [0, 1, 0, 1]
    """
    folds = max(1, min(FOLDS, int(same.sum()), int((~same).sum())))
    fold = np.zeros(len(same), dtype=np.int64)
    for kind in (same, ~same):
        count = int(kind.sum())
        fold[kind] = np.arange(count) * folds // max(count, 1)
    return fold


def synthetic_pairs(identities: int, shots: int, seed: int = 0, size: int = 112, first: int = 0) -> Pairs:
    """Pairs rendered identities: every genuine pair, and as many impostor pairs, drawn by `seed`.

    The identities are split into ten folds, fewer where there are fewer than twenty, and both faces of a
    pair come from one fold: no identity is seen in two folds.

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
    return _pairs(faces, left, right, same, fold, names, labels)


def _fold_pairs(
    crops: NDArray[np.int64], random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """All genuine pairs among `crops` (identities, shots), then as many different impostor pairs."""
    identities, shots = crops.shape
    earlier, later = np.triu_indices(shots, 1)
    genuine = identities * len(earlier)
    one, other = np.triu_indices(identities, 1)
    drawn = np.sort(random.choice(len(one) * shots * shots, genuine, replace=False))
    people, shot = np.divmod(drawn, shots * shots)
    left = np.concatenate([crops[:, earlier].ravel(), crops[one[people], shot // shots]])
    right = np.concatenate([crops[:, later].ravel(), crops[other[people], shot % shots]])
    return left, right, np.arange(2 * genuine) < genuine


def pairs_of(faces: LabelledFaces, most: int, seed: int = 0) -> Pairs:
    """Pairs the crops of people of whom there are two or more: genuine and as many impostor pairs, drawn by `seed`.

    The people are dealt into ten folds, fewer where there are fewer than twenty, and both faces of a pair come from
    one fold. Within it nobody gets a second genuine pair before all have one, and likewise any two people. Each crop
    that is in a pair is read into memory.

    Args:
        faces: In memory or on disk.
        most: Pairs, half of them genuine; there are fewer where a fold has no more.
        seed: Of everything drawn.

    Raises:
        ValueError: Fewer than 2 pairs are wanted, or there are fewer than 2 people with two crops.
    """
    random = np.random.default_rng(seed)
    crops = [rows for rows in _rows_by_label(faces.labels) if len(rows) > 1]
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
    return _pairs(faces.faces[used], left, right, same, fold, names, faces.labels[used])


def _rows_by_label(labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def _drawn_pairs(
    crops: Sequence[NDArray[np.int64]], most: int, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Up to `most` genuine pairs of the people whose crops these are, then as many impostor pairs."""
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
    """Draws `count` different (i, k), k below `sizes[i]`, so that no i has two more than another that has more left."""
    chosen = random.permutation(len(sizes))[:count]
    rounds = next(turn for turn in itertools.count() if np.minimum(sizes[chosen], turn).sum() >= count)
    drawn = [
        (turn, int(i), int(number))
        for i in chosen
        for turn, number in enumerate(random.choice(sizes[i], min(sizes[i], rounds), replace=False))
    ]
    return [(i, number) for _, i, number in sorted(drawn, key=lambda each: each[0])[:count]]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}") from None


def _verdicts(path: Path, rows: Sequence[_Row]) -> NDArray[np.bool_]:
    if not rows:
        raise ValueError(f"{path} holds no pairs")
    return np.array([row.same for row in rows])


def _collect(
    path: Path, images: Path, rows: Iterable[_Row], endings: Sequence[str], height: int, width: int
) -> tuple[Faces, list[str], list[int], list[int]]:
    """Reads each image that `rows` name once: crops, their names, and the rows' left and right as indices."""
    index: dict[str, int] = {}
    names: list[str] = []
    for row in rows:
        for name in (row.left, row.right):
            if name in index:
                continue
            inside = PurePosixPath(name)
            if inside.is_absolute() or ".." in inside.parts:
                raise ValueError(f"{path} line {row.line}: {name!r} leaves {images}; paths are relative to that folder")
            found = next((name + ending for ending in endings if (images / (name + ending)).is_file()), None)
            if found is None:
                raise ValueError(
                    f"{path} line {row.line}: no image {name} below {images}, of {row.left} and {row.right}"
                )
            index[name] = len(names)
            names.append(found)
    faces = read_images([images / name for name in names], height, width)
    return faces, names, [index[row.left] for row in rows], [index[row.right] for row in rows]


def _pairs(
    faces: Faces,
    left: Sequence[int] | NDArray[np.int64],
    right: Sequence[int] | NDArray[np.int64],
    same: NDArray[np.bool_],
    fold: NDArray[np.int64],
    names: Sequence[str],
    identities: Sequence[int] | NDArray[np.int64],
) -> Pairs:
    """Gives everything its type, and the fingerprint."""
    lefts, rights, folds = (np.asarray(part, dtype=np.int64) for part in (left, right, fold))
    whole = fingerprint(faces, lefts, rights, same, folds)
    return Pairs(faces, lefts, rights, same, folds, tuple(names), np.asarray(identities, dtype=np.int64), whole)
