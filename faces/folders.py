"""Labelled crops: read from folders, one per identity, into memory or on access; split by people; hashed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .contract import Faces
from .image_files import EXTENSIONS, OTHER_FORMATS, image_names, read_image, unread

THREADS = 2  # only pixels are decoded without Python's lock: more threads gain little
LARGEST_IN_MEMORY = 1 << 30  # bytes of pixels; more stay on disk


class FaceSource(Protocol):
    """Crops by number: an array of them, or `StoredFaces`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, 3)."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, chosen: slice | NDArray[np.int64], /) -> Faces:
        """Gives (n, H, W, 3) uint8 RGB."""


@dataclass(frozen=True, eq=False)
class StoredFaces:
    """Crops that stay on disk and are decoded at every access; they are indexed like the rows of an array."""

    decode: Callable[[int], NDArray[np.uint8]]  # gives one crop; called by several threads at once
    numbers: NDArray[np.int64]  # (N,) the crops, as `decode` counts them
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, 3)."""
        return len(self), self.height, self.width, 3

    def __len__(self) -> int:
        """N."""
        return len(self.numbers)

    def __getitem__(self, chosen: int | slice | NDArray[np.int64], /) -> NDArray[np.uint8]:
        """Decodes crops: (n, H, W, 3), for a single number (H, W, 3); raises as `read_image` does."""
        numbers = self.numbers[chosen]
        if numbers.ndim == 0:
            return self.decode(int(numbers))
        faces = np.empty((len(numbers), self.height, self.width, 3), dtype=np.uint8)

        def read(row: int) -> None:
            faces[row] = self.decode(int(numbers[row]))

        with ThreadPoolExecutor(THREADS) as pool:
            for _ in pool.map(read, range(len(faces))):
                pass
        return faces

    def only(self, chosen: NDArray[np.int64]) -> StoredFaces:
        """Gives some of the crops, without decoding."""
        return StoredFaces(self.decode, self.numbers[chosen], self.height, self.width)


@dataclass(frozen=True, eq=False)
class LabelledFaces:
    """Crops and the identity of each."""

    faces: FaceSource  # (N, H, W, 3) uint8 RGB
    labels: NDArray[np.int64]  # (N,) indices into names
    names: tuple[str, ...]  # one per identity
    sha256: str  # of pixels (on disk: of file names and sizes), labels and names

    def __len__(self) -> int:
        """N."""
        return len(self.labels)


def read_folder(folder: Path, height: int, width: int) -> LabelledFaces:
    """Reads every image below `folder`: into memory, or, beyond 1 GiB of pixels, each on access.

    The identity is the folder that holds the image, relative to `folder`: `lfw/AJ_Cook`; "." for images
    directly in `folder`. Images are sorted by path. Hidden files are skipped, links are followed, and a folder that
    several links lead to is read once.

    Raises:
        ValueError: No such folder, no image in it, one of a format that is not read, or one that `read_image` refuses.
    """
    names, others = image_names(folder), image_names(folder, OTHER_FORMATS)
    if not names:
        known = f"files that end in {', '.join(EXTENSIONS)} count, one folder per identity"
        raise ValueError(f"{folder} holds no image; {known}{unread(others)}")
    if others:
        raise ValueError(f"{folder} holds {len(names)} images that can be read{unread(others)}, or move away")
    index: dict[str, int] = {}
    labels = [index.setdefault(name.rpartition("/")[0] or ".", len(index)) for name in names]
    stored = _stored([folder / name for name in names], height, width)
    return labelled_faces(stored, np.array(labels), tuple(index), lambda: listing_sha256(folder, names))


def labelled_faces(
    stored: StoredFaces, labels: NDArray[np.int64], names: tuple[str, ...], listing: Callable[[], str]
) -> LabelledFaces:
    """Gives crops with labels, in memory if they fit; if not, the hash is of `listing()` instead of their pixels."""
    if np.prod(stored.shape) <= LARGEST_IN_MEMORY:
        pixels = stored[:]
        return LabelledFaces(pixels, labels, names, content_sha256(pixels, labels, "\n".join(names)))
    stored[0]  # raises now for crops of another size, not within an epoch
    return LabelledFaces(stored, labels, names, content_sha256(listing(), labels, "\n".join(names)))


def listing_sha256(folder: Path, names: Iterable[str]) -> str:
    """Gives the SHA-256 of the files' names and sizes."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name} {os.stat(folder / name).st_size}\n".encode())
    return digest.hexdigest()


def split_identities(faces: LabelledFaces, share: float, seed: int) -> tuple[LabelledFaces, LabelledFaces]:
    """Splits people into a training set and a held-out `share` of those with two faces or more.

    Args:
        faces: Labelled crops; faces on disk stay there.
        share: 0 to 1, exclusive; at least two people with two faces are held out, and at least one is not.
        seed: Of the choice of people.

    Returns:
        The training set and the held-out people, each with labels from 0. People with a single face, of whom no genuine
        pair can be made, are in the training set.

    Raises:
        ValueError: A share out of range, or fewer than three people with two faces.
    """
    if not 0 < share < 1:
        raise ValueError(f"share {share:g} of the people cannot be held out; between 0 and 1 can")
    several = np.flatnonzero(np.bincount(faces.labels, minlength=len(faces.names)) > 1)
    if len(several) < 3:
        raise ValueError(
            f"{len(several)} people have two faces or more; of 3 some can be held out, some hundred do well"
        )
    count = min(max(2, round(share * len(several))), len(several) - 1)
    held_out = np.isin(faces.labels, np.random.default_rng(seed).permutation(several)[:count])
    return _subset(faces, ~held_out), _subset(faces, held_out)


def _subset(faces: LabelledFaces, mask: NDArray[np.bool_]) -> LabelledFaces:
    rows = np.flatnonzero(mask)
    people, labels = np.unique(faces.labels[rows], return_inverse=True)
    chosen = faces.faces.only(rows) if isinstance(faces.faces, StoredFaces) else faces.faces[rows]
    return LabelledFaces(
        chosen, labels, tuple(faces.names[person] for person in people), content_sha256(faces.sha256, rows)
    )


def read_images(paths: Sequence[Path], height: int, width: int) -> Faces:
    """Reads `paths` in their order: (N, H, W, 3) uint8 RGB. Raises as `read_image` does."""
    return _stored(paths, height, width)[:]


def _stored(paths: Sequence[Path], height: int, width: int) -> StoredFaces:
    return StoredFaces(lambda number: read_image(paths[number], height, width), np.arange(len(paths)), height, width)


def content_sha256(*parts: NDArray[np.generic] | str) -> str:
    """Gives the SHA-256 of arrays (with type and shape) and texts, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        array = np.frombuffer(part.encode(), np.uint8) if isinstance(part, str) else np.ascontiguousarray(part)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()
