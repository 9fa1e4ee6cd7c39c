"""Synthetic faces: what is promised of them, and their geometry against shapes whose answer is known."""

import hashlib

import numpy as np
import pytest

from pocketface.faces.contract import TEMPLATES
from pocketface.faces.rendering.head import ROWS, Camera, HeadShape, meet
from pocketface.faces.rendering.person import Person, Shot, draw, draw_person
from pocketface.faces.rendering.photo import quantise_blocks
from pocketface.faces.rendering.synthetic import (
    MANY,
    Crowd,
    contact_sheet,
    face_landmarks,
    render_crowd,
    render_face,
    synthetic_faces,
)


@pytest.fixture(scope="module")
def crowd():
    """12 people, 8 shots each."""
    return synthetic_faces(12, 8, seed=5)


@pytest.mark.parametrize("size", [64, 112, 113, 224])
def test_a_face_has_the_size_that_was_asked_for(size):
    face = render_face(0, 0, size=size)
    assert (face.shape, face.dtype) == ((size, size, 3), np.uint8)


def test_the_same_numbers_give_the_same_bytes_whatever_was_rendered_before(crowd):
    faces, _ = crowd
    for identity in range(40, 50):
        render_face(identity, 0)
    assert hashlib.sha256(render_face(7, 3, seed=5)).digest() == hashlib.sha256(faces[7 * 8 + 3]).digest()


def test_another_shot_person_or_seed_gives_another_photo():
    photos = [render_face(1, 1, 1), render_face(1, 2, 1), render_face(2, 1, 1), render_face(1, 1, 2)]
    assert len({photo.tobytes() for photo in photos}) == 4


def test_faces_come_person_by_person_with_their_numbers():
    faces, labels = synthetic_faces(2, 3, first=30, size=32)
    assert (labels.tolist(), labels.dtype) == ([30, 30, 30, 31, 31, 31], np.int64)
    assert np.array_equal(faces[4], render_face(31, 1, size=32))


def test_many_faces_that_all_cores_render_are_those_of_one(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    people = MANY // 4 + 1
    faces, labels = synthetic_faces(people, 4, seed=2, size=(32, 28), first=9)
    assert np.array_equal(faces, render_crowd(Crowd(9, people, 4, 2, 32, 28)))
    assert labels.tolist() == [9 + row // 4 for row in range(4 * people)]
    again, _ = synthetic_faces(people, 4, seed=2, size=(32, 28), first=9)  # from the cache
    assert np.array_equal(again, faces) and len(list(tmp_path.rglob("*.npy"))) == 1


@pytest.mark.parametrize(
    ("cores", "people"),
    [(1, [(5, 3)]), (2, [(5, 1), (6, 2)]), (3, [(5, 1), (6, 1), (7, 1)]), (4, [(5, 1), (6, 1), (7, 1)])],
)
def test_each_core_renders_whole_people_and_none_renders_nobody(cores, people):
    shares = Crowd(5, 3, 4, 0, 112, 112).shares(cores)
    assert [(share.first, share.identities) for share in shares] == people


def test_no_people_give_no_faces():
    faces, labels = synthetic_faces(0, 5)
    assert (faces.shape, labels.shape) == ((0, 112, 112, 3), (0,))


def test_the_crowd_keeps_its_colours(crowd):
    """Taken when the renderer was last looked at; a change here makes other faces of the same numbers."""
    faces, _ = crowd
    assert faces.mean((0, 1, 2)) == pytest.approx([135.4, 113.3, 101.6], abs=0.5)


def test_the_contact_sheet_has_a_row_a_person_and_a_column_a_shot():
    sheet = contact_sheet(2, 3, seed=4)
    assert sheet.shape == (224, 336, 3)
    assert np.array_equal(sheet[112:, 224:], render_face(1, 2, seed=4))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"size": 31}, "no synthetic face has 31 pixels a side; 32 to 1024 are possible"),
        ({"size": 1025}, "no synthetic face has 1025 pixels a side; 32 to 1024 are possible"),
        ({"shot": -1}, "shot -1 is negative; synthetic faces are numbered from 0"),
        ({"identity": -2}, "identity -2 is negative; synthetic faces are numbered from 0"),
    ],
)
def test_what_cannot_be_rendered_is_said_in_a_sentence(arguments, said):
    with pytest.raises(ValueError, match=f"^{said}$"):
        render_face(**{"identity": 0, "shot": 0, **arguments})
    with pytest.raises(ValueError, match=f"^{said}$"):
        face_landmarks(**{"identity": 0, "shot": 0, **arguments})


def test_landmarks_lie_around_the_template():
    points = np.stack([face_landmarks(identity, shot) for identity in range(40) for shot in range(3)])
    assert points.mean(0) == pytest.approx(np.array(TEMPLATES["arcface"]), abs=1.0)
    assert np.abs(points - TEMPLATES["arcface"]).max() < 16  # a turned head's nose


def test_landmarks_scale_with_the_size():
    assert face_landmarks(3, 1, size=224) == pytest.approx(2 * face_landmarks(3, 1, size=112))


def test_pupils_are_darker_than_the_cheeks_below_where_the_landmarks_say():
    darker = 0
    for identity in range(30):
        grey = render_face(identity, 0).astype(float).mean(2)
        for x, y in np.rint(face_landmarks(identity, 0)[:2]).astype(int):
            pupil, cheek = grey[y - 1 : y + 2, x - 1 : x + 2], grey[y + 11 : y + 15, x - 5 : x + 6]
            darker += pupil.mean() < 0.85 * cheek.mean()
    assert darker >= 40  # of 60: some eyes are shut, shaded, or behind glasses


def test_a_person_is_recognised_in_the_mean_of_four_photos_but_not_in_single_pixels(crowd):
    faces, labels = crowd
    grey = faces[:, ::4, ::4].astype(float).mean(3).reshape(12, 8, -1)
    grey -= grey.mean(2, keepdims=True)
    halves = grey[:, :4].mean(1), grey[:, 4:].mean(1)
    assert (nearest(*halves) == np.arange(12)).sum() >= 6
    single = grey.reshape(96, -1)
    assert (labels[nearest(single, single, skip_itself=True)] == labels).mean() < 0.7


def nearest(left, right, skip_itself=False):
    """The index of the row of `right` with the greatest cosine, for each of `left`."""
    left, right = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (left, right))
    return (left @ right.T - 9 * skip_itself * np.eye(len(left), len(right))).argmax(1)


def test_bald_bearded_or_long_haired_depends_on_who_it_is():
    people = [draw_person(np.random.default_rng([0, number])) for number in range(300)]
    assert not [person for person in people if person.sex > 0 and (person.beard or person.bald)]
    assert all(person.bald in (0, 1) for person in people)
    assert 0.02 < np.mean([person.bald for person in people]) < 0.15


@pytest.mark.parametrize("kind", [Person, Shot])
def test_every_trait_is_a_finite_number(kind):
    traits = draw(kind, np.random.default_rng(1))
    assert all(type(value) is float and np.isfinite(value) for value in vars(traits).values())


@pytest.mark.parametrize(("yaw", "pitch"), [(0.0, 0.0), (0.5, 0.0), (-0.3, 0.2), (0.4, -0.3)])
def test_rays_meet_a_sphere_where_pythagoras_says(yaw, pitch):
    """A sphere of 80 mm looks the same from everywhere."""
    profile = np.sqrt(np.maximum(80**2 - ROWS**2, 0))
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    nod = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
    camera = Camera(nod @ turn, 0.5 + 0j, 56 + 56j)
    x, y = plane = camera.plane(112)
    surface = meet(HeadShape(profile, profile), camera, plane)
    distance, between = np.hypot(x, y), np.abs(y) < 50  # the poles of a table over y are no part of a face
    inner = between & (distance < 55)
    assert surface.depth[inner] == pytest.approx(np.sqrt(80**2 - distance[inner] ** 2), abs=2.0 if pitch else 0.1)
    assert (surface.inside[between & (distance < 76)] > 0).all()
    assert (surface.inside[between & (distance > 84)] < 0).all()


@pytest.mark.parametrize("size", [64, 113])
def test_squeezing_by_almost_nothing_changes_nothing(size):
    photo = np.random.default_rng(0).uniform(0, 255, (3, size, size))
    assert quantise_blocks(photo, 1e-9) == pytest.approx(photo, abs=1e-3)


def test_squeezing_hard_leaves_each_block_one_colour():
    """Steps of 1e4 round every wave away: what is left is the mid grey from which waves are counted."""
    photo = np.random.default_rng(0).uniform(0, 255, (3, 16, 16))
    assert np.ptp(quantise_blocks(photo, 1e4)) == pytest.approx(0, abs=1e-6)
