"""Tar files: the positions of their members, without unpacking any."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK = 512  # bytes of each block of a tar
LARGEST_EXTENSION = 1 << 16  # bytes of a long name or of pax records


@dataclass(frozen=True)
class Member:
    """A file in a tar."""

    name: str
    offset: int  # of its first byte
    size: int  # bytes


def members(tar: BinaryIO, name: str) -> Iterator[Member]:
    """Yields the files of a plain tar: POSIX, with or without pax headers, or GNU.

    Raises:
        ValueError: It is compressed, cut off, sparse, continued in another file, or no tar; the error calls it `name`.
    """
    end, place = tar.seek(0, io.SEEK_END), 0
    extended: dict[str, str] = {}  # from extension headers, about the next member
    while True:
        tar.seek(place)
        header = tar.read(BLOCK)
        if not header.strip(b"\0"):
            return
        try:
            kind, size = header[156:157], _number(header[124:136])
            if sum(header) - sum(header[148:156]) + 8 * ord(" ") != _number(header[148:156]):
                raise ValueError("the checksum is wrong")
            if kind in b"123456":  # links, devices, folders, pipes: they have no content, whatever their header says
                size = 0
            elif kind not in b"xgLK":
                size = int(extended.get("size", size))
            if not 0 <= size <= end - place - BLOCK:
                raise ValueError("the file is cut off")
            if kind in b"SM" or any(key.startswith("GNU.sparse") for key in extended):
                raise ValueError("it holds a sparse or continued file")
            if kind in b"xL":
                extended |= _extension(kind, size, tar)
        except ValueError as error:
            advice = ": is it compressed? Decompress it first" if place == 0 else ""
            raise ValueError(f"{name} is no plain tar at byte {place}, {error}{advice}") from None
        if kind not in b"xgLK":
            if kind in b"07\0":
                yield Member(extended.get("path") or _short_name(header), place + BLOCK, size)
            extended = {}
        place += BLOCK + -(-size // BLOCK) * BLOCK


def _short_name(header: bytes) -> str:
    name = header[:100].partition(b"\0")[0]
    folder = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return (folder + b"/" + name if folder else name).decode(errors="replace")


def _number(field: bytes) -> int:
    """Reads octal digits, or the binary form of large numbers; a negative one becomes too large and is refused."""
    if field[:1] in (b"\x80", b"\xff"):
        return int.from_bytes(field[1:], "big")
    digits = field.partition(b"\0")[0].strip()
    if digits.strip(b"01234567"):
        raise ValueError("a number is malformed")
    return int(digits or b"0", 8)


def _extension(kind: bytes, size: int, tar: BinaryIO) -> dict[str, str]:
    """Reads a long name, or pax records: `27 path=people/0001/02.jpg` and a line end, 27 bytes in all."""
    if size > LARGEST_EXTENSION:
        raise ValueError(f"a header has {size} bytes, more than {LARGEST_EXTENSION}")
    body = tar.read(size)
    if kind == b"L":
        return {"path": body.partition(b"\0")[0].decode(errors="replace")}
    records, place = {}, 0
    while place < len(body):
        length, space, _ = body[place : place + 20].partition(b" ")
        if not space or not length.isdigit() or not len(length) + 2 < int(length) <= len(body) - place:
            raise ValueError("a pax record is malformed")
        record = body[place + len(length) + 1 : place + int(length) - 1]
        key, _, value = record.partition(b"=")
        records[key.decode(errors="replace")] = value.decode(errors="replace")
        place += int(length)
    return records
