"""The batches of a training, prepared by another thread while the network learns from the batch before."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...faces.contract import Faces
from ...models.embedder import Embedder
from .augmentation import Crops
from .losses import Signal

AHEAD = 2  # batches that are prepared before they are needed; more would only take memory

T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """What one process learns from in one step."""

    chosen: NDArray[np.int64]  # (n,) numbers of its crops
    inputs: Tensor  # (n, C, H, W), in the student's memory format
    targets: Tensor  # (n, ...) what the signal wants of them


class BatchMaker:
    """Makes the batches of one process, in turn."""

    def __init__(
        self, crops: Crops, student: Embedder, signal: Signal, numbers: Callable[[int], NDArray[np.int64]]
    ) -> None:
        """Takes what gives the numbers of the crops of each batch; none where there is no such batch."""
        self._crops, self._student, self._signal, self._numbers = crops, student, signal, numbers
        self._next: tuple[int, NDArray[np.int64], Faces] | None = None

    def __call__(self, batch: int) -> Batch:
        """Gives a batch; the crops of the one after it are made too, as a teacher embeds several at once."""
        chosen, pixels = self._made(batch)
        upcoming = self._made(batch + 1)
        self._next = (batch + 1, *upcoming)
        inputs = torch.from_numpy(self._student.contract.preprocess(pixels))
        inputs = inputs.contiguous(memory_format=self._student.memory_format)
        return Batch(chosen, inputs, self._signal.targets(chosen, pixels, *upcoming))

    def _made(self, batch: int) -> tuple[NDArray[np.int64], Faces]:
        if self._next is not None and self._next[0] == batch:
            return self._next[1:]
        numbers = self._numbers(batch)
        pixels = self._crops[numbers] if len(numbers) else np.empty((0, *self._crops.faces.shape[1:]), np.uint8)
        return numbers, pixels


def made_ahead(make: Callable[[int], T], numbers: range) -> Generator[T, None, None]:
    """Yields `make` of each number, in their order; another thread computes them, up to `AHEAD` ahead.

    That thread computes on one core, beside those that the network's own layers take. It is a thread and no process:
    Pillow, NumPy and torch release Python's lock while they compute, neither the teacher nor the faces are copied, and
    a network of somebody else's need not be one that can be sent to a process.
    """
    threads = torch.get_num_threads()
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(1, "batches", _take_one_core) as worker:
        worker.submit(lambda: None).result()
        torch.set_num_threads(threads)  # of this thread and of later ones; the worker keeps its own
        try:
            for number in numbers:
                waiting.append(worker.submit(make, number))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            worker.shutdown(cancel_futures=True)


def _take_one_core() -> None:
    torch.set_num_threads(1)
    torch.get_num_threads()  # a thread takes the number over when it first asks for it


def batches_of(epochs: float, faces: int, batch: int) -> int:
    """Counts the batches of `epochs`.

    >>> batches_of(2, 20, 8)
    5
    """
    return math.ceil(epochs * faces / batch)


class Order:
    """The crops of each batch: all of them once, then all again in another order."""

    def __init__(self, crops: int, size: int, seed: tuple[int, int]) -> None:
        """Takes the number of crops, the size of a batch, and what decides the order."""
        self._crops, self._size, self._seed = crops, size, seed
        self._round, self._order = -1, np.empty(0, np.int64)

    def __getitem__(self, batch: int) -> NDArray[np.int64]:
        """Gives the numbers (size,) of the crops of a batch."""
        in_round = self._crops // self._size
        if batch // in_round != self._round:
            self._round = batch // in_round
            self._order = np.random.default_rng((*self._seed, self._round)).permutation(self._crops)
        place = batch % in_round * self._size
        return self._order[place : place + self._size]
