"""Folders of crops: one folder per identity, every pixel as it is stored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .contract import Faces

EXTENSIONS: dict[str, str] = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".bmp": "BMP", ".webp": "WEBP"}
"""What counts as an image, and the Pillow decoders that may run: no others do, whatever a file claims."""

THREADS = 2  # the pixels are decoded without Python's lock, the headers are not: more threads gain little


@dataclass(frozen=True, eq=False)
class LabelledFaces:
    """Crops and who is on them."""

    faces: Faces  # (N, H, W, 3) uint8 RGB
    labels: NDArray[np.int64]  # (N,) indices into names
    names: tuple[str, ...]  # one per identity
    sha256: str  # of pixels, labels and names: tells whether a run's input changed

    def __len__(self) -> int:
        """N."""
        return len(self.labels)


def read_folder(folder: Path, height: int, width: int) -> LabelledFaces:
    """Reads every image below `folder`, all of them into memory.

    The identity is the folder that holds the image, relative to `folder`: `lfw/AJ_Cook`; "." for images
    that lie in `folder` itself. Images come sorted by path. Hidden files are passed over, links are
    followed, and a folder that several links lead to is read once.

    Raises:
        ValueError: No such folder, no image in it, or an image that `read_image` refuses.
    """
    paths = image_paths(folder)
    if not paths:
        known = ", ".join(EXTENSIONS)
        raise ValueError(f"{folder} holds no image; files that end in {known} count, one folder per identity")
    holders = [path.relative_to(folder).parent.as_posix() for path in paths]
    names = tuple(dict.fromkeys(holders))
    index = {name: label for label, name in enumerate(names)}
    labels = np.array([index[holder] for holder in holders], dtype=np.int64)
    faces = read_images(paths, height, width)
    return LabelledFaces(faces, labels, names, fingerprint(faces, labels, "\n".join(names)))


def read_images(paths: Sequence[Path], height: int, width: int) -> Faces:
    """Reads `paths` in their order: (N, H, W, 3) uint8 RGB. Refuses what `read_image` refuses."""
    faces = np.empty((len(paths), height, width, 3), dtype=np.uint8)

    def read(index: int) -> None:
        faces[index] = read_image(paths[index], height, width)

    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(read, range(len(paths))):
            pass
    return faces


def read_image(path: Path, height: int, width: int) -> NDArray[np.uint8]:
    """Reads one crop: (H, W, 3) uint8 RGB, as stored.

    Grey becomes RGB, 16 bits become the upper 8, CMYK is converted, alpha is dropped, of an animation the
    first frame is taken. EXIF orientation is ignored: crops are written by aligners, not by cameras.

    Raises:
        ValueError: No such file, no image, or another size, which is checked before a pixel is decoded.
    """
    return decode_image(path, str(path), height, width)


def decode_image(source: Path | BinaryIO, name: str, height: int, width: int) -> NDArray[np.uint8]:
    """Does what `read_image` does, for a file or for bytes that are called `name` when they are refused."""
    try:
        with Image.open(source, formats=tuple(EXTENSIONS.values())) as image:
            size = image.height, image.width  # only the header has been read: a decompression bomb stays shut
            if size == (height, width):
                return rgb(image)
    except FileNotFoundError:
        raise ValueError(f"no image {name}") from None
    except Exception as error:  # Pillow's decoders raise SyntaxError, struct.error, zlib.error and others for bad bytes
        raise ValueError(f"{name} cannot be read as an image: {error or type(error).__name__}") from error
    raise ValueError(
        f"{name} is {size[0]}x{size[1]}, the embedder wants {height}x{width}: align the photos first (pocketface align)"
    )


def rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Gives an image of any mode as (H, W, 3) uint8."""
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow's own conversion would clip at 255
        grey = np.clip(np.asarray(image) >> 8, 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    return np.asarray(image.convert("RGB"))


def image_paths(folder: Path) -> list[Path]:
    """Lists the images below `folder`, sorted by path.

    Raises:
        ValueError: No such folder.
    """
    if not folder.is_dir():
        raise ValueError(f"no folder {folder}")
    return sorted(_walk(folder, set()), key=lambda path: path.relative_to(folder).parts)


def _walk(folder: Path, seen: set[Path]) -> Iterator[Path]:
    if folder.resolve() in seen:  # a link that leads back up, or to where another link led
        return
    seen.add(folder.resolve())
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):  # among them the `._x.jpg` that macOS leaves, which are no images
            continue
        if entry.is_dir():
            yield from _walk(entry, seen)
        elif entry.suffix.lower() in EXTENSIONS and entry.is_file():
            yield entry


def fingerprint(*parts: NDArray[np.generic] | str) -> str:
    """Gives the SHA-256 of arrays (with type and shape) and texts, 64 hex digits."""
    digest = hashlib.sha256()
    for part in parts:
        array = np.frombuffer(part.encode(), np.uint8) if isinstance(part, str) else np.ascontiguousarray(part)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()
