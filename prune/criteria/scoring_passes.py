"""The passes through a network that criteria score: which faces go forward, and what is backpropagated."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ...faces.contract import Faces
from ...faces.folders import FaceSource, LabelledFaces
from ...models.embedder import Embedder, unit

BATCH = 32
MAPS_AT_ONCE = 10  # faces whose feature maps are in memory at once
MATES = 8  # faces of a person that its mean embedding is taken from
LOGIT_SCALE = 16.0  # the logits of `loss_pass` are cosines times this


ScoringPass = Callable[[Embedder, LabelledFaces, int, int], Iterator[None]]
"""Takes an embedder, faces, how many of them, and a seed; yields after each mini-batch, for it to be scored."""


def weight_pass(embedder: Embedder, faces: LabelledFaces, images: int, seed: int) -> Iterator[None]:
    """Passes nothing, once: weights are scored as they are."""
    yield


def map_pass(embedder: Embedder, faces: LabelledFaces, images: int, seed: int) -> Iterator[None]:
    """Passes faces forward only."""
    generator = torch.Generator().manual_seed(seed)
    for batch in _split(_chosen(faces, images, generator), MAPS_AT_ONCE):
        with torch.no_grad():
            embedder.backbone(_inputs(embedder, faces.faces[batch]))
        yield


def probe_pass(embedder: Embedder, faces: LabelledFaces, images: int, seed: int) -> Iterator[None]:
    """Backpropagates <e/|e|, v> with a random direction v ~ N(0, I) for each face."""
    backbone, generator = embedder.backbone, torch.Generator().manual_seed(seed)
    for batch in _split(_chosen(faces, images, generator), BATCH):
        directions = F.normalize(backbone(_inputs(embedder, faces.faces[batch])), dim=1)
        random = torch.randn(directions.shape, generator=generator).to(directions)
        (directions * random).sum().backward()  # type: ignore[no-untyped-call]
        yield


def loss_pass(embedder: Embedder, faces: LabelledFaces, images: int, seed: int) -> Iterator[None]:
    """Backpropagates the cross-entropy of naming the person on each face.

    A released embedder comes without the head it was trained with. The head here has a closed form: for each person
    the mean unit embedding of the first 8 images, of unit length; logits are 16 times the cosine. Persons with one
    image are left out, as their mean is that image.

    Raises:
        ValueError: Fewer than two persons have two images.
    """
    persons, of_face, count = np.unique(faces.labels, return_inverse=True, return_counts=True)
    usable = np.flatnonzero(count[of_face] > 1)
    if len(np.unique(of_face[usable])) < 2:
        raise ValueError(
            f"the taylor criteria learn from labels, and of {len(persons)} persons fewer than two have two images; "
            "give more images of each, or use gauss-newton, which needs no labels"
        )
    chosen = np.random.default_rng(seed).permutation(usable)[:images]
    identities, targets = np.unique(of_face[chosen], return_inverse=True)
    backbone = embedder.backbone
    device = next(backbone.parameters()).device
    head = torch.from_numpy(_means(embedder, faces.faces, of_face, identities)).to(device)
    for part in _split(np.arange(len(chosen)), BATCH):
        backbone.zero_grad(set_to_none=True)
        cosines = F.normalize(backbone(_inputs(embedder, faces.faces[chosen[part]])), dim=1) @ head.T
        F.cross_entropy(LOGIT_SCALE * cosines, torch.from_numpy(targets[part]).to(device)).backward()  # type: ignore[no-untyped-call]
        yield
    backbone.zero_grad(set_to_none=True)


SCORING_PASSES: dict[str, ScoringPass] = {
    "weights": weight_pass,
    "maps": map_pass,
    "probe": probe_pass,
    "loss": loss_pass,
}


def _chosen(faces: LabelledFaces, images: int, generator: torch.Generator) -> NDArray[np.int64]:
    return torch.randperm(len(faces.faces), generator=generator)[:images].numpy()


def _split(chosen: NDArray[np.int64], most: int) -> list[NDArray[np.int64]]:
    """Splits evenly, so that no batch is too small for a mean."""
    return np.array_split(chosen, -(-len(chosen) // most))


def _inputs(embedder: Embedder, faces: Faces) -> Tensor:
    device = next(embedder.backbone.parameters()).device
    # Activations need gradients: where the weights have none, they must start at the input.
    return torch.from_numpy(embedder.contract.preprocess(faces)).to(device).requires_grad_(True)


def _means(
    embedder: Embedder, faces: FaceSource, of_face: NDArray[np.int64], identities: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Gives (identities, D): the mean embedding of each one's first faces, of unit length."""
    means = np.zeros((len(identities), embedder.embedding_size), np.float64)
    mates = np.flatnonzero(np.isin(of_face, identities))
    mates = mates[np.argsort(of_face[mates], kind="stable")]
    earlier = np.arange(len(mates)) - np.searchsorted(of_face[mates], of_face[mates])  # faces of the same person
    mates = mates[earlier < MATES]
    for part in _split(mates, 512):
        np.add.at(means, np.searchsorted(identities, of_face[part]), embedder.embed(faces[part], batch=BATCH))
    return unit(means.astype(np.float32))
