"""Verification pairs, read from files: two crops each, whether they show one person, and the fold."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from .contract import Faces
from .csv_tables import csv_lines, read_csv_table, read_text
from .folders import content_sha256, read_images
from .image_files import EXTENSIONS, decode_image
from .insightface_bin import read_bin

FOLDS = 10


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of crops; a crop that many pairs share is stored once."""

    faces: Faces  # (M, H, W, 3) uint8 RGB
    left: NDArray[np.int64]  # (P,) indices into faces
    right: NDArray[np.int64]  # (P,)
    same: NDArray[np.bool_]  # (P,) True: genuine, False: impostor
    fold: NDArray[np.int64]  # (P,) 0, 1, ...
    names: tuple[str, ...]  # M, for reports: "AJ_Cook/AJ_Cook_0001.jpg"
    identities: NDArray[np.int64]  # (M,) the person on each crop; -1: unknown
    sha256: str  # of pixels, pairs, verdicts and folds
    sample: str = ""  # of how many pairs these were drawn, "" where they are all
    rendered: bool = False  # whether the faces are drawn ones, whose numbers are not those of people
    whole: bool = False  # whether FARs count every pair of the faces, by their identities, and these only the accuracy

    def __len__(self) -> int:
        """P."""
        return len(self.same)

    @classmethod
    def of(
        cls,
        faces: Faces,
        left: Sequence[int] | NDArray[np.int64],
        right: Sequence[int] | NDArray[np.int64],
        same: NDArray[np.bool_],
        fold: NDArray[np.int64],
        names: Sequence[str],
        identities: Sequence[int] | NDArray[np.int64],
        rendered: bool = False,
    ) -> Pairs:
        """Makes pairs of plain sequences, with their hash."""
        lefts, rights, folds = (np.asarray(part, dtype=np.int64) for part in (left, right, fold))
        sha256 = content_sha256(faces, lefts, rights, same, folds)
        people = np.asarray(identities, dtype=np.int64)
        return cls(faces, lefts, rights, same, folds, tuple(names), people, sha256, rendered=rendered)


@dataclass(frozen=True)
class _Row:
    line: int
    left: str  # path below the images, for LFW without its extension
    right: str
    same: bool
    people: tuple[str, str] = ("", "")  # who is on the left and on the right; "" where that is not said


def read_pairs(path: Path | str, images: Path | str | None = None, height: int = 112, width: int = 112) -> Pairs:
    """Reads verification pairs and their crops into memory, a crop that several pairs share once.

    - `.txt`, as of LFW: `Name 1 4` is a genuine pair, `Name 1 Other 2` an impostor pair, and the first image of Name is
      `images/Name/Name_0001.jpg`. The first line may be `10 300` (folds, genuine pairs in each, followed by as many
      impostor pairs), or `500` (genuine pairs, as many impostor pairs), or a pair.
    - `.txt` of paths below `images`: `a.jpg b.jpg 1` or `1 a.jpg b.jpg`; 1 is a genuine pair, 0 an impostor pair.
    - `.csv`: columns left, right, same and, optionally, fold, left_person and right_person; paths below `images`; same
      is 0, 1, true or false. Or LFW's lines under a header that begins with name,imagenum1.
    - `.bin`, as of InsightFace, see `insightface_bin`: contains its images; ten folds in order.

    If the file has no folds, genuine and impostor pairs are each split into ten folds in order. Where it does not name
    the people, the folders that the images lie in do, if no verdict contradicts them: one folder, one person.

    Args:
        path: The file; its extension decides the form.
        images: Folder of the crops; None: the folder of `path`.
        height: Of the crops, in pixels; crops of another size are refused.
        width: Likewise.

    Returns:
        P pairs of M crops (M, height, width, 3) uint8 RGB, as stored; a crop that several pairs share is held once.

    Raises:
        ValueError: No such file, an unknown extension, a malformed line, or an image that is missing, damaged or of
            another size.
    """
    path = Path(path)
    if path.suffix.lower() not in READERS:
        raise ValueError(f"{path}: no reader for {path.suffix!r} pairs; known: {', '.join(sorted(READERS))}")
    if not path.is_file():
        raise ValueError(f"no file of pairs {path}")
    return READERS[path.suffix.lower()](path, path.parent if images is None else Path(images), height, width)


def read_lines(path: Path, images: Path, height: int, width: int) -> Pairs:
    """Reads LFW's pairs.txt, or lines of two paths and a verdict.

    Source: Huang et al., Labeled Faces in the Wild, UMass 07-49, 2007.
    """
    lines = [(number, line) for number, line in enumerate(read_text(path).splitlines(), start=1) if line.strip()]
    listed = [_listed_row(number, line) for number, line in lines]
    if lines and listed[0] is not None:
        rows = [row for row in listed if row is not None]
        if len(rows) != len(lines):
            number, line = lines[listed.index(None)]
            raise ValueError(f"{path} line {number}: {line[:80]!r} is no two paths and a verdict, as the first line is")
        same = _verdicts(path, rows)
        return _pairs_of(path, images, rows, deal_folds(same), height, width)
    header = lines[0][1].split() if lines else []
    folds, genuine = None, None
    if len(header) in (1, 2) and all(word.isdecimal() for word in header):
        folds, genuine = (int(word) for word in ["1", *header][-2:])
        lines = lines[1:]
        if len(lines) != folds * 2 * genuine:
            raise ValueError(f"{path} promises {folds} x 2 x {genuine} pairs in its first line and holds {len(lines)}")
    rows = [_lfw_row(path, number, _words(line)) for number, line in lines]
    same = _verdicts(path, rows)
    fold = np.arange(len(rows)) // (2 * genuine) if genuine and folds != 1 else deal_folds(same)
    return _pairs_of(path, images, rows, fold, height, width)


def _words(line: str) -> list[str]:
    return [word.strip() for word in line.split("\t")] if "\t" in line else line.split()


def _listed_row(number: int, line: str) -> _Row | None:
    """Gives the pair of `a.jpg b.jpg 1` or `1 a.jpg b.jpg`, None of any other line."""
    words = _words(line)
    if len(words) != 3:
        return None
    left, right, verdict = words if _is_image(words[0]) else [*words[1:], words[0]]
    if verdict not in SAME or not _is_image(left, right):
        return None
    return _Row(number, left, right, SAME[verdict])


def _is_image(*names: str) -> bool:
    return all(PurePosixPath(name).suffix.lower() in EXTENSIONS for name in names)


def _lfw_row(path: Path, number: int, words: Sequence[str]) -> _Row:
    match words:
        case [name, first, second] if first.isdecimal() and second.isdecimal():
            return _Row(number, _lfw_stem(name, first), _lfw_stem(name, second), True, (name, name))
        case [name, first, other, second] if first.isdecimal() and second.isdecimal() and name != other:
            return _Row(number, _lfw_stem(name, first), _lfw_stem(other, second), False, (name, other))
    line = " ".join(words)[:80]
    raise ValueError(f"{path} line {number}: {line!r} is neither `Name 1 2` nor `Name 1 Other 2`")


def _lfw_stem(name: str, number: str) -> str:
    return f"{name}/{name}_{int(number):04d}"


SAME: dict[str, bool] = {"1": True, "true": True, "0": False, "false": False}


PERSONS = ("left_person", "right_person")


def read_csv(path: Path, images: Path, height: int, width: int) -> Pairs:
    """Reads a table with a header: left, right, same and, if they are there, fold, left_person and right_person.

    A header that begins with name,imagenum1 is that of LFW's pairs in a table: the lines are those of its pairs.txt.
    """
    if read_text(path).lstrip().startswith("name,imagenum1"):
        return _read_lfw_table(path, images, height, width)
    columns, lines = read_csv_table(path, "pairs", ("left", "right", "same"), ("fold", *PERSONS))
    for one, other in (PERSONS, PERSONS[::-1]):
        if one in columns and other not in columns:
            raise ValueError(f"{path} has a column {one!r} and none {other!r}; it names the people of both, or of none")
    rows: list[_Row] = []
    folds: list[int] = []
    for number, cells in lines:
        if cells["same"].lower() not in SAME:
            raise ValueError(f"{path} line {number}: same is {cells['same'][:40]!r}; known: {', '.join(SAME)}")
        people = cells.get(PERSONS[0], ""), cells.get(PERSONS[1], "")
        rows.append(_Row(number, cells["left"], cells["right"], SAME[cells["same"].lower()], people))
        if "fold" in cells:
            if not cells["fold"].isdecimal():
                raise ValueError(f"{path} line {number}: fold is {cells['fold'][:40]!r}, not 0, 1, 2, ...")
            folds.append(int(cells["fold"]))
    same = _verdicts(path, rows)
    fold = np.unique(folds, return_inverse=True)[1] if folds else deal_folds(same)
    return _pairs_of(path, images, rows, fold, height, width)


def _read_lfw_table(path: Path, images: Path, height: int, width: int) -> Pairs:
    """Reads `Name,1,4,` and `Name,1,Other,2` below a header, as LFW is passed on in tables."""
    lines = csv_lines(path)
    next(lines)
    rows = [_lfw_row(path, number, [cell for cell in cells if cell]) for number, cells in lines]
    return _pairs_of(path, images, rows, deal_folds(_verdicts(path, rows)), height, width)


def read_insightface(path: Path, images: Path, height: int, width: int) -> Pairs:
    """Reads InsightFace's `.bin`. An image that is in the file several times becomes one crop."""
    encoded, verdicts = read_bin(path)
    first = {data: position for position, data in reversed(list(enumerate(encoded)))}
    index = {data: crop for crop, data in enumerate(dict.fromkeys(encoded))}
    names = [f"{path.name}[{first[data]}]" for data in index]
    faces = np.empty((len(index), height, width, 3), dtype=np.uint8)
    for crop, (data, name) in enumerate(zip(index, names, strict=True)):
        faces[crop] = decode_image(io.BytesIO(data), name, height, width)
    order = [index[data] for data in encoded]
    same = np.array(verdicts)
    # As sklearn's KFold(10) in InsightFace's verification.py: in order, the first folds one pair longer.
    sizes = [len(part) for part in np.array_split(same, FOLDS)]
    fold = np.repeat(np.arange(FOLDS), sizes)
    return Pairs.of(faces, order[::2], order[1::2], same, fold, names, [-1] * len(names))


READERS: Mapping[str, Callable[[Path, Path, int, int], Pairs]] = {
    ".txt": read_lines,
    ".csv": read_csv,
    ".bin": read_insightface,
}


def deal_folds(same: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Splits genuine and impostor pairs, each in order, into ten folds, or fewer if there are fewer pairs.

    >>> deal_folds(np.array([True, True, False, False])).tolist()
    [0, 1, 0, 1]
    """
    folds = max(1, min(FOLDS, int(same.sum()), int((~same).sum())))
    fold = np.zeros(len(same), dtype=np.int64)
    for kind in (same, ~same):
        count = int(kind.sum())
        fold[kind] = np.arange(count) * folds // max(count, 1)
    return fold


def _verdicts(path: Path, rows: Sequence[_Row]) -> NDArray[np.bool_]:
    if not rows:
        raise ValueError(f"{path} holds no pairs")
    return np.array([row.same for row in rows])


def _pairs_of(
    path: Path, images: Path, rows: Sequence[_Row], fold: NDArray[np.int64], height: int, width: int
) -> Pairs:
    """Reads the images of `rows`, and who is on them where that is known."""
    faces, stems, names, left, right = _collect(path, images, rows, height, width)
    return Pairs.of(faces, left, right, _verdicts(path, rows), fold, names, _people(path, rows, stems))


def _people(path: Path, rows: Sequence[_Row], stems: Sequence[str]) -> list[int]:
    """Gives the person on each image: the one that its rows name, or its folder if no verdict contradicts; else -1."""
    known: dict[str, str] = {}
    for row in rows:
        for image, person in zip((row.left, row.right), row.people, strict=True):
            if person and known.setdefault(image, person) != person:
                raise ValueError(f"{path} line {row.line}: {image} shows {person}; before, it showed {known[image]}")
        if all(row.people) and (row.people[0] == row.people[1]) != row.same:
            said = "one person" if row.same else "two people"
            raise ValueError(f"{path} line {row.line}: the pair shows {said}, of the names {' and '.join(row.people)}")
    if not known:
        folders = {image: str(PurePosixPath(image).parent) for image in stems}
        if all((folders[row.left] == folders[row.right]) == row.same for row in rows):
            known = folders
    index = {person: identity for identity, person in enumerate(dict.fromkeys(known.values()))}
    return [index[known[image]] if image in known else -1 for image in stems]


def _collect(
    path: Path, images: Path, rows: Iterable[_Row], height: int, width: int
) -> tuple[Faces, list[str], list[str], list[int], list[int]]:
    """Reads each image in `rows` once.

    Returns:
        The crops, how rows call them, their file names, and the left and right indices of the rows.
    """
    index: dict[str, int] = {}
    names: list[str] = []
    for row in rows:
        for name in (row.left, row.right):
            if name in index:
                continue
            inside = PurePosixPath(name)
            if inside.is_absolute() or ".." in inside.parts:
                raise ValueError(f"{path} line {row.line}: {name!r} leaves {images}; paths are relative to that folder")
            endings = ("",) if _is_image(name) else ("", *EXTENSIONS)
            file = next((name + ending for ending in endings if (images / (name + ending)).is_file()), None)
            if file is None:
                raise ValueError(
                    f"{path} line {row.line}: no image {name} below {images}, of {row.left} and {row.right}"
                )
            index[name] = len(names)
            names.append(file)
    faces = read_images([images / name for name in names], height, width)
    return faces, list(index), names, [index[row.left] for row in rows], [index[row.right] for row in rows]
