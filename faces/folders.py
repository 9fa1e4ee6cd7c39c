"""Folders of crops: one folder per identity, every pixel as it is stored."""

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
from .images import EXTENSIONS, image_names, read_image

THREADS = 2  # the pixels are decoded without Python's lock, the headers are not: more threads gain little
LARGEST_IN_MEMORY = 1 << 30  # bytes of pixels; more stay on disk


class FaceSource(Protocol):
    """What gives crops by their numbers: an array of them, or `StoredFaces`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, 3)."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, chosen: slice | NDArray[np.int64], /) -> Faces:
        """Gives (n, H, W, 3) uint8 RGB."""


@dataclass(frozen=True, eq=False)
class StoredFaces:
    """Crops that stay on disk: decoded when they are asked for, each time anew.

    They are asked for as an array's rows are: by slices, by arrays of numbers or of truth values, or by a number.
    """

    decode: Callable[[int], NDArray[np.uint8]]  # gives one crop; several threads call it at once
    numbers: NDArray[np.int64]  # (N,) which crops, as `decode` counts them
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
        """Decodes crops: (n, H, W, 3), of a single number (H, W, 3); refuses what `read_image` refuses."""
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
        """Gives some of the crops, decoding none."""
        return StoredFaces(self.decode, self.numbers[chosen], self.height, self.width)


@dataclass(frozen=True, eq=False)
class LabelledFaces:
    """Crops and who is on them."""

    faces: FaceSource  # (N, H, W, 3) uint8 RGB
    labels: NDArray[np.int64]  # (N,) indices into names
    names: tuple[str, ...]  # one per identity
    sha256: str  # of pixels (on disk: of file names and sizes), labels and names: tells whether a run's input changed

    def __len__(self) -> int:
        """N."""
        return len(self.labels)


def read_folder(folder: Path, height: int, width: int) -> LabelledFaces:
    """Reads every image below `folder`: into memory, or, of more than 1 GiB of pixels, each when it is asked for.

    The identity is the folder that holds the image, relative to `folder`: `lfw/AJ_Cook`; "." for images
    that lie in `folder` itself. Images come sorted by path. Hidden files are passed over, links are
    followed, and a folder that several links lead to is read once.

    Raises:
        ValueError: No such folder, no image in it, or an image that `read_image` refuses.
    """
    names = image_names(folder)
    if not names:
        known = ", ".join(EXTENSIONS)
        raise ValueError(f"{folder} holds no image; files that end in {known} count, one folder per identity")
    index: dict[str, int] = {}
    labels = [index.setdefault(name.rpartition("/")[0] or ".", len(index)) for name in names]

    def decode(number: int) -> NDArray[np.uint8]:
        return read_image(folder / names[number], height, width)

    stored = StoredFaces(decode, np.arange(len(names)), height, width)
    return labelled_faces(stored, np.array(labels), tuple(index), lambda: listing_sha256(folder, names))


def labelled_faces(
    stored: StoredFaces, labels: NDArray[np.int64], names: tuple[str, ...], listing: Callable[[], str]
) -> LabelledFaces:
    """Gives crops with their labels, in memory if they fit; if not, `listing` stands for their pixels in the hash."""
    faces: FaceSource = stored
    if np.prod(stored.shape) <= LARGEST_IN_MEMORY:
        faces = pixels = stored[:]
        return LabelledFaces(faces, labels, names, content_sha256(pixels, labels, "\n".join(names)))
    stored[0]  # crops of another size are told now, not within an epoch
    return LabelledFaces(faces, labels, names, content_sha256(listing(), labels, "\n".join(names)))


def listing_sha256(folder: Path, names: Iterable[str]) -> str:
    """Gives the SHA-256 of files' names and sizes."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name} {os.stat(folder / name).st_size}\n".encode())
    return digest.hexdigest()


def split_identities(faces: LabelledFaces, share: float, seed: int) -> tuple[LabelledFaces, LabelledFaces]:
    """Parts people: those to learn from, and `share` of those who have two faces or more, to be judged by.

    Args:
        faces: Of anybody; faces on disk stay there.
        share: 0 to 1, exclusive; at least two people are held out, and one with two faces is not.
        seed: Of who is.

    Returns:
        The rest and the people held out, each with labels from 0. People with a single face are among the rest: no
        genuine pair can be made of them.

    Raises:
        ValueError: A share that is none, or fewer than three people with two faces.
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
    return _part(faces, ~held_out), _part(faces, held_out)


def _part(faces: LabelledFaces, mask: NDArray[np.bool_]) -> LabelledFaces:
    rows = np.flatnonzero(mask)
    people, labels = np.unique(faces.labels[rows], return_inverse=True)
    chosen = faces.faces.only(rows) if isinstance(faces.faces, StoredFaces) else faces.faces[rows]
    return LabelledFaces(
        chosen, labels, tuple(faces.names[person] for person in people), content_sha256(faces.sha256, rows)
    )


def read_images(paths: Sequence[Path], height: int, width: int) -> Faces:
    """Reads `paths` in their order: (N, H, W, 3) uint8 RGB. Refuses what `read_image` refuses."""
    return StoredFaces(lambda number: read_image(paths[number], height, width), np.arange(len(paths)), height, width)[:]


def content_sha256(*parts: NDArray[np.generic] | str) -> str:
    """Gives the SHA-256 of arrays (with type and shape) and texts, 64 hex digits."""
    digest = hashlib.sha256()
    for part in parts:
        array = np.frombuffer(part.encode(), np.uint8) if isinstance(part, str) else np.ascontiguousarray(part)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()
