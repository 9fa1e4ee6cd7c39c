"""One picture of what alignment did: photos with the landmarks that were found, beside the crops that were cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..files import written_whole
from ..spelling import printable

MOST_ROWS = 60  # photos shown; of more, as many at equal distances
COLUMNS = 2
SIDE = 112  # pixels, of a photo and of a crop in the sheet
LABEL = 200  # pixels for the name
EDGE = 4
LETTERS = 32  # of the name that are shown, its end


@dataclass(frozen=True, eq=False)
class SheetRow:
    """A photo, made small, and its crop."""

    name: str
    photo: NDArray[np.uint8] = field(repr=False)  # (h, w, 3), at most 112 a side, with its landmarks marked
    crop: NDArray[np.uint8] | None = field(repr=False)  # None: no face was found


def sheet_row(
    name: str, photo: NDArray[np.uint8], crop: NDArray[np.uint8] | None, landmarks: NDArray[np.float64] | None
) -> SheetRow:
    """Makes a row small at once, so that no photo is kept.

    Args:
        name: Of the photo.
        photo: (H, W, 3).
        crop: That was cut; None: no face was found.
        landmarks: (5, 2) x and y in the photo.
    """
    shrink = SIDE / max(photo.shape[:2])
    size = max(1, round(photo.shape[1] * shrink)), max(1, round(photo.shape[0] * shrink))
    small = Image.fromarray(photo).resize(size, Image.Resampling.BOX if shrink < 1 else Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(small)
    for x, y in [] if landmarks is None else landmarks * shrink:
        draw.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill=(0, 255, 0))
    return SheetRow(name, np.asarray(small), crop)


def shown(photos: int) -> set[int]:
    """Gives which of so many photos a sheet shows: all up to 60, else 60 at equal distances.

    >>> sorted(shown(3)), len(shown(1000)), max(shown(1000))
    ([0, 1, 2], 60, 999)
    """
    return set(np.linspace(0, photos - 1, min(photos, MOST_ROWS)).round().astype(int).tolist())


def write_contact_sheet(rows: Sequence[SheetRow], path: Path) -> None:
    """Writes a JPEG of at most 864 x 3484 pixels: photo, crop and name of each row, in two columns."""
    high = -(-len(rows) // COLUMNS)
    cell_width, cell_height = 2 * (SIDE + EDGE) + LABEL, SIDE + EDGE
    sheet = Image.new("RGB", (COLUMNS * cell_width, max(1, high) * cell_height + EDGE), "white")
    draw = ImageDraw.Draw(sheet)
    for number, row in enumerate(rows):
        x, y = number // high * cell_width + EDGE, number % high * cell_height + EDGE
        sheet.paste(Image.fromarray(row.photo), (x, y))
        if row.crop is not None:
            crop = Image.fromarray(row.crop)
            crop.thumbnail((SIDE, SIDE))
            sheet.paste(crop, (x + SIDE + EDGE, y))
        name = printable(row.name).encode("ascii", "replace").decode()  # the built-in font has no other letters
        text = name if len(name) <= LETTERS else f"...{name[3 - LETTERS :]}"
        said = text if row.crop is not None else f"{text}\nno face found"
        draw.multiline_text(
            (x + 2 * (SIDE + EDGE), y + SIDE // 2 - 8), said, fill="black" if row.crop is not None else "red"
        )
    with written_whole(path) as beside:
        sheet.save(beside, format="JPEG", quality=90)
