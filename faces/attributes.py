"""What a table says of each face: the size of the face in the photo, age, camera, pose, whatever its columns are."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LARGEST_TABLE = 64 << 20  # bytes
FEW = 5  # different numbers; up to so many are names of groups: 0 and 1
COLUMNS = 50


@dataclass(frozen=True, eq=False)
class Attribute:
    """One column: the group of each face."""

    name: str
    groups: tuple[str, ...]  # "below 31", "31 to 44", "44 and above"; or the column's words, sorted
    group: NDArray[np.int64] = field(repr=False)  # (M,) which one each face is in; -1 where the table does not say


def read_attributes(path: Path, names: Sequence[str]) -> list[Attribute]:
    """Reads a CSV with a header whose first column is the image; every other column groups the faces.

    A column of numbers, more than five different ones, is cut in thirds of the faces; in any other each word is a
    group. An empty cell says nothing of that face, nor does a table that has no line for it.

    Args:
        path: The table, UTF-8.
        names: (M,) what the faces are called, as `Pairs.names`: "AJ_Cook/AJ_Cook_0001.jpg".

    Raises:
        ValueError: No such file, none of these faces in it, a malformed line, or an image that two lines describe.
    """
    columns, cells = _table(path)
    lines = [cells.get(name) for name in names]
    if not any(lines):
        known = f"its first column wants names like {names[0]!r}" if len(names) else "there are none"
        raise ValueError(f"{path} describes none of the {len(names)} faces; {known}")
    return [
        _attribute(column, [line[at] if line else "" for line in lines]) for at, column in enumerate(columns[1:], 1)
    ]


def _table(path: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Gives the header, and the cells of each line by the image it describes."""
    if not path.is_file():
        raise ValueError(f"no table of attributes {path}")
    if path.stat().st_size > LARGEST_TABLE:
        raise ValueError(f"{path} has {path.stat().st_size:,} bytes; a table of attributes has up to {LARGEST_TABLE:,}")
    try:
        reader = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig")), skipinitialspace=True, strict=True)
        rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if cells]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV: {error}") from None
    header = rows[0][1] if rows else []
    if not 2 <= len(header) <= COLUMNS or len(set(header)) < len(header) or not all(header):
        raise ValueError(f"{path} wants a first line that names 2 to {COLUMNS} different columns, the image first")
    cells: dict[str, list[str]] = {}
    for number, row in rows[1:]:
        if len(row) != len(header):
            raise ValueError(f"{path} line {number} has {len(row)} cells, the first line {len(header)}")
        if row[0] in cells:
            raise ValueError(f"{path} line {number}: {row[0][:80]!r} is described a second time")
        cells[row[0]] = row
    return header, cells


def _attribute(name: str, cells: Sequence[str]) -> Attribute:
    said = sorted({cell for cell in cells if cell})
    numbers = [_number(cell) for cell in said]
    if len(said) > FEW and not any(math.isnan(number) for number in numbers):
        values = np.array([_number(cell) for cell in cells])
        low, high = np.nanquantile(values, (1 / 3, 2 / 3))
        group = np.where(np.isnan(values), -1, (values >= low).astype(np.int64) + (values >= high))
        return Attribute(name, (f"below {low:.4g}", f"{low:.4g} to {high:.4g}", f"{high:.4g} and above"), group)
    place = {word: at for at, word in enumerate(said)}
    return Attribute(name, tuple(said), np.array([place.get(cell, -1) for cell in cells], dtype=np.int64))


def _number(cell: str) -> float:
    """Gives NaN for what is no finite number."""
    try:
        number = float(cell)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan
