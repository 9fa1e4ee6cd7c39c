"""Batches that another thread makes ahead."""

import threading
import time
from contextlib import closing

import numpy as np
import pytest
import torch

from pocketface.faces.contract import InputContract
from pocketface.models.embedder import Embedder
from pocketface.prune.training.augmentation import Crops
from pocketface.prune.training.batches import AHEAD, BatchMaker, Order, made_ahead
from pocketface.prune.training.losses import Signal


def test_they_come_in_their_order_and_no_more_are_made_than_said():
    made = []
    with closing(made_ahead(lambda number: made.append(number) or number, range(20))) as batches:
        assert next(batches) == 0
        time.sleep(0.1)
        assert max(made) <= AHEAD  # 0 is out, two wait
        assert list(batches) == list(range(1, 20))


def test_they_are_made_while_the_last_one_is_used():
    begun = threading.Event()

    def make(number):
        if number == 1:
            begun.set()
        return number

    with closing(made_ahead(make, range(3))) as batches:
        next(batches)
        assert begun.wait(10)


def test_an_error_in_making_one_is_raised_where_it_is_used():
    def make(number):
        if number == 1:
            raise ValueError("photo.jpg is damaged")
        return number

    with closing(made_ahead(make, range(3))) as batches:
        assert next(batches) == 0
        with pytest.raises(ValueError, match=r"photo\.jpg is damaged"):
            next(batches)


def test_the_thread_ends_with_the_one_who_asked():
    with closing(made_ahead(lambda number: number, range(1000))) as batches:
        next(batches)
        assert any(thread.name.startswith("batches") for thread in threading.enumerate())
    assert not any(thread.name.startswith("batches") for thread in threading.enumerate())


def test_the_thread_takes_one_core_and_leaves_the_others_their_number():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with closing(made_ahead(lambda number: torch.get_num_threads(), range(3))) as threads:
            assert list(threads) == [1, 1, 1]
        assert torch.get_num_threads() == 3
        with closing(made_ahead(lambda number: torch.get_num_threads(), range(1))) as threads:
            next(threads)
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


class Noting(Signal):
    """Wants nothing, and notes which crops it was asked about, and which come next."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def targets(self, chosen, crops, spare, spare_crops):
        assert len(chosen) == len(crops) and len(spare) == len(spare_crops)
        self.asked.append((chosen.tolist(), spare.tolist()))
        return torch.zeros(len(chosen))


def test_a_batch_has_the_inputs_of_its_crops_and_the_signal_hears_of_the_next():
    faces = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3)).astype(np.uint8)
    crops, contract, signal = Crops(faces, 2, seed=0), InputContract(16, 16), Noting()
    student = Embedder("tiny", torch.nn.Conv2d(3, 4, 16), contract, "none")
    plan = {0: [4, 7], 1: [11, 0]}
    make = BatchMaker(crops, student, signal, lambda batch: np.array(plan.get(batch, []), np.int64))
    first, second = make(0), make(1)
    assert signal.asked == [([4, 7], [11, 0]), ([11, 0], [])]
    for batch in (first, second):
        np.testing.assert_array_equal(batch.inputs.numpy(), contract.preprocess(crops[batch.chosen]))
        assert batch.inputs.is_contiguous(memory_format=torch.channels_last)


def test_a_round_shows_every_crop_once():
    order = Order(12, 4, (0, 0))
    rounds = [sorted(np.concatenate([order[batch] for batch in (i, i + 1, i + 2)]).tolist()) for i in (0, 3)]
    assert rounds == [list(range(12))] * 2 and order[0].tolist() != order[3].tolist()
    assert order[0].tolist() == Order(12, 4, (0, 0))[0].tolist()
