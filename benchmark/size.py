"""How large a file is: on the disk, and as a store ships it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from .measurement import Measurement

BLOCK = 1 << 20  # bytes read at a time


def size_bytes(path: Path) -> int:
    """Sums the bytes of a file, or of all files in a folder (Core ML, checkpoints).

    Raises:
        ValueError: There is nothing at `path`.
    """
    return sum(file.stat().st_size for file in _files(path))


def compressed_bytes(path: Path) -> int:
    """Gives what the same files take in a zip: each deflated by itself, as an app store ships an app.

    The names and tables of the zip, some 100 bytes a file, are left out.

    Raises:
        ValueError: There is nothing at `path`.
    """
    return sum(_deflated(file) for file in _files(path))


def measurements(path: Path, row: Callable[..., Measurement]) -> list[Measurement]:
    """Gives the rows of measurements.json; `row` makes one and knows model ... device already."""
    return [
        row(metric="size_bytes", value=size_bytes(path), unit="bytes"),
        row(
            metric="compressed_bytes",
            value=compressed_bytes(path),
            unit="bytes",
            conditions={"method": "deflate 6"},
        ),
    ]


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file() and not file.is_symlink())
    if not path.is_file():
        raise ValueError(f"no file or folder at {path}; nothing to weigh")
    weights = path.with_name(path.name + ".data")  # where PyTorch puts the weights of a large ONNX graph
    return [path, weights] if path.suffix == ".onnx" and weights.is_file() else [path]


def _deflated(file: Path) -> int:
    deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return sum(len(deflate.compress(block)) for block in _blocks(file)) + len(deflate.flush())


def _blocks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while block := stream.read(BLOCK):
            yield block
