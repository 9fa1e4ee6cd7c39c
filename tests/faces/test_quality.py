"""Measures of crops whose answer one can see, and of rendered faces whose blur and exposure are known."""

import numpy as np
import pytest

from pocketface.faces.contract import Faces
from pocketface.faces.quality import measure
from pocketface.faces.rendering.person import Shot, draw
from pocketface.faces.rendering.synthetic import synthetic_faces


def grey(pattern: list[list[int]]) -> Faces:
    """One crop of 32x32 that repeats `pattern` in grey."""
    tiles = 32 // len(pattern)
    return np.repeat(np.tile(np.uint8(pattern), (tiles, 32 // len(pattern[0])))[None, ..., None], 3, axis=3)


def test_an_even_crop_is_as_bright_as_its_pixels_and_has_neither_contrast_nor_edges() -> None:
    found = measure(grey([[60]]))
    assert found["brightness"] == pytest.approx([60])
    assert found["contrast"] == pytest.approx([0], abs=1e-4)
    assert found["sharpness"] == pytest.approx([0], abs=1e-4)


def test_a_chessboard_of_pixels() -> None:
    # 100 and 140: mean 120, each 20 away from it; each pixel's neighbours are all 40 apart: +-160, variance 25600
    found = measure(grey([[100, 140], [140, 100]]))
    assert found["brightness"] == pytest.approx([120])
    assert found["contrast"] == pytest.approx([20])
    assert found["sharpness"] == pytest.approx([25600])


def test_a_ramp_has_contrast_but_no_edge() -> None:
    ramp = np.broadcast_to((np.arange(32, dtype=np.uint8) * 8)[None, None, :, None], (1, 32, 32, 3))
    found = measure(np.ascontiguousarray(ramp))
    assert found["sharpness"] == pytest.approx([0], abs=1e-4)
    assert found["contrast"] == pytest.approx([8 * np.arange(4, 28).std()])  # an eighth is left out on each side


def test_colours_count_as_the_eye_weighs_them() -> None:
    crops = np.zeros((3, 32, 32, 3), np.uint8)
    for channel in range(3):
        crops[channel, ..., channel] = 200
    assert measure(crops)["brightness"] == pytest.approx([0.299 * 200, 0.587 * 200, 0.114 * 200], rel=1e-5)


def test_what_lies_at_the_edge_is_not_looked_at() -> None:
    crop = grey([[80]])
    crop[:, :4] = crop[:, -4:] = crop[:, :, :4] = crop[:, :, -4:] = 255
    assert measure(crop)["brightness"] == pytest.approx([80])


def test_each_crop_is_measured_by_itself_beyond_one_batch() -> None:
    crops = np.zeros((600, 16, 16, 3), np.uint8)
    crops[:] = (np.arange(600) % 256).astype(np.uint8)[:, None, None, None]
    assert measure(crops)["brightness"] == pytest.approx(np.arange(600) % 256)


def test_sharpness_falls_with_the_blur_that_a_face_was_rendered_with() -> None:
    from scipy.stats import spearmanr

    people, shots = 25, 4
    faces, _ = synthetic_faces(people, shots)
    blur = [draw(Shot, np.random.default_rng([0, i, k + 1])).blur for i in range(people) for k in range(shots)]
    assert spearmanr(measure(faces)["sharpness"], blur)[0] < -0.7
