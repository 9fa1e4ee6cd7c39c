"""A table as lines of text that fit a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

NARROWEST_NAME = 12  # columns
GAP = "  "


def text_table(
    titles: Sequence[str], rows: Sequence[Sequence[str]], width: int, left: Sequence[int] = (0,)
) -> list[str]:
    """Gives a line of titles and one for each row; names that do not fit are cut in their middle.

    Args:
        titles: Of the columns; the first holds names.
        rows: As many cells each. A row of one cell is a heading.
        width: Columns of the terminal, which no line exceeds as far as names can be cut.
        left: The columns of words; the others are numbers, aligned right.

    >>> text_table(("file", "MB"), [("net.tflite", "0.33"), ("a", "10.00")], 80)
    ['file           MB', 'net.tflite   0.33', 'a           10.00']
    """
    table = [titles, *(row for row in rows if len(row) == len(titles))]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    widths[0] = min(widths[0], max(NARROWEST_NAME, widths[0] - (width_of(table) - width)))
    return [_line(row, widths, left) if len(row) == len(titles) else cut_name(row[0], width) for row in (titles, *rows)]


def width_of(table: Sequence[Sequence[str]]) -> int:
    """Gives how many columns of a terminal a table takes."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return sum(widths) + len(GAP) * (len(widths) - 1)


def cut_name(name: str, width: int) -> str:
    """Shortens a name in its middle: its beginning and its suffixes tell files apart."""
    if len(name) <= width:
        return name
    end = (width - 1) * 2 // 3
    return f"{name[: width - 1 - end]}…{name[len(name) - end :]}"


def _line(cells: Sequence[str], widths: Sequence[int], left: Sequence[int]) -> str:
    parts = [
        cut_name(cell, width).ljust(width) if place in left else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return GAP.join(parts).rstrip()


def text_lines(text: str, width: int) -> list[str]:
    """Breaks a sentence between words, to lines of `width` characters; a path that is longer stays whole."""
    return textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False)
