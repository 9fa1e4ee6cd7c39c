"""Crops that are varied, and a student that learns."""

import numpy as np
import pytest
import torch
from torch import nn

from pocketface.faces.contract import InputContract
from pocketface.models.embedder import Embedder
from pocketface.prune.recipe import PruneRecipe
from pocketface.prune.recovery import Lessons, recover, start, teach, varied


@pytest.fixture
def faces():
    return np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3)).astype(np.uint8)


def embedder(seed):
    torch.manual_seed(seed)
    backbone = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8), nn.PReLU(8), nn.Conv2d(8, 4, 4), nn.Flatten())
    return Embedder("tiny", backbone.eval(), InputContract(16, 16), architecture="tests:tiny")


def test_the_first_crops_are_the_faces_themselves(faces):
    crops = varied(faces, 3, seed=0)
    assert crops.shape == (60, 16, 16, 3) and crops.dtype == np.uint8
    assert np.array_equal(crops[:20], faces) and not np.array_equal(crops[20:40], faces)


def test_crops_follow_from_the_seed(faces):
    assert np.array_equal(varied(faces, 2, seed=3), varied(faces, 2, seed=3))
    assert not np.array_equal(varied(faces, 2, seed=3), varied(faces, 2, seed=4))


def test_a_varied_crop_still_resembles_its_face_or_its_mirror_image():
    ramp = np.linspace(20, 230, 112)
    face = np.stack([np.broadcast_to(ramp, (112, 112))] * 3, -1).astype(np.uint8)[None]
    crops = varied(face, 41, seed=0)[1:, 40:72, 24:88].mean((1, 3))  # a band through the middle, left to right
    slopes = np.corrcoef(np.concatenate([crops, [ramp[24:88]]]))[-1, :-1]
    assert (np.abs(slopes) > 0.9).mean() > 0.9
    assert 0.2 < (slopes < 0).mean() < 0.8  # about half are mirrored


def test_a_recovered_student_agrees_with_its_teacher(faces):
    teacher, student, recipe = embedder(0), embedder(1), PruneRecipe(batch_size=8, learning_rate=0.01)
    crops = varied(faces, 2, seed=0)
    lessons = Lessons(crops, teach(teacher, crops), len(faces))
    before = (teacher.embed(faces) * student.embed(faces)).sum(1).mean()
    for _ in recover(student, lessons, recipe, epochs=40, stream=0, progress=start(student, recipe)):
        pass
    assert before < 0.5 and (teacher.embed(faces) * student.embed(faces)).sum(1).mean() > 0.8


def test_an_epoch_sees_as_many_crops_as_there_are_faces(faces):
    student, recipe = embedder(1), PruneRecipe(batch_size=8)
    lessons = Lessons(varied(faces, 2, seed=0), np.ones((40, 4), np.float32) / 2, len(faces))
    seen = list(recover(student, lessons, recipe, epochs=2, stream=0, progress=start(student, recipe)))
    assert len(seen) == 5  # 2 * 20 crops, 8 at a time


def test_no_epochs_leave_the_student_as_it_is(faces):
    student, recipe = embedder(1), PruneRecipe()
    before = {key: tensor.clone() for key, tensor in student.backbone.state_dict().items()}
    lessons = Lessons(faces, np.ones((20, 4), np.float32) / 2, len(faces))
    assert list(recover(student, lessons, recipe, epochs=0, stream=0, progress=start(student, recipe))) == []
    assert all(torch.equal(before[key], tensor) for key, tensor in student.backbone.state_dict().items())


def test_the_learning_rate_warms_up_and_falls_to_a_hundredth(faces):
    student, recipe = embedder(1), PruneRecipe(batch_size=10)
    lessons = Lessons(varied(faces, 2, seed=0), np.ones((40, 4), np.float32) / 2, len(faces))
    rates = [
        state.optimiser.param_groups[0]["lr"]
        for state in recover(student, lessons, recipe, epochs=50, stream=0, progress=start(student, recipe))
    ]
    assert rates[0] == pytest.approx(0.05e-3) and max(rates) > 0.9e-3 and rates[-1] == pytest.approx(1e-5)


def test_torchs_own_generator_is_left_alone(faces):
    student, recipe = embedder(1), PruneRecipe(batch_size=8)
    lessons = Lessons(faces, np.ones((20, 4), np.float32) / 2, len(faces))
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    list(recover(student, lessons, recipe, epochs=1, stream=0, progress=start(student, recipe)))
    assert torch.equal(torch.rand(1), expected)
