"""The size of a file: on disk, compressed as an app store ships it, and of its weights alone."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from ..export.formats import FORMATS, format_of
from .measurement import Measurement, RowMaker

BLOCK = 1 << 20  # bytes read at a time


def size_bytes(path: Path) -> int:
    """Sums the bytes of a file, or of all files in a folder (Core ML, checkpoints).

    Raises:
        ValueError: There is nothing at `path`.
    """
    return sum(file.stat().st_size for file in _files(path))


def compressed_bytes(path: Path) -> int:
    """Gives the bytes of the same files in a zip: each is deflated by itself, as an app store ships an app.

    The names and tables of the zip, some 100 bytes a file, are left out.

    Raises:
        ValueError: There is nothing at `path`.
    """
    return sum(_deflated(file) for file in _files(path))


def weights_bytes(path: Path) -> int | None:
    """Gives the bytes of all constants in a file, as they are stored: the weights, and what else the graph needs.

    Returns:
        None where the format does not say (ExecuTorch), the file holds none, or it is damaged.
    """
    try:
        weigh = format_of(path).weigh
        total = 0 if weigh is None else weigh(path)
        return total if 0 < total <= size_bytes(path) else None  # or it claims more than there is
    except (ValueError, TypeError, AttributeError, OSError, struct.error):
        return None


def size_rows(path: Path, row: RowMaker) -> list[Measurement]:
    """Gives the rows of a file's size, its compressed size and, where the format tells it, that of its weights."""
    weights = weights_bytes(path)
    rows = [
        row.value("size_bytes", size_bytes(path)),
        row.value("compressed_bytes", compressed_bytes(path), method="deflate 6"),
    ]
    return rows if weights is None else [*rows, row.value("weights_bytes", weights)]


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file() and not file.is_symlink())
    if not path.is_file():
        raise ValueError(f"no file or folder at {path}; nothing to weigh")
    companions = (path.with_name(path.name + each.companion) for each in FORMATS.values() if each.is_at(path))
    return [path, *(companion for companion in companions if companion != path and companion.is_file())]


def _deflated(file: Path) -> int:
    deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return sum(len(deflate.compress(block)) for block in _blocks(file)) + len(deflate.flush())


def _blocks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while block := stream.read(BLOCK):
            yield block
