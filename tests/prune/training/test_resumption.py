"""The folder of an unfinished training: of another one, or damaged. Resuming itself is in test_pruner."""

import pytest

from pocketface.prune.pruner import prune
from pocketface.prune.recipe import PruneRecipe
from pocketface.prune.training.resumption import forget_training

QUICK = PruneRecipe(steps=2, epochs=4, epochs_between=2, batch_size=16, variants=2, images=48, learning_rate=1e-3)


def silent(line):
    pass


def test_a_folder_of_another_prune_is_refused(tiny, faces, tmp_path):
    prune(tiny, faces, QUICK, silent, resume=tmp_path)
    with pytest.raises(ValueError, match="begun with another embedder, recipe"):
        prune(tiny, faces, QUICK.model_copy(update={"seed": 1}), silent, resume=tmp_path)


@pytest.mark.parametrize("name", ["state.safetensors", "teacher.safetensors"])
@pytest.mark.parametrize("left", [0, 7, -1])
def test_a_damaged_state_is_begun_anew_and_said(tiny, faces, tmp_path, name, left):
    first, said = prune(tiny, faces, QUICK, silent, resume=tmp_path), []
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:left])
    assert prune(tiny, faces, QUICK, said.append, resume=tmp_path).sha256 == first.sha256
    assert [line for line in said if f"{tmp_path / name} is damaged, and made again: " in line] == [said[0]]


def test_only_our_own_files_are_removed_when_a_training_is_over(tmp_path):
    for folder in ("ours", "shared"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "state.safetensors").touch()
        (tmp_path / folder / ".teacher.safetensors.part").touch()
    (tmp_path / "shared" / "mine.txt").touch()
    for folder in ("ours", "shared", "none"):
        forget_training(tmp_path / folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["shared", "mine.txt"]
