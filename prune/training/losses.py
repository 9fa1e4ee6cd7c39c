"""What a student is told: where its teacher's embeddings point, or who is on a face."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ...models.embedder import Embedder, Embeddings, unit
from ..criteria.importance import Labelled
from ..recipe import TrainingRecipe
from .augmentation import Crops
from .classifier_heads import Head, head_of

LARGEST_CACHE = 1 << 29  # bytes of embeddings that are kept; of more crops the teacher is asked anew each time


class Signal(Protocol):
    """What embeddings should be."""

    def loss(self, embeddings: Tensor, chosen: NDArray[np.int64]) -> Tensor:
        """Gives a scalar for embeddings (n, D) of any length of the crops `chosen` (n,)."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """What is trained besides the student."""

    def to(self, device: torch.device) -> None:
        """Goes to where the student is."""

    def state(self) -> dict[str, Tensor]:
        """What a resumed recovery needs of it; `load` takes it back."""

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what `state` gave."""


@dataclass
class Distillation:
    """The student's embedding of a crop shall point where the teacher's of the same crop does.

    The loss is 1 - cosine. Embeddings of another size cannot be compared one by one; then the similarities of all pairs
    of a batch are: the mean squared difference of the cosines. Source: Park et al., Relational Knowledge Distillation,
    CVPR 2019, with cosines for distances.
    """

    teacher: Callable[[NDArray[np.int64]], Embeddings]  # of crops
    size: int  # of the teacher's embeddings

    def loss(self, embeddings: Tensor, chosen: NDArray[np.int64]) -> Tensor:
        """Gives 1 - cosine, or the squared differences of similarities."""
        found = F.normalize(embeddings, dim=1)
        wanted = torch.from_numpy(self.teacher(chosen)).to(found.device)
        if found.shape[1] == self.size:
            return (1 - (found * wanted).sum(1)).mean()
        pairs = ~torch.eye(len(found), dtype=torch.bool, device=found.device)
        return (found @ found.T - wanted @ wanted.T)[pairs].square().mean()

    def parameters(self) -> Iterator[nn.Parameter]:
        """None."""
        return iter(())

    def to(self, device: torch.device) -> None:
        """Stays: answers are asked for where the teacher is."""

    def state(self) -> dict[str, Tensor]:
        """Nothing: a teacher does not learn."""
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Takes nothing."""


@dataclass
class Identification:
    """A classifier beside the embedder shall name the person; it is thrown away afterwards."""

    head: Head
    labels: NDArray[np.int64]  # (N,) of the faces

    def loss(self, embeddings: Tensor, chosen: NDArray[np.int64]) -> Tensor:
        """Gives the head's cross-entropy."""
        labels = torch.from_numpy(self.labels[chosen % len(self.labels)]).to(embeddings.device)
        return self.head.loss(embeddings, labels)

    def parameters(self) -> Iterator[nn.Parameter]:
        """The head's."""
        return self.head.parameters()

    def to(self, device: torch.device) -> None:
        """Moves the head."""
        self.head.to(device)

    def state(self) -> dict[str, Tensor]:
        """The head's weights."""
        return self.head.state_dict()

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Sets the head's weights."""
        self.head.load_state_dict(state)


def distillation(teacher: Embedder, crops: Crops, answers: Embeddings | None) -> Distillation:
    """Gives the signal of `teacher`, which is asked anew of each batch unless `answers` to all crops are there."""
    if answers is not None:
        return Distillation(answers.__getitem__, answers.shape[1])
    return Distillation(lambda chosen: teacher.embed(crops[chosen], batch=16), teacher.embedding_size)


def identification(student: Embedder, faces: Labelled, recipe: TrainingRecipe) -> Identification:
    """Gives the signal of labels: a head that starts with each person's mean embedding, less what all people share.

    Raises:
        ValueError: There are fewer than two people.
    """
    persons, labels = np.unique(faces.labels, return_inverse=True)
    if len(persons) < 2:
        raise ValueError(
            f"{recipe.signal} learns to tell people apart, and the faces are of {len(persons)}; give a folder per "
            "person, or use the signal distillation, which wants no labels"
        )
    sums = np.zeros((len(persons), student.embedding_size), np.float64)
    for part in np.array_split(np.arange(len(labels)), math.ceil(len(labels) / 512)):
        np.add.at(sums, labels[part], student.embed(faces.faces[part], batch=16))
    means = unit(sums.astype(np.float32))
    return Identification(head_of(recipe.signal, unit(means - means.mean(0))), labels)


def teach(teacher: Embedder, crops: Crops) -> Embeddings | None:
    """Asks `teacher` once about every crop, each process about its part; nothing if that would not fit in memory."""
    from accelerate import Accelerator
    from accelerate.utils import gather_object

    if len(crops) * teacher.embedding_size * 4 > LARGEST_CACHE:
        return None
    with Accelerator().split_between_processes(np.arange(len(crops)).tolist()) as mine:
        numbers = np.array(mine, np.int64)
        rows = [
            teacher.embed(crops[part], batch=16)  # larger batches spend their time fetching memory from the system
            for part in np.array_split(numbers, max(1, math.ceil(len(numbers) / 256)))
        ]
    return np.concatenate(gather_object([np.concatenate(rows)]))
