"""Crops that are varied, each by its own dice."""

import numpy as np
import pytest

from pocketface.prune.training.augmentation import Crops


@pytest.fixture
def faces():
    return np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3)).astype(np.uint8)


def test_the_first_crops_are_the_faces_themselves(faces):
    crops = Crops(faces, 3, seed=0)
    assert len(crops) == 60
    assert np.array_equal(crops[np.arange(20)], faces)
    assert crops[np.arange(20, 60)].shape == (40, 16, 16, 3) and crops[np.arange(20, 60)].dtype == np.uint8
    assert not np.array_equal(crops[np.arange(20, 40)], faces)


def test_a_crop_follows_from_the_seed_and_its_number_alone(faces):
    crops = Crops(faces, 3, seed=3)
    together = crops[np.array([25, 3, 58, 41])]
    for place, number in enumerate([25, 3, 58, 41]):
        assert np.array_equal(crops[np.array([number])][0], together[place])
    assert not np.array_equal(Crops(faces, 3, seed=4)[np.array([25])], together[:1])


def test_the_faces_are_not_written_to(faces):
    before = faces.copy()
    Crops(faces, 2, seed=0)[np.arange(20, 40)]
    assert np.array_equal(faces, before)


def test_a_varied_crop_still_resembles_its_face_or_its_mirror_image():
    ramp = np.linspace(20, 230, 112)
    face = np.stack([np.broadcast_to(ramp, (112, 112))] * 3, -1).astype(np.uint8)[None]
    crops = Crops(face, 41, seed=0)[np.arange(1, 41)][:, 40:72, 24:88].mean((1, 3))  # a band, left to right
    slopes = np.corrcoef(np.concatenate([crops, [ramp[24:88]]]))[-1, :-1]
    assert (np.abs(slopes) > 0.9).mean() > 0.9
    assert 0.2 < (slopes < 0).mean() < 0.8  # about half are mirrored


def test_a_second_face_is_read_only_where_it_is_mixed_in(faces):
    class Counted:
        shape, read = faces.shape, 0

        def __len__(self):
            return len(faces)

        def __getitem__(self, chosen):
            self.read += len(chosen)
            return faces[chosen]

    counted = Counted()
    crops = Crops(counted, 101, seed=0)[np.arange(20, 2020)]
    assert len(crops) == 2000
    assert 2000 * 1.07 < counted.read < 2000 * 1.13  # one in ten is mixed
