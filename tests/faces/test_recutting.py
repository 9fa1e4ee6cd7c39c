"""Crops at another size: the middle of the square, scaled; landmarks lie where the contract says."""

import numpy as np
import pytest

from pocketface.faces.contract import InputContract
from pocketface.faces.recutting import recut

COLUMNS = np.broadcast_to(np.arange(112, dtype=np.uint8)[None, None, :, None], (1, 112, 112, 3))


def test_112x96_is_the_middle_columns() -> None:
    assert recut(COLUMNS, 112, 96)[0, 0, :, 0].tolist() == list(range(8, 104))


def test_back_to_a_square_the_edge_is_mirrored() -> None:
    narrow = recut(COLUMNS, 112, 96)
    wide = recut(narrow, 112, 112)
    assert wide[0, 5, :, 1].tolist() == [*range(15, 7, -1), *range(8, 104), *range(103, 95, -1)]


def test_the_same_size_is_the_same_array() -> None:
    assert recut(COLUMNS, 112, 112) is COLUMNS


@pytest.mark.parametrize("size", [(160, 160), (128, 128), (112, 96), (96, 80)])
def test_a_landmark_goes_where_the_template_of_that_size_has_it(size: tuple[int, int]) -> None:
    points = InputContract().landmarks
    y, x = np.mgrid[:112, :112]
    blobs = [255 * np.exp(-((x - u) ** 2 + (y - v) ** 2) / 8) for u, v in points]
    for blob, (u, v) in zip(blobs, InputContract(*size).landmarks, strict=True):
        face = np.repeat(blob.astype(np.uint8)[None, :, :, None], 3, axis=3)
        light = recut(face, *size)[0, :, :, 0].astype(float)
        rows, columns = np.indices(light.shape)
        centre = (columns * light).sum() / light.sum(), (rows * light).sum() / light.sum()
        assert centre == pytest.approx((u, v), abs=0.5)


def test_no_faces_are_none_of_another_size() -> None:
    assert recut(np.zeros((0, 112, 112, 3), np.uint8), 160, 160).shape == (0, 160, 160, 3)
