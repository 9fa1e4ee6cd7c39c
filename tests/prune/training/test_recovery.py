"""A student that learns."""

import numpy as np
import pytest
import torch
from torch import nn

from pocketface.faces.contract import InputContract
from pocketface.faces.folders import LabelledFaces
from pocketface.models.embedder import Embedder
from pocketface.prune.recipe import TrainingRecipe
from pocketface.prune.training.augmentation import Crops
from pocketface.prune.training.losses import Distillation, classification
from pocketface.prune.training.recovery import learn, start_recovery
from pocketface.prune.training.teacher import TeacherEmbeddings


@pytest.fixture
def faces():
    return np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3)).astype(np.uint8)


def embedder(seed, size=4):
    torch.manual_seed(seed)
    layers = nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8), nn.PReLU(8), nn.Conv2d(8, size, 4), nn.Flatten()
    return Embedder("tiny", nn.Sequential(*layers).eval(), InputContract(16, 16), architecture="tests:tiny")


def taught_by(teacher, crops):
    return Distillation(TeacherEmbeddings(teacher, len(crops)))


class Saying(TeacherEmbeddings):
    """A teacher that says the same of each crop."""

    def __init__(self, value):
        self.value = value

    def embed(self, chosen, crops, spare, spare_crops):
        return np.full((len(chosen), 4), self.value, np.float32)


def ones(faces, variants=2):
    """Crops, and a signal that wants the same of each."""
    return Crops(faces, variants, seed=0), Distillation(Saying(0.5))


def learnt(student, signal, crops, recipe, epochs):
    return list(learn(student, signal, crops, recipe, epochs, 0, start_recovery(student, signal, recipe)))


def test_a_recovered_student_agrees_with_its_teacher(faces):
    teacher, student, recipe = embedder(0), embedder(1), TrainingRecipe(batch_size=8, learning_rate=0.01)
    crops = Crops(faces, 2, seed=0)
    before = (teacher.embed(faces) * student.embed(faces)).sum(1).mean()
    learnt(student, taught_by(teacher, crops), crops, recipe, 40)
    assert before < 0.5 and (teacher.embed(faces) * student.embed(faces)).sum(1).mean() > 0.8


def test_embeddings_of_another_size_learn_how_alike_faces_are(faces):
    teacher, student = embedder(0, size=4), embedder(1, size=6)
    recipe, crops = TrainingRecipe(batch_size=20, learning_rate=0.02), Crops(faces, 1, seed=0)

    def apart():
        ours, theirs = student.embed(faces), teacher.embed(faces)
        return np.square(ours @ ours.T - theirs @ theirs.T).mean()

    before = apart()
    learnt(student, taught_by(teacher, crops), crops, recipe, 60)
    assert apart() < 0.3 * before


@pytest.mark.parametrize("signal", ["softmax", "arcface", "cosface"])
def test_labels_teach_to_tell_people_apart(faces, signal):
    labels = np.arange(20) % 4
    student, recipe = embedder(1), TrainingRecipe(signal=signal, batch_size=10, learning_rate=0.01)
    labelled, crops = LabelledFaces(faces, labels, tuple("abcd"), "of the test"), Crops(faces, 1, seed=0)

    def contrast():
        similarity, same = student.embed(faces) @ student.embed(faces).T, labels[:, None] == labels
        return similarity[same].mean() - similarity[~same].mean()

    before = contrast()
    learnt(student, classification(student, labelled, recipe), crops, recipe, 60)
    assert contrast() > before + 0.2


def test_an_epoch_sees_as_many_crops_as_there_are_faces(faces):
    crops, signal = ones(faces)
    assert len(learnt(embedder(1), signal, crops, TrainingRecipe(batch_size=8), 2)) == 5  # 2 * 20 crops, 8 at a time


def test_no_epochs_leave_the_student_as_it_is(faces):
    student, (crops, signal) = embedder(1), ones(faces)
    before = {key: tensor.clone() for key, tensor in student.backbone.state_dict().items()}
    assert learnt(student, signal, crops, TrainingRecipe(), 0) == []
    assert all(torch.equal(before[key], tensor) for key, tensor in student.backbone.state_dict().items())


def test_the_learning_rate_warms_up_and_falls_to_a_hundredth(faces):
    student, recipe, (crops, signal) = embedder(1), TrainingRecipe(batch_size=10, learning_rate=1e-3), ones(faces)
    rates = [
        state.optimiser.param_groups[0]["lr"]
        for state in learn(student, signal, crops, recipe, 50, 0, start_recovery(student, signal, recipe))
    ]
    assert rates[0] == pytest.approx(0.05e-3) and max(rates) > 0.9e-3 and rates[-1] == pytest.approx(1e-5)


def test_torchs_own_generator_is_left_alone(faces):
    student, (crops, signal) = embedder(1), ones(faces)
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    learnt(student, signal, crops, TrainingRecipe(batch_size=8), 1)
    assert torch.equal(torch.rand(1), expected)


def test_a_loss_that_is_no_number_ends_the_training(faces):
    crops, _ = ones(faces)
    nowhere = Distillation(Saying(np.nan))
    with pytest.raises(ValueError, match="a lower learning rate"):
        learnt(embedder(1), nowhere, crops, TrainingRecipe(batch_size=8), 1)
