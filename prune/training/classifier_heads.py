"""Classifier heads: they name the person on a face from its embedding during training, and are then dropped."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ..recipe import SignalName

SCALE = 64.0  # factor on cosines, in ArcFace and CosFace
ARCFACE_MARGIN = 0.5  # radians
COSFACE_MARGIN = 0.35
LEAST_SINE = 1e-3  # its derivative by the cosine is infinite at 0


def softmax_loss(embeddings: Tensor, labels: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Gives the cross-entropy of a linear layer on embeddings that are not normalised.

    Args:
        embeddings: (N, D), of any length.
        labels: (N,) int64.
        weight: (classes, D).
        bias: (classes,).

    Returns:
        A scalar, >= 0.

    Source: as in Alonso-Fernandez et al., SqueezerFaceNet, IWAIPR 2023, who train and prune with it.
    """
    return F.cross_entropy(F.linear(embeddings, weight, bias), labels)


def arcface_loss(
    embeddings: Tensor, labels: Tensor, weight: Tensor, bias: None = None, margin: float = ARCFACE_MARGIN
) -> Tensor:
    """Gives the cross-entropy of 64 times the cosines, with `margin` added to the angle of the right class.

    Beyond pi - `margin` the cosine would rise again; there it is continued by a falling line, as in the authors' code.

    Args:
        embeddings: (N, D); their length does not matter.
        labels: (N,) int64.
        weight: (classes, D); the length of its rows does not matter.
        bias: None: cosines have no bias.
        margin: Radians.

    Returns:
        A scalar, >= 0.

    Source: Deng et al., ArcFace, CVPR 2019, eq. 3 and sec. 3.1.
    """
    cosines = _cosines(embeddings, weight)
    right = cosines.gather(1, labels[:, None])
    sine = (1 - right.square()).clamp(min=LEAST_SINE**2).sqrt()
    turned = right * math.cos(margin) - sine * math.sin(margin)
    beyond = right - margin * math.sin(margin)
    harder = torch.where(right > -math.cos(margin), turned, beyond)
    return F.cross_entropy(SCALE * cosines.scatter(1, labels[:, None], harder), labels)


def cosface_loss(
    embeddings: Tensor, labels: Tensor, weight: Tensor, bias: None = None, margin: float = COSFACE_MARGIN
) -> Tensor:
    """Gives the cross-entropy of 64 times the cosines, with `margin` subtracted from that of the right class.

    The arguments are those of `arcface_loss`, but the margin is a cosine.

    Source: Wang et al., CosFace, CVPR 2018, eq. 4 and sec. 4.
    """
    cosines = _cosines(embeddings, weight)
    return F.cross_entropy(SCALE * (cosines - margin * F.one_hot(labels, len(weight))), labels)


LOSSES: dict[SignalName, Callable[..., Tensor]] = {
    "softmax": softmax_loss,
    "arcface": arcface_loss,
    "cosface": cosface_loss,
}
"""By signal, the loss (a scalar) of embeddings, labels, weight and bias."""


class ClassifierHead(nn.Module):
    """A row of weights for each person, with softmax a bias too."""

    def __init__(self, signal: SignalName, rows: NDArray[np.float32]) -> None:
        """Starts with a bias of zeros, where there is one.

        Args:
            signal: A key of `LOSSES`.
            rows: (classes, D): the mean unit embedding of each person, where the embedder knows faces already; else
                `random_rows`.

        Raises:
            ValueError: No such signal.
        """
        if signal not in LOSSES:
            raise ValueError(f"no head for the signal {signal!r}; known: {', '.join(sorted(LOSSES))}")
        super().__init__()
        self._loss = LOSSES[signal]
        self.weight = nn.Parameter(torch.from_numpy(rows).clone())
        self.bias = nn.Parameter(torch.zeros(len(rows))) if signal == "softmax" else None

    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Gives a scalar for embeddings (N, D) of any length and labels (N,)."""
        return self._loss(embeddings, labels, self.weight, self.bias)


def random_rows(classes: int, size: int, seed: int) -> NDArray[np.float32]:
    """Gives (classes, size) rows of unit length in any direction."""
    rows = np.random.default_rng(seed).standard_normal((classes, size))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def _cosines(embeddings: Tensor, weight: Tensor) -> Tensor:
    """(N, classes), -1 to 1 up to rounding."""
    return F.linear(F.normalize(embeddings, dim=1), F.normalize(weight, dim=1))
