"""The picture of what was cut: bounded, and every photo in it has its name."""

import numpy as np
from PIL import Image

from pocketface.faces.contact_sheet import sheet_row, shown, write_contact_sheet

GREY = np.full((200, 100, 3), 128, np.uint8)
CROP = np.full((112, 112, 3), 40, np.uint8)


def test_of_many_photos_sixty_are_shown_the_first_and_the_last_among_them() -> None:
    chosen = shown(10_000)
    assert len(chosen) == 60
    assert {0, 9_999} <= chosen


def test_the_largest_sheet(tmp_path) -> None:
    rows = [sheet_row(f"photo {number} é\n.jpg", GREY, CROP, np.full((5, 2), 50.0)) for number in range(60)]
    write_contact_sheet(rows, tmp_path / "sheet.jpg")
    with Image.open(tmp_path / "sheet.jpg") as sheet:
        assert sheet.size == (864, 3484)


def test_landmarks_are_marked_where_they_are() -> None:
    row = sheet_row("a.jpg", GREY, CROP, np.array([[50.0, 100.0]]))
    assert row.photo.shape == (112, 56, 3)
    green = row.photo[..., 1].astype(int) - row.photo[..., 0]
    y, x = np.argwhere(green > 100).mean(axis=0)
    assert (abs(x - 28) < 1, abs(y - 56) < 1) == (True, True)


def test_where_no_face_was_found_there_is_no_crop(tmp_path) -> None:
    write_contact_sheet([sheet_row("a.jpg", GREY, None, None)], tmp_path / "sheet.jpg")
    with Image.open(tmp_path / "sheet.jpg") as sheet:
        assert sheet.size == (864, 120)
        assert np.asarray(sheet)[10:110, 125:225].min() > 230
