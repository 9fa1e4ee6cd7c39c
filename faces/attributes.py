"""Attributes of faces from a table: age, camera, pose, the size of the face in the photo, whatever its columns are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .csv_tables import read_csv_table

LARGEST_TABLE = 64 << 20  # bytes
FEW = 5  # up to so many different numbers are names of groups, such as 0 and 1
COLUMNS = 50


@dataclass(frozen=True, eq=False)
class Attribute:
    """One column: the group of each face."""

    name: str
    groups: tuple[str, ...]  # "below 31", "31 to 44", "44 and above"; or the column's words, sorted
    group: NDArray[np.int64] = field(repr=False)  # (M,) index of each face's group; -1: unknown


def read_attributes(path: Path, names: Sequence[str]) -> list[Attribute]:
    """Reads a CSV with a header whose first column is the image; every other column groups the faces.

    A column with more than five different numbers is cut into thirds of the faces; in any other column each word is a
    group. A face with an empty cell, or without a line, is in no group.

    Args:
        path: The table, UTF-8.
        names: (M,) the names of the faces, as in `Pairs.names`: "AJ_Cook/AJ_Cook_0001.jpg".

    Raises:
        ValueError: As `read_csv_table`; none of these faces is in it, or two lines describe one image.
    """
    if path.is_file() and path.stat().st_size > LARGEST_TABLE:
        raise ValueError(f"{path} has {path.stat().st_size:,} bytes; a table of attributes has up to {LARGEST_TABLE:,}")
    columns, rows = read_csv_table(path, "attributes")
    if not 2 <= len(columns) <= COLUMNS or not all(columns):
        raise ValueError(f"{path} needs a first line that names 2 to {COLUMNS} columns, the image first")
    cells_of: dict[str, dict[str, str]] = {}
    for number, cells in rows:
        image = cells[columns[0]]
        if image in cells_of:
            raise ValueError(f"{path} line {number}: {image[:80]!r} is described a second time")
        cells_of[image] = cells
    if not any(name in cells_of for name in names):
        known = f"its first column needs names like {names[0]!r}" if len(names) else "there are none"
        raise ValueError(f"{path} describes none of the {len(names)} faces; {known}")
    return [_attribute(column, [cells_of.get(name, {}).get(column, "") for name in names]) for column in columns[1:]]


def _attribute(name: str, cells: Sequence[str]) -> Attribute:
    words = sorted({cell for cell in cells if cell})
    numbers = [_number(cell) for cell in words]
    if len(words) > FEW and not any(math.isnan(number) for number in numbers):
        values = np.array([_number(cell) for cell in cells])
        low, high = np.nanquantile(values, (1 / 3, 2 / 3))
        group = np.where(np.isnan(values), -1, (values >= low).astype(np.int64) + (values >= high))
        return Attribute(name, (f"below {low:.4g}", f"{low:.4g} to {high:.4g}", f"{high:.4g} and above"), group)
    place = {word: at for at, word in enumerate(words)}
    return Attribute(name, tuple(words), np.array([place.get(cell, -1) for cell in cells], dtype=np.int64))


def _number(cell: str) -> float:
    try:
        number = float(cell)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan
