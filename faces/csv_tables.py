"""Tables: one reader of CSV files with a header, for pairs, attributes and templates."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

Rows = Iterator[tuple[int, dict[str, str]]]
"""The line number of each row, and its cells by column, without surrounding spaces."""


def read_csv_table(
    path: Path, contents: str, required: Sequence[str] = (), optional: Sequence[str] = ()
) -> tuple[tuple[str, ...], Rows]:
    """Opens a CSV file whose first line names its columns; empty lines are skipped.

    Args:
        path: The file, UTF-8.
        contents: What its rows are, for errors: "pairs".
        required: Columns that it must have, in any order, beside others.
        optional: Columns that errors name as possible.

    Returns:
        The columns in their order, and the rows.

    Raises:
        ValueError: No such file, no UTF-8 text, malformed CSV, or a column that is missing or appears twice. Reading on
            in the rows raises it for a line with another number of cells.
    """
    if not path.is_file():
        raise ValueError(f"no table of {contents} {path}")
    lines = csv_lines(path)
    columns = tuple(next(lines, (1, []))[1])
    for column in required:
        if column not in columns:
            form = ",".join(required) + "".join(f"[,{name}]" for name in optional)
            raise ValueError(f"{path} has no column {column!r}; its first line needs: {form}")
    for column in columns:
        if columns.count(column) > 1:
            raise ValueError(f"{path} has two columns {column!r}; rename one")
    return columns, _rows(path, columns, lines)


def read_text(path: Path) -> str:
    """Reads UTF-8 text, with or without a byte order mark.

    Raises:
        ValueError: It is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}") from None


def csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Gives the number and the cells of each line that is not empty, the first one included.

    Raises:
        ValueError: No UTF-8 text, or malformed CSV, as the lines are read.
    """
    reader = csv.reader(io.StringIO(read_text(path)), skipinitialspace=True, strict=True)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise ValueError(f"{path} line {reader.line_num}: {error}") from None


def _rows(path: Path, columns: Sequence[str], lines: Iterator[tuple[int, list[str]]]) -> Rows:
    for number, cells in lines:
        if len(cells) != len(columns):
            raise ValueError(f"{path} line {number} has {len(cells)} cells, the first line {len(columns)}")
        yield number, dict(zip(columns, cells, strict=True))
