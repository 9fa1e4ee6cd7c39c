"""recover: the stage that trains without cutting."""

import threading

import numpy as np
import pytest
import torch

from pocketface.prune.recipe import TrainingRecipe
from pocketface.prune.training import trainer
from pocketface.prune.training.trainer import crops_of, recover, signal_of, store_of


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


def test_a_network_that_cannot_be_laid_out_channels_last_is_pruned_and_recovered_all_the_same(tiny, faces):
    class Viewing(type(tiny.backbone)):
        def forward(self, x):
            x = self.stem(x)
            x = x + self.block(x)
            return self.embedding(x.view(x.size(0), -1))  # over a map of 8x8, as many published networks do

    tiny.backbone.__class__ = Viewing
    assert tiny.memory_format == torch.contiguous_format
    trained = recover(tiny, faces, TrainingRecipe(epochs=1, batch_size=16), tiny, silent)
    assert trained.ancestry[-1]["phases"][0]["batches"] == 3


def test_a_teacher_asked_ahead_of_time_gives_the_same_bits_as_one_asked_when_needed(tiny, student, faces, tmp_path):
    recipe = TrainingRecipe(epochs=3, batch_size=20, variants=2)
    asked_when_needed = recover(student, faces, recipe, tiny, silent)
    crops, store = crops_of(student, faces, recipe, recipe.epochs), store_of(tmp_path)
    ahead, everything = signal_of(tiny, faces, crops, recipe, store, silent), np.arange(len(crops))
    ahead.targets(everything, crops[everything], everything[:0], crops[everything[:0]])
    store.save_teacher(ahead)
    asked_ahead = recover(student, faces, recipe, tiny, silent, resume=tmp_path)
    mine, other = asked_when_needed.backbone.state_dict(), asked_ahead.backbone.state_dict()
    assert all(torch.equal(mine[name], other[name]) for name in mine)


def test_nothing_is_embedded_that_is_never_used(tiny, faces, tmp_path):
    recipe = TrainingRecipe(epochs=0.5, batch_size=12, variants=6)
    recover(tiny, faces, recipe, tiny, silent, resume=tmp_path)
    crops = crops_of(tiny, faces, recipe, 1.0)
    signal = signal_of(tiny, faces, crops, recipe, store_of(tmp_path), silent)
    with signal.teacher.saving() as embeddings:
        assert embeddings.any(1).sum() == 24  # half of 48 faces


def test_a_training_that_is_broken_off_leaves_no_thread(tiny, faces, monkeypatch):
    monkeypatch.setattr(trainer, "SECONDS_BETWEEN_LINES", 0.0)

    def stop(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stopped:
        recover(tiny, faces, TrainingRecipe(epochs=30, batch_size=16), tiny, stop)
    assert stopped.traceback  # which holds on to every generator
    assert not any(thread.name.startswith("batches") for thread in threading.enumerate())
