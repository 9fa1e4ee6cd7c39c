"""Ways to damage a file as its format is built: protobuf fields, FlatBuffer words, JSON values, tar and zip members.

Each takes a `random.Random` and the bytes of a file in order, and gives those of a damaged one.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

Change = Callable[[Random, bytes], bytes]

NUMBERS = (0, 1, 2, 3, 5, 127, 128, 255, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**64 - 1)
TEXTS = (
    "",
    "\x1b]0;PWN\x07\x1b[2J",
    "a\nb\rc",
    "../../x",
    "/etc/passwd",
    "=cmd()",
    "\0",
    "\ud800",
    "x" * 70_000,
    "é\u202e\u2028",
    "NaN",
    "1e999",
    "<script>",
)
VALUES: tuple[Any, ...] = (
    *TEXTS[:11], None, True, False, [], {}, [[]], {"": None}, 0, -1, 1e308, -1e308, float("nan"), float("inf"),
    2**31, 2**63, 10**400, 0.5, [1, 2, 3], [None, "x"], {"a": {"b": [1]}},
)  # fmt: skip


def any_bytes(random: Random, content: bytes) -> bytes:
    """Flips bits, cuts, repeats, swaps or overwrites some bytes."""
    damaged = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 5, 20))):
        size = len(damaged)
        if not size:
            break
        at, length = random.randrange(size), random.choice((1, 2, 4, 8, 64, 1024))
        match random.randrange(7):
            case 0:
                damaged[at] ^= 1 << random.randrange(8)
            case 1:
                del damaged[at : at + length]
            case 2:
                damaged[at:at] = damaged[at : at + length]
            case 3:
                other = random.randrange(size)
                damaged[at : at + length] = damaged[other : other + length]
            case 4:
                number = random.choice(NUMBERS)
                damaged[at : at + 8] = number.to_bytes(8, random.choice(("little", "big")))
            case 5:
                damaged[at : at + length] = random.randbytes(length)
            case 6:
                del damaged[at:]
    return bytes(damaged)


def words(random: Random, content: bytes) -> bytes:
    """Changes whole 4-byte words, as FlatBuffers' offsets, sizes and numbers are."""
    damaged = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        count = len(damaged) // 4
        # structure lies at both ends of such a file, weights between
        near = random.choice((count, min(count, 256), count))
        at = 4 * (random.randrange(near) if random.random() < 0.5 else count - 1 - random.randrange(near))
        (number,) = struct.unpack_from("<I", damaged, at)
        changed = random.choice(
            (
                random.choice(NUMBERS) & 0xFFFFFFFF,
                number + random.choice((-8, -4, -1, 1, 4, 8, 1 << 16)) & 0xFFFFFFFF,
                struct.unpack_from("<I", damaged, 4 * random.randrange(count))[0],
            )
        )
        struct.pack_into("<I", damaged, at, changed)
    return bytes(damaged)


# ---- protobuf


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128 or shift > 63:
            return value, at


def _written(value: int) -> bytes:
    value &= 2**64 - 1
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


def _fields(content: bytes) -> list[list[Any]] | None:
    """Gives [number, wire type, value] of each field; None where it is no message."""
    at, fields = 0, list[list[Any]]()
    try:
        while at < len(content):
            key, at = _varint(content, at)
            kind = key & 7
            if kind == 0:
                value, at = _varint(content, at)
            elif kind in (1, 5):
                size = 8 if kind == 1 else 4
                value, at = content[at : at + size], at + size
            elif kind == 2:
                size, at = _varint(content, at)
                value, at = content[at : at + size], at + size
            else:
                return None
            if at > len(content) or not key >> 3 or key >> 3 > 10_000:
                return None
            fields.append([key >> 3, kind, value])
    except IndexError:
        return None
    return fields


def _message(fields: list[list[Any]]) -> bytes:
    parts = []
    for number, kind, value in fields:
        parts.append(_written(number << 3 | kind))
        parts.append(_written(value) if kind == 0 else _written(len(value)) + value if kind == 2 else value)
    return b"".join(parts)


def protobuf(random: Random, content: bytes) -> bytes:
    """Changes, removes, repeats, moves, renumbers or nests a field, at a random depth."""
    fields = _fields(content)
    if not fields:
        return any_bytes(random, content)
    place = random.randrange(len(fields))
    number, kind, value = fields[place]
    if kind == 2 and random.random() < 0.75 and _fields(value):
        fields[place][2] = protobuf(random, value)
        return _message(fields)
    match random.randrange(7):
        case 0:
            del fields[place]
        case 1:
            fields.insert(random.randrange(len(fields) + 1), list(fields[place]))
        case 2:
            other = random.randrange(len(fields))
            fields[place][2], fields[other][2] = fields[other][2], fields[place][2]
            fields[place][1], fields[other][1] = fields[other][1], fields[place][1]
        case 3:
            fields[place][0] = random.choice((1, 2, 3, 4, 5, 7, 8, 9, 11, 13, 20, number + 1))
        case 4:
            fields.insert(place, fields.pop(random.randrange(len(fields))))
        case 5 if kind == 2:
            for _ in range(random.choice((1, 50, 2000))):
                value = _message([[number, 2, value]])
            fields[place][2] = value[: 1 << 22]
        case _:
            if kind == 0:
                fields[place][2] = random.choice((*NUMBERS, value + 1, value - 1))
            elif kind == 2:
                texts = [text.encode("utf-8", "surrogatepass") for text in TEXTS]
                fields[place][2] = random.choice((*texts, any_bytes(random, value), value[:-1], value * 2))
            else:
                fields[place][2] = random.choice(
                    (bytes(len(value)), b"\xff" * len(value), random.randbytes(len(value)))
                )
    return _message(fields)


# ---- JSON, and tables of any kind


def table(random: Random, value: Any) -> Any:
    """Changes one value inside plain tables and lists, in place where it can; gives the whole."""
    if isinstance(value, (dict, list)) and value and random.random() < 0.85:
        key = random.choice(list(value) if isinstance(value, dict) else range(len(value)))
        match random.randrange(9):
            case 0:
                del value[key]
            case 1 if isinstance(value, dict):
                value[random.choice(TEXTS[:10])] = value.pop(key)
            case 1 | 2 if isinstance(value, list):
                value.insert(key, value[random.randrange(len(value))])
            case 3 if isinstance(value, dict):
                value[random.choice((*TEXTS[:10], "extra"))] = random.choice(VALUES)
            case _:
                value[key] = table(random, value[key])
        return value
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return random.choice(
        (value * -1, value * 10**9, value + 1, str(value)) if number and random.random() < 0.3 else VALUES
    )


def json_text(random: Random, content: bytes) -> bytes:
    """Changes values of a JSON text, or nests it deeply, or damages its bytes."""
    chance = random.random()
    if chance < 0.1:
        return any_bytes(random, content)
    if chance < 0.13:
        depth = random.choice((50, 2_000, 100_000))
        return b"[" * depth + content + b"]" * random.choice((0, depth))
    try:
        value = json.loads(content)
        for _ in range(random.choice((1, 1, 1, 2, 4))):
            value = table(random, value)
        if chance < 0.16:
            for _ in range(random.choice((30, 300))):
                value = random.choice(([value], {"contract": value}))
        return json.dumps(value).encode()
    except (ValueError, RecursionError):
        return any_bytes(random, content)


# ---- files that hold others


def safetensors(random: Random, content: bytes) -> bytes:
    """Changes the header: shapes, types, offsets, names; or the length that stands before it."""
    (size,) = struct.unpack_from("<Q", content)
    header, rest = content[8 : 8 + size], content[8 + size :]
    if random.random() < 0.2:
        return struct.pack("<Q", random.choice((*NUMBERS, size - 1, size + 8))) + content[8:]
    header = json_text(random, header)
    return struct.pack("<Q", len(header)) + header + rest


def zipped(random: Random, content: bytes) -> bytes:
    """Changes a member of a zip file, its name, or how it is packed; or the file's own bytes."""
    if random.random() < 0.3 or not zipfile.is_zipfile(io.BytesIO(content)):
        return any_bytes(random, content)
    with zipfile.ZipFile(io.BytesIO(content)) as old:
        members = [(info.filename, old.read(info)) for info in old.infolist()]
    place = random.randrange(len(members))
    if random.random() < 0.7:  # the pickle, not one of the many weights
        place = next((i for i, (name, _) in enumerate(members) if name.endswith(".pkl")), place)
    name, body = members[place]
    packing = zipfile.ZIP_STORED
    match random.randrange(6):
        case 0:
            del members[place]
        case 1:
            members[place] = (random.choice(("../../x", "/etc/x", name + "x", "archive/data.pkl")), body)
        case 2:
            members[place], packing = (name, bytes(1 << 26)), zipfile.ZIP_DEFLATED
        case _:
            members[place] = (name, any_bytes(random, body))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", packing) as new:
        for name, body in members:
            new.writestr(name, body)
    return packed.getvalue()


def tar(random: Random, content: bytes) -> bytes:
    """Changes a field of a header, with its checksum mended as a rule; or the file's own bytes."""
    if random.random() < 0.2:
        return any_bytes(random, content)
    damaged = bytearray(content)
    headers = [at for at in range(0, len(damaged) - 511, 512) if damaged[at + 257 : at + 262] == b"ustar"]
    at = random.choice(headers or [0])
    start, size = random.choice(((0, 100), (124, 12), (156, 1), (257, 8), (345, 155), (100, 8)))
    texts = [text.encode("utf-8", "surrogatepass")[:size] for text in TEXTS]
    numbers = [b"%0*o\0" % (size - 1, number) for number in NUMBERS]
    field = random.choice((*texts, *numbers, b"\x80" + b"\xff" * (size - 1), random.randbytes(size)))
    if start == 0 and random.random() < 0.7:
        field = random.choice(texts)[: size - 4] + random.choice((b".jpg", b".cls", b".json", b".png"))
    damaged[at + start : at + start + size] = field[:size].ljust(size, b"\0")
    if random.random() < 0.8:
        damaged[at + 148 : at + 156] = b" " * 8
        damaged[at + 148 : at + 156] = b"%06o\0 " % sum(damaged[at : at + 512])
    return bytes(damaged)


def lines(random: Random, content: bytes) -> bytes:
    """Changes words and lines of a text."""
    if random.random() < 0.1:
        return any_bytes(random, content)
    rows = content.split(b"\n")
    for _ in range(random.choice((1, 1, 2, 5))):
        at = random.randrange(len(rows))
        match random.randrange(5):
            case 0:
                del rows[at]
                rows = rows or [b""]
            case 1:
                rows.insert(at, rows[random.randrange(len(rows))])
            case _:
                separator = random.choice((b",", b" ", b"\t", b"="))
                cells = rows[at].split(separator)
                new = random.choice((*TEXTS, *map(str, NUMBERS), "-1", "0.5", '"')).encode("utf-8", "surrogatepass")
                cells[random.randrange(len(cells))] = new
                rows[at] = separator.join(cells)
    return b"\n".join(rows)
