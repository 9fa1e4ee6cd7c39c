"""The folder of an unfinished training: of another one, or damaged. Resuming itself is in test_pruner."""

import pytest

from pocketface.prune.pruner import prune
from pocketface.prune.recipe import PruneRecipe

QUICK = PruneRecipe(steps=2, epochs=4, epochs_between=2, batch_size=16, variants=2, images=48, learning_rate=1e-3)


def silent(line):
    pass


def test_a_folder_of_another_prune_is_refused(tiny, faces, tmp_path):
    prune(tiny, faces, QUICK, silent, resume=tmp_path)
    with pytest.raises(ValueError, match="begun with another embedder, recipe"):
        prune(tiny, faces, QUICK.model_copy(update={"seed": 1}), silent, resume=tmp_path)


def test_a_damaged_state_is_refused(tiny, faces, tmp_path):
    prune(tiny, faces, QUICK, silent, resume=tmp_path)
    (tmp_path / "state.safetensors").write_bytes(b"not tensors")
    with pytest.raises(ValueError, match="no unfinished training"):
        prune(tiny, faces, QUICK, silent, resume=tmp_path)
