"""Image files: which files count, how they are found, and how one is read, every pixel as it is stored."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

EXTENSIONS: dict[str, str] = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".bmp": "BMP", ".webp": "WEBP"}
"""The file endings that count as images, and the Pillow decoders that may run, whatever a file claims to be."""

OTHER_FORMATS = (".heic", ".heif", ".avif", ".jxl", ".jp2", ".tif", ".tiff", ".gif")
"""Endings of images that are not read, and not passed over in silence either."""


def read_image(path: Path, height: int, width: int) -> NDArray[np.uint8]:
    """Reads one crop: (H, W, 3) uint8 RGB, as stored.

    Grey becomes RGB, 16 bits become the upper 8, CMYK is converted, alpha is dropped, and of an animation the first
    frame is read. EXIF orientation is ignored: crops are written by aligners, not by cameras.

    Raises:
        ValueError: No such file, not an image, or another size, which is checked before a pixel is decoded.
    """
    return decode_image(path, str(path), height, width)


def decode_image(source: Path | BinaryIO, name: str, height: int, width: int) -> NDArray[np.uint8]:
    """Does what `read_image` does, for a file or for bytes; errors call it `name`."""
    try:
        with Image.open(source, formats=tuple(EXTENSIONS.values())) as image:
            size = image.height, image.width  # only the header has been read, so a decompression bomb is not decoded
            if size == (height, width):
                return rgb(image)
    except FileNotFoundError:
        raise ValueError(f"no image {name}") from None
    except Exception as error:  # Pillow's decoders raise SyntaxError, struct.error, zlib.error and others
        raise ValueError(f"{name} cannot be read as an image: {error or type(error).__name__}") from error
    raise ValueError(
        f"{name} is {size[0]}x{size[1]}, the embedder expects {height}x{width}: "
        "align the photos first (pocketface align)"
    )


def image_size(path: Path) -> tuple[int, int]:
    """Gives the height and width of an image, from its header.

    Raises:
        ValueError: It cannot be read as an image.
    """
    try:
        with Image.open(path, formats=tuple(EXTENSIONS.values())) as image:
            return image.height, image.width
    except Exception as error:  # as above
        raise ValueError(f"{path} cannot be read as an image: {error or type(error).__name__}") from error


def rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Gives an image of any mode as (H, W, 3) uint8."""
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow's own conversion would clip at 255
        grey = np.clip(np.asarray(image) >> 8, 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    return np.asarray(image.convert("RGB"))


def unread(names: Sequence[str]) -> str:
    """Gives the end of a sentence that says which images were not read; "" where there are none.

    >>> unread(["a/b.heic"])
    '; 1 of other formats is not read, such as a/b.heic: save it as JPEG or PNG'
    """
    several = ("are", "them") if len(names) > 1 else ("is", "it")
    such = f"; {len(names)} of other formats {several[0]} not read, such as {names[0]}" if names else ""
    return f"{such}: save {several[1]} as JPEG or PNG" if names else ""


def image_names(folder: Path, endings: Container[str] = tuple(EXTENSIONS)) -> list[str]:
    """Lists the images below `folder`, relative to it and sorted by path; hidden ones are skipped, links followed.

    Args:
        folder: With folders in it, to any depth.
        endings: Of the names that count, in small letters.

    Raises:
        ValueError: No such folder.
    """
    if not folder.is_dir():
        raise ValueError(f"no folder {folder}")
    names = _walk(folder, "", set(), endings)
    return sorted(names, key=lambda name: name.replace("/", "\0"))  # as its parts would sort


def _walk(folder: Path, name: str, visited: set[Path], endings: Container[str]) -> Iterator[str]:
    here = (folder / name).resolve()
    if here in visited:  # a link that leads back up, or to where another link led
        return
    visited.add(here)
    for entry in sorted(os.listdir(here)):
        if entry.startswith("."):  # among them the `._x.jpg` that macOS leaves, which are no images
            continue
        if os.path.isdir(here / entry):
            yield from _walk(folder, f"{name}{entry}/", visited, endings)
        elif os.path.splitext(entry)[1].lower() in endings and os.path.isfile(here / entry):
            yield name + entry
