"""recover: the stage that trains without cutting."""

import pytest

from pocketface.prune.recipe import TrainingRecipe
from pocketface.prune.training.trainer import recover


def silent(line):
    pass


def test_recover_wants_a_teacher_or_labels_not_both(tiny, faces):
    with pytest.raises(ValueError, match="distillation learns from a teacher"):
        recover(tiny, faces, TrainingRecipe(), None, silent)
    with pytest.raises(ValueError, match="needs labels, not a teacher"):
        recover(tiny, faces, TrainingRecipe(signal="arcface"), tiny, silent)


def test_recover_trains_a_student_from_another_teacher(tiny, student, faces):
    before = (student.embed(faces.faces) * tiny.embed(faces.faces)).sum(1).mean()
    trained = recover(student, faces, TrainingRecipe(epochs=30, batch_size=16, variants=2), tiny, silent)
    assert (trained.embed(faces.faces) * tiny.embed(faces.faces)).sum(1).mean() > before + 0.3
    assert trained.ancestry[-1]["teacher"]["name"] == "tiny"
