"""Training signals: the embeddings of a teacher, or the labels of faces."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ...faces.folders import LabelledFaces
from ...models.embedder import Embedder, Embeddings, unit
from ..recipe import TrainingRecipe
from .augmentation import Crops
from .classifier_heads import ClassifierHead

LARGEST_CACHE = 1 << 29  # bytes of teacher embeddings in memory; beyond that they are computed anew for each batch


class Signal(nn.Module):
    """What the student's embeddings are trained towards; its own parameters are trained too."""

    def loss(self, embeddings: Tensor, chosen: NDArray[np.int64]) -> Tensor:
        """Gives a scalar for embeddings (n, D) of any length of the crops `chosen` (n,)."""
        raise NotImplementedError


class Distillation(Signal):
    """The student's embedding of a crop is trained to point where the teacher's does.

    The loss is 1 - cosine. Embeddings of different sizes cannot be compared one by one; then the loss is the mean
    squared difference of the cosines of all pairs in a batch. Source: Park et al., Relational Knowledge Distillation,
    CVPR 2019, with cosines for distances.
    """

    def __init__(self, teacher: Callable[[NDArray[np.int64]], Embeddings], size: int) -> None:
        """Takes what gives the teacher's embeddings by crop numbers, and their size."""
        super().__init__()
        self.teacher, self.size = teacher, size

    def loss(self, embeddings: Tensor, chosen: NDArray[np.int64]) -> Tensor:
        """Gives 1 - cosine, or the squared differences of similarities."""
        student = F.normalize(embeddings, dim=1)
        teacher = torch.from_numpy(self.teacher(chosen)).to(student.device)
        if student.shape[1] == self.size:
            return (1 - (student * teacher).sum(1)).mean()
        pairs = ~torch.eye(len(student), dtype=torch.bool, device=student.device)
        return (student @ student.T - teacher @ teacher.T)[pairs].square().mean()


class Classification(Signal):
    """A classifier on top of the embedder is trained to name the person; it is dropped afterwards."""

    def __init__(self, head: ClassifierHead, labels: NDArray[np.int64]) -> None:
        """Takes the head, and the labels (N,) of the faces."""
        super().__init__()
        self.head, self.labels = head, labels

    def loss(self, embeddings: Tensor, chosen: NDArray[np.int64]) -> Tensor:
        """Gives the head's cross-entropy."""
        labels = torch.from_numpy(self.labels[chosen % len(self.labels)]).to(embeddings.device)
        return self.head.loss(embeddings, labels)


def distillation(teacher: Embedder, crops: Crops, answers: Embeddings | None) -> Distillation:
    """Gives the signal of `teacher`; without `answers`, its embeddings of all crops, it embeds each batch anew."""
    if answers is not None:
        return Distillation(answers.__getitem__, answers.shape[1])
    return Distillation(lambda chosen: teacher.embed(crops[chosen], batch=16), teacher.embedding_size)


def classification(student: Embedder, faces: LabelledFaces, recipe: TrainingRecipe) -> Classification:
    """Gives the signal of labels: a head that starts with each person's mean embedding, less the mean of all people.

    Raises:
        ValueError: There are fewer than two people.
    """
    persons, labels = np.unique(faces.labels, return_inverse=True)
    if len(persons) < 2:
        raise ValueError(
            f"{recipe.signal} learns to tell people apart, and the faces are of {len(persons)}; give a folder per "
            "person, or use the signal distillation, which needs no labels"
        )
    sums = np.zeros((len(persons), student.embedding_size), np.float64)
    for part in np.array_split(np.arange(len(labels)), math.ceil(len(labels) / 512)):
        np.add.at(sums, labels[part], student.embed(faces.faces[part], batch=16))
    means = unit(sums.astype(np.float32))
    return Classification(ClassifierHead(recipe.signal, unit(means - means.mean(0))), labels)


def teacher_answers(teacher: Embedder, crops: Crops) -> Embeddings | None:
    """Gives `teacher`'s embeddings of all crops, each process computing a part; None if memory would not hold them."""
    from accelerate import Accelerator
    from accelerate.utils import gather_object

    if len(crops) * teacher.embedding_size * 4 > LARGEST_CACHE:
        return None
    with Accelerator().split_between_processes(np.arange(len(crops)).tolist()) as mine:
        numbers = np.array(mine, np.int64)
        rows = [
            teacher.embed(crops[part], batch=16)  # with larger batches, requesting memory from the system dominates
            for part in np.array_split(numbers, max(1, math.ceil(len(numbers) / 256)))
        ]
    return np.concatenate(gather_object([np.concatenate(rows)]))
