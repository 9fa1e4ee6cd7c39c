"""The calibration set: the draw, and what the lint sees and does not see."""

import io
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pocketface.export.calibration import choose_calibration_faces, hashes, lint
from pocketface.faces.contract import ARCFACE, Faces
from pocketface.faces.rendering.synthetic import synthetic_faces


@cache
def rendered() -> Faces:
    return synthetic_faces(22, 3)[0]


def real(shared: Path, count: int = 120) -> Faces:
    photos = sorted((shared / "faces" / "train112" / "lfw").rglob("*.jpg"))[::8]
    return np.stack([np.asarray(Image.open(photo).convert("RGB")) for photo in photos[:count]])


def saved_again(face: Faces) -> Faces:
    content = io.BytesIO()
    Image.fromarray(face).save(content, "JPEG", quality=60)
    return np.asarray(Image.open(content))


def test_the_draw_repeats_no_face_and_follows_the_seed() -> None:
    faces = np.arange(50, dtype=np.uint8).reshape(50, 1, 1, 1)
    drawn = choose_calibration_faces(faces, 20, 0)
    assert len(np.unique(drawn)) == 20
    assert np.array_equal(drawn, choose_calibration_faces(faces, 20, 0))
    assert not np.array_equal(drawn, choose_calibration_faces(faces, 20, 1))
    assert np.array_equal(np.unique(choose_calibration_faces(faces, 200, 0)), np.arange(50))


def test_rendered_faces_are_in_order() -> None:
    assert lint(rendered(), ARCFACE) == []


def test_photos_are_in_order(shared: Path) -> None:
    assert lint(real(shared), ARCFACE) == []


def test_swapped_colours_are_suspected() -> None:
    assert [line for line in lint(rendered()[..., ::-1], ARCFACE) if "bluer than red, as BGR" in line]


def test_swapped_colours_of_photos_are_suspected(shared: Path) -> None:
    (sentence,) = lint(real(shared)[..., ::-1], ARCFACE)
    assert "bluer than red, as BGR" in sentence


def test_grey_photos_have_no_order_to_suspect() -> None:
    grey = rendered().mean(axis=3, keepdims=True).astype(np.uint8).repeat(3, axis=3)
    assert lint(grey, ARCFACE) == []


@pytest.mark.parametrize("turn", [lambda faces: np.roll(faces, 16, axis=1), lambda faces: faces[:, ::-1]])
def test_eyes_in_the_wrong_place_are_seen(turn: object) -> None:
    assert callable(turn)
    (sentence,) = lint(turn(rendered()), ARCFACE)
    assert sentence.startswith("the calibration faces show no eyes where the arcface template has them")


def test_few_faces_are_told() -> None:
    (sentence,) = lint(rendered()[:10], ARCFACE)
    assert sentence == "int8 ranges are set by 10 faces; 64 or more make them steadier"


def test_the_same_photo_saved_again_is_counted_once_per_copy() -> None:
    copies = np.stack([saved_again(face) for face in rendered()[:4]])
    (sentence,) = lint(np.concatenate([rendered(), copies, copies[:1]]), ARCFACE)
    assert sentence.startswith("5 of 71 calibration faces are nearly the same photo")


def test_verification_faces_among_them_are_counted() -> None:
    tested = np.stack([saved_again(face) for face in rendered()[60:]])
    assert lint(rendered()[:60], ARCFACE, tested)[1:] == []
    (sentence,) = lint(rendered(), ARCFACE, tested)
    assert sentence.startswith("6 of 66 calibration faces are in the verification pairs too")


def test_another_photo_of_the_same_person_is_another_photo() -> None:
    bits = hashes(rendered()[:30])
    between = (bits[:, None] != bits[None]).sum(axis=2) + 256 * np.eye(30, dtype=int)
    assert between.min() > 20
