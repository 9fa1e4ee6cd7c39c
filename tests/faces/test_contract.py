"""The input contract: literal pixels in, literal numbers out."""

import json

import numpy as np
import pytest

from pocketface.faces.contract import ARCFACE, IMAGENET, TEMPLATES, InputContract


def one_pixel(red, green, blue, size=8):
    return np.broadcast_to(np.uint8([red, green, blue]), (1, size, size, 3)).copy()


def test_rgb_keeps_the_order_and_takes_mean_and_scale_per_channel():
    contract = InputContract(8, 8, "rgb", mean=(1, 2, 3), scale=(10, 100, 1000))
    assert contract.preprocess(one_pixel(11, 22, 33))[0, :, 0, 0].tolist() == [100, 2000, 30000]


def test_bgr_swaps_the_pixels_and_its_mean_is_in_bgr_order():
    contract = InputContract(8, 8, "bgr", mean=(1, 2, 3), scale=(10, 100, 1000))
    assert contract.preprocess(one_pixel(11, 22, 33))[0, :, 0, 0].tolist() == [320, 2000, 8000]


def test_arcface_maps_the_pixel_range_to_minus_one_and_one():
    faces = np.zeros((2, 112, 112, 3), np.uint8)
    faces[1] = 255
    assert ARCFACE.preprocess(faces)[:, 0, 0, 0].tolist() == [-1, 1]


def test_imagenet_agrees_with_the_published_mean_and_deviation():
    got = IMAGENET.preprocess(one_pixel(200, 100, 0, size=112))[0, :, 5, 7]
    assert got == pytest.approx(
        [(200 / 255 - 0.485) / 0.229, (100 / 255 - 0.456) / 0.224, (0 - 0.406) / 0.225], abs=1e-6
    )


def test_preprocess_puts_channels_first_and_keeps_rows_and_columns():
    faces = np.zeros((1, 8, 9, 3), np.uint8)
    faces[0, 2, 5, 1] = 7
    got = InputContract(8, 9, mean=(0, 0, 0), scale=(1, 1, 1)).preprocess(faces)
    assert got.shape == (1, 3, 8, 9)
    assert got.dtype == np.float32
    assert got.flags["C_CONTIGUOUS"]
    assert np.argwhere(got).tolist() == [[0, 1, 2, 5]]


def test_no_faces_give_an_empty_batch():
    assert ARCFACE.preprocess(np.zeros((0, 112, 112, 3), np.uint8)).shape == (0, 3, 112, 112)


def test_a_looser_template_shows_the_face_smaller_about_the_middle():
    eye, *_ = InputContract(template="arcface-80").landmarks
    assert eye == pytest.approx([56 - 0.8 * 17.7054, 56 - 0.8 * 4.3037])


def test_faces_of_another_size_are_refused():
    with pytest.raises(ValueError, match="faces are 8x8, the embedder expects 112x112"):
        ARCFACE.preprocess(one_pixel(0, 0, 0))


@pytest.mark.parametrize(
    "faces",
    [
        np.zeros((1, 112, 112, 3), np.float32),
        np.zeros((112, 112, 3), np.uint8),
        np.zeros((1, 3, 112, 112), "u1"),
    ],
)
def test_what_is_no_batch_of_photos_is_refused(faces):
    with pytest.raises(ValueError, match="faces must be uint8"):
        ARCFACE.preprocess(faces)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"height": 4}, "input 4x112 is no size"),
        ({"width": 5000}, "input 112x5000 is no size"),
        ({"channel_order": "hsv"}, "no channel order 'hsv'; known: bgr, gray, rgb"),
        ({"mean": (1.0, 2.0)}, "three finite numbers"),
        ({"scale": (1.0, float("nan"), 1.0)}, "three finite numbers"),
        ({"scale": (1.0, 0.0, 1.0)}, "would blank a channel"),
        ({"template": "passport"}, "no landmark template 'passport'; known: arcface"),
    ],
)
def test_a_contract_that_no_network_could_mean_is_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        InputContract(**changes)


def test_a_contract_survives_json():
    contract = InputContract(160, 128, "bgr", (1.5, 2.5, 3.5), (0.1, 0.2, 0.3))
    assert InputContract.from_dict(json.loads(json.dumps(contract.to_dict()))) == contract


def test_an_unknown_key_names_the_known_ones():
    with pytest.raises(ValueError, match="input contract has no 'std'; known: channel_order, height, mean, scale"):
        InputContract.from_dict({"std": [1, 1, 1]})


def test_missing_keys_take_the_defaults():
    assert InputContract.from_dict({"channel_order": "bgr"}) == InputContract(channel_order="bgr")


def test_the_arcface_template_has_left_eye_left_and_mouth_below_nose():
    left_eye, right_eye, nose, left_mouth, right_mouth = TEMPLATES["arcface"]
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < nose[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
