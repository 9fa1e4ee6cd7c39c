"""WebDataset shards: labelled crops in tar files, read in place. Also `read_faces`, for shards or folders."""

from __future__ import annotations

import hashlib
import io
import json
import re
from array import array
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from .folders import LabelledFaces, StoredFaces, labelled_faces, read_folder
from .image_files import EXTENSIONS, decode_image
from .tar import BLOCK, Member, members

LARGEST_IMAGE = 1 << 26  # bytes
LARGEST_LABEL = 1 << 16  # bytes of a .cls or .json
MOST_SHARDS = 100_000

_NOBODY = "."
_BRACES = re.compile(r"\{(\d{1,12})\.\.(\d{1,12})\}")


def read_faces(path: Path | str, height: int = 112, width: int = 112) -> LabelledFaces:
    """Reads labelled crops from a folder of images, one folder per identity, or from WebDataset shards.

    Up to 1 GiB of pixels is read into memory; of more, each crop is decoded on access.

    Args:
        path: A folder of images (see `read_folder`), a tar, `shards-{000..009}.tar` or a folder of tars (see
            `read_shards`).
        height: Of the crops, in pixels; crops of another size are refused.
        width: Likewise.

    Returns:
        N crops (N, height, width, 3) uint8 RGB, as stored, with labels (N,) and the name of each identity.

    Raises:
        ValueError: Nothing at `path`, no image in it, or an image that is damaged or of another size.
    """
    path = Path(path)
    shards = path.is_file() or (_BRACES.search(str(path)) and not path.exists()) or (path.is_dir() and _tars(path))
    return (read_shards if shards else read_folder)(path, height, width)


def read_shards(path: Path, height: int, width: int) -> LabelledFaces:
    """Reads WebDataset shards: into memory, or, beyond 1 GiB of pixels, each crop on access.

    Nothing is unpacked to disk. A sample's files are neighbours and share their name up to its first dot; one is the
    image (`.jpg`, `.png`, `.webp`, …), and its identity is in `.cls`, or is `label` or `identity` in `.json`. If no
    sample has one, all are one identity ".", for uses without labels. Members that are not files are skipped, and so
    are hidden ones.

    Args:
        path: A tar, `shards-{000..009}.tar`, or a folder, whose `.tar` files are read in the order of their names.
        height: Of the crops, in pixels.
        width: Likewise.

    Raises:
        ValueError: No such file; a tar that is compressed, cut off or otherwise malformed; malformed samples; some
            samples labelled and some not; an image that is damaged or of another size.

    Source of the format: WebDataset (Aizman et al., High Performance I/O For Large Scale Deep Learning, 2019).
    """
    shards = shard_paths(path)
    people: dict[str, int] = {}
    rows = array("q")  # shard, offset, size, label of every image
    listing = hashlib.sha256()
    for number, shard in enumerate(shards):
        with shard.open("rb") as tar:
            for image, person in _samples(tar, shard):
                rows.extend((number, image.offset, image.size, people.setdefault(person, len(people))))
                listing.update(f"{image.name} {image.size}\n".encode())
    if not people:
        raise ValueError(
            f"{path} holds no image; files whose names end at their first dot with {', '.join(EXTENSIONS)} count"
        )
    if len(people) > 1 and _NOBODY in people:
        raise ValueError(f"{path}: some samples have an identity and some do not; all need a .cls or .json, or none")
    table = np.frombuffer(rows, np.int64).reshape(-1, 4)

    def decode(index: int) -> NDArray[np.uint8]:
        shard, offset, size = shards[table[index, 0]], int(table[index, 1]), int(table[index, 2])
        with shard.open("rb") as tar:
            tar.seek(offset - BLOCK)
            block = tar.read(BLOCK + size)  # with the header, which has the name
        name = f"{shard}: {block[:100].rstrip(bytes(1)).decode(errors='replace')}"
        return decode_image(io.BytesIO(block[BLOCK:]), name, height, width)

    stored = StoredFaces(decode, np.arange(len(table)), height, width)
    return labelled_faces(stored, table[:, 3].copy(), tuple(people), listing.hexdigest)


def shard_paths(path: Path) -> list[Path]:
    """Lists the tars that `path` names.

    Raises:
        ValueError: One of them does not exist, or there is none.
    """
    if path.is_dir():
        if not (tars := _tars(path)):
            raise ValueError(f"{path} holds no .tar file")
        return tars
    paths = [path]
    if (braces := _BRACES.search(str(path))) and not path.exists():
        first, last = (int(number) for number in braces.groups())
        if not 0 <= last - first < MOST_SHARDS:
            raise ValueError(f"{path} is {last - first + 1} shards; 1 to {MOST_SHARDS} can be read")
        head, tail = str(path)[: braces.start()], str(path)[braces.end() :]
        paths = [Path(f"{head}{number:0{len(braces[1])}d}{tail}") for number in range(first, last + 1)]
    for shard in paths:
        if not shard.is_file():
            raise ValueError(f"no shard {shard}")
    return paths


def _tars(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.tar") if path.is_file() and not path.name.startswith("."))


def _samples(tar: BinaryIO, shard: Path) -> Iterator[tuple[Member, str]]:
    """Yields each sample's image and the name of the person on it."""
    for key, group in groupby(members(tar, str(shard)), key=lambda member: _key(member.name)[0]):
        files = [(_key(member.name)[1], member) for member in group]
        images = [member for ending, member in files if ending in EXTENSIONS]
        notes = dict(files)
        if not key or not (images or ".cls" in notes):
            continue
        if len(images) != 1:
            raise ValueError(f"{shard}: the sample {key!r} has {len(images)} images; it needs one, beside its label")
        if images[0].size > LARGEST_IMAGE:
            raise ValueError(f"{shard}: {images[0].name} has {images[0].size} bytes; {LARGEST_IMAGE} are read at most")
        try:
            yield images[0], _person(tar, notes)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{shard}: the label of {key!r} cannot be read: {error}") from None


def _key(name: str) -> tuple[str, str]:
    """Splits a member's name at the first dot of its file name; hidden files and those without a dot have no key."""
    folder, slash, base = name.rpartition("/")
    stem, dot, ending = base.partition(".")
    return (folder + slash + stem, dot + ending.lower()) if stem and dot else ("", "")


def _person(tar: BinaryIO, notes: dict[str, Member]) -> str:
    label: object = _NOBODY
    if ".cls" in notes:
        label = _text(tar, notes[".cls"]).strip()
    elif ".json" in notes:
        values = json.loads(_text(tar, notes[".json"]))
        label = values.get("label", values.get("identity", _NOBODY)) if isinstance(values, dict) else _NOBODY
    if type(label) not in (int, str) or label == "":
        raise ValueError(f"{label!r} is neither a whole number nor a name")
    return str(label).encode().decode()  # raises for half a character, which cannot be hashed


def _text(tar: BinaryIO, member: Member) -> str:
    if member.size > LARGEST_LABEL:
        raise ValueError(f"{member.size} bytes are more than {LARGEST_LABEL}")
    tar.seek(member.offset)
    return tar.read(member.size).decode()
