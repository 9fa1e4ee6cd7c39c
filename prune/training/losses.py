"""Training signals: the embeddings of a teacher, or the labels of faces."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ...faces.contract import Faces
from ...faces.folders import LabelledFaces
from ...models.embedder import Embedder, unit
from ..recipe import TrainingRecipe
from .classifier_heads import ClassifierHead
from .teacher import TeacherEmbeddings


class Signal(nn.Module):
    """What the student's embeddings are trained towards; its own parameters are trained too."""

    def targets(self, chosen: NDArray[np.int64], crops: Faces, spare: NDArray[np.int64], spare_crops: Faces) -> Tensor:
        """Gives what is wanted of crops: (n, ...).

        It is called ahead of `loss`, by another thread.

        Args:
            chosen: (n,) numbers of the crops.
            crops: (n, H, W, 3).
            spare: (m,) numbers of the crops of the next batch.
            spare_crops: (m, H, W, 3).
        """
        raise NotImplementedError

    def loss(self, embeddings: Tensor, targets: Tensor) -> Tensor:
        """Gives a scalar for embeddings (n, D) of any length, and what is wanted of them."""
        raise NotImplementedError

    def share(self, chosen: NDArray[np.int64], targets: Tensor) -> None:
        """Takes the targets that several processes made, each a part; does nothing unless they took time."""


class Distillation(Signal):
    """The student's embedding of a crop is trained to point where the teacher's does.

    The loss is 1 - cosine. Embeddings of different sizes cannot be compared one by one; then the loss is the mean
    squared difference of the cosines of all pairs in a batch. Source: Park et al., Relational Knowledge Distillation,
    CVPR 2019, with cosines for distances.
    """

    def __init__(self, teacher: TeacherEmbeddings) -> None:
        """Takes what knows the teacher's embeddings."""
        super().__init__()
        self.teacher = teacher

    def targets(self, chosen: NDArray[np.int64], crops: Faces, spare: NDArray[np.int64], spare_crops: Faces) -> Tensor:
        """Gives the teacher's embeddings (n, D), of unit length."""
        return torch.from_numpy(self.teacher.embed(chosen, crops, spare, spare_crops))

    def loss(self, embeddings: Tensor, targets: Tensor) -> Tensor:
        """Gives 1 - cosine, or the squared differences of similarities."""
        student = F.normalize(embeddings, dim=1)
        if student.shape[1] == targets.shape[1]:
            return (1 - (student * targets).sum(1)).mean()
        pairs = ~torch.eye(len(student), dtype=torch.bool, device=student.device)
        return (student @ student.T - targets @ targets.T)[pairs].square().mean()

    def share(self, chosen: NDArray[np.int64], targets: Tensor) -> None:
        """Keeps what other processes' teachers made."""
        self.teacher.keep(chosen, targets.cpu().numpy())


class Classification(Signal):
    """A classifier on top of the embedder is trained to name the person; it is dropped afterwards."""

    def __init__(self, head: ClassifierHead, labels: NDArray[np.int64]) -> None:
        """Takes the head, and the labels (N,) of the faces."""
        super().__init__()
        self.head, self.labels = head, labels

    def targets(self, chosen: NDArray[np.int64], crops: Faces, spare: NDArray[np.int64], spare_crops: Faces) -> Tensor:
        """Gives the labels (n,)."""
        return torch.from_numpy(self.labels[chosen % len(self.labels)])

    def loss(self, embeddings: Tensor, targets: Tensor) -> Tensor:
        """Gives the head's cross-entropy."""
        return self.head.loss(embeddings, targets)


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
