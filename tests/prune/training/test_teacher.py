"""What a teacher says of crops, asked in any order, by any company, and as often as one likes."""

import numpy as np
import pytest

from pocketface.models.zoo import create
from pocketface.prune.training import teacher as teaching
from pocketface.prune.training.losses import Distillation
from pocketface.prune.training.resumption import TrainingStore
from pocketface.prune.training.teacher import TeacherEmbeddings

NONE = np.empty(0, np.int64)


class Counting:
    """An embedder of two dimensions, whose embedding of a crop is its first two pixels; it counts crops."""

    embedding_size = 2

    def __init__(self):
        self.groups = []

    def embed(self, faces, batch):
        self.groups += [faces[i : i + batch, 0, 0, 0].tolist() for i in range(0, len(faces), batch)]
        return faces[:, 0, :2, 0].astype(np.float32) / 255


def crops_of(numbers):
    """Crops of 1x2 whose pixels are their number + 1."""
    return np.tile((np.asarray(numbers) + 1).astype(np.uint8)[:, None, None, None], (1, 1, 2, 3))


def asked(teacher, chosen, spare=NONE):
    chosen = np.asarray(chosen)
    return teacher.embed(chosen, crops_of(chosen), np.asarray(spare), crops_of(spare))


def test_each_crop_is_embedded_once_and_only_when_it_is_needed():
    counting = Counting()
    teacher = TeacherEmbeddings(counting, 100)
    assert counting.groups == []
    first, again = asked(teacher, range(16)), asked(teacher, range(15, -1, -1))
    assert counting.groups == [list(range(1, 17))]
    np.testing.assert_array_equal(first, again[::-1])
    np.testing.assert_array_equal(first[:, 0], np.arange(1, 17, dtype=np.float32) / 255)


def test_a_group_that_is_not_full_takes_crops_of_the_next_batch_and_then_repeats_one():
    counting = Counting()
    teacher = TeacherEmbeddings(counting, 100)
    asked(teacher, [3, 4], spare=[7, 8, 9])
    assert counting.groups == [[4, 5, 8, 9, 10] + [10] * 11]
    asked(teacher, [7, 9, 8])
    assert len(counting.groups) == 1  # they are known already


def test_crops_beyond_the_room_are_embedded_each_time(monkeypatch):
    monkeypatch.setattr(teaching, "LARGEST_CACHE", 10 * 2 * 4)  # ten crops of two floats
    counting = Counting()
    teacher = TeacherEmbeddings(counting, 1_000_000)
    assert asked(teacher, [9, 10])[:, 0].tolist() == asked(teacher, [9, 10])[:, 0].tolist()
    assert [group[0] for group in counting.groups] == [10, 11]


@pytest.mark.parametrize("name", ["mobilefacenet", "squeezefacenet"])
def test_an_embedding_has_the_same_bits_in_any_company(name):
    embedder = create(name)
    side = embedder.contract.height
    crops = np.random.default_rng(0).integers(0, 256, (40, side, side, 3)).astype(np.uint8)

    def told(*orders):
        teacher = TeacherEmbeddings(embedder, 40)
        for order in orders:
            teacher.embed(np.array(order), crops[order], NONE, crops[:0])
        return teacher.embed(np.arange(40), crops, NONE, crops[:0])

    one_by_one = told([7], [31], [3, 4, 39])
    np.testing.assert_array_equal(one_by_one, told(np.random.default_rng(1).permutation(40)))


def test_what_was_kept_is_known_to_the_next_run_and_to_no_other_teacher(tmp_path):
    store, counting = TrainingStore(tmp_path, "the training"), Counting()
    said = asked(TeacherEmbeddings(counting, 100, "a"), [5, 6])
    teacher = TeacherEmbeddings(counting, 100, "a")
    asked(teacher, [5, 6])
    store.save_teacher(Distillation(teacher))
    counting.groups.clear()
    same, other = TeacherEmbeddings(counting, 100, "a"), TeacherEmbeddings(counting, 100, "b")
    store.load_teacher(same)
    store.load_teacher(other)
    np.testing.assert_array_equal(asked(same, [6, 5]), said[::-1])
    assert counting.groups == []
    asked(other, [6, 5])
    assert len(counting.groups) == 1


def test_nothing_is_written_when_nothing_new_is_known(tmp_path):
    store, teacher = TrainingStore(tmp_path, "the training"), TeacherEmbeddings(Counting(), 100, "a")
    store.save_teacher(Distillation(teacher))
    assert list(tmp_path.iterdir()) == []
    asked(teacher, [1])
    store.save_teacher(Distillation(teacher))
    written = (tmp_path / "teacher.safetensors").stat().st_mtime_ns
    store.save_teacher(Distillation(teacher))
    assert (tmp_path / "teacher.safetensors").stat().st_mtime_ns == written
