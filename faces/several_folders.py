"""Labelled crops of several places as one set: who is in one place is nobody of another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .folders import LARGEST_IN_MEMORY, FaceSource, LabelledFaces, StoredFaces, content_sha256
from .shards import read_faces


def read_all_faces(places: Sequence[Path | str], height: int = 112, width: int = 112) -> LabelledFaces:
    """Reads labelled crops from one or several folders or shards.

    Folders of the same name in two places are two people: `train112/0001` and `extra112/0001`. Who is in both places is
    two people too, which data sets that are meant to be joined avoid.

    Args:
        places: Each as `read_faces` takes it.
        height: Of the crops, in pixels.
        width: Likewise.

    Returns:
        The crops, in the order of the places; those of one place alone as `read_faces` gives them.

    Raises:
        ValueError: See `read_faces`; or a place is given twice, or lies in another, so that its faces would count as
            two people.
    """
    paths = [Path(place) for place in places]
    _refuse_overlaps(paths)
    sets = [read_faces(path, height, width) for path in paths]
    return sets[0] if len(sets) == 1 else _joined(sets, _labels(paths))


def _refuse_overlaps(paths: Sequence[Path]) -> None:
    real = [path.resolve() for path in paths]
    for number, path in enumerate(real):
        for other, place in enumerate(real):
            if other != number and path.is_relative_to(place):
                how = "is given twice" if path == place else f"lies in {paths[other]}"
                raise ValueError(f"{paths[number]} {how}: its people would count as other people too; leave one out")


def _labels(paths: Sequence[Path]) -> list[str]:
    """Gives each place a name of its own: its last part, or as many as tell it from the others.

    >>> _labels([Path("a/train"), Path("b/train"), Path("extra")])
    ['a/train', 'b/train', 'extra']
    """
    parts = [path.resolve().parts if path.name in ("", ".", "..") else path.absolute().parts for path in paths]
    labels = []
    for own in parts:
        length = 1
        while sum(own[-length:] == other[-length:] for other in parts) > 1 and length < len(own):
            length += 1
        labels.append("/".join(own[-length:]))
    return labels


def _joined(sets: Sequence[LabelledFaces], labels: Sequence[str]) -> LabelledFaces:
    names = tuple(
        label if name == "." else f"{label}/{name}"
        for label, faces in zip(labels, sets, strict=True)
        for name in faces.names
    )
    firsts = np.cumsum([0, *(len(faces.names) for faces in sets)])
    people = np.concatenate([faces.labels + first for faces, first in zip(sets, firsts, strict=False)])
    digest = content_sha256(*(faces.sha256 for faces in sets), people, "\n".join(names))
    return LabelledFaces(_one_source([faces.faces for faces in sets]), people, names, digest)


def _one_source(sources: Sequence[FaceSource]) -> FaceSource:
    """Gives the crops of all: in memory if they fit, else each from where it is."""
    count, (_, height, width, colours) = sum(map(len, sources)), sources[0].shape
    if all(isinstance(source, np.ndarray) for source in sources):
        if count * height * width * colours <= LARGEST_IN_MEMORY:
            return np.concatenate([source[:] for source in sources])
    ends = np.cumsum([len(source) for source in sources])

    def decode(number: int) -> NDArray[np.uint8]:
        place = int(np.searchsorted(ends, number, side="right"))
        row = number - (int(ends[place - 1]) if place else 0)
        crop: NDArray[np.uint8] = sources[place][row : row + 1][0]
        return crop

    return StoredFaces(decode, np.arange(count), height, width)
