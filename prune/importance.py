"""What a channel is worth: what the embedding, or the identification, would lose without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ..faces.contract import Faces
from ..models.embedder import Embedder
from .groups import Group

BATCH = 32
LOGIT_SCALE = 16.0  # cosines times this are the logits of `taylor`


class Labelled(Protocol):
    """Crops and who is on them; `pocketface.faces.LabelledFaces` is one."""

    @property
    def faces(self) -> Faces:
        """(N, H, W, 3) uint8 RGB."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,)."""


def gauss_newton(
    embedder: Embedder, groups: Sequence[Group], labelled: Labelled, images: int, seed: int
) -> dict[str, Tensor]:
    """Scores each channel by how far the unit embeddings turn without it; wants no labels.

    The loss is 1 - cosine to the embedding as it is. There it is zero and so is its gradient: what the first order
    knows nothing about, the second does. Its Gauss-Newton matrix is the square of the unit embedding's Jacobian, and a
    random direction v sees that square's diagonal: E[(d<z, v>/d gate)^2] / 2 for z = e/|e|, v ~ N(0, I). The gate
    multiplies what a channel deviates from its mean, since the mean can be made up for, by the next batch norm
    or bias. It stands before every reader of the channel, and adds over readers and places before it is squared.

    Args:
        embedder: Left as it is, in eval mode.
        groups: Of its backbone.
        labelled: Faces; only the pixels are looked at.
        images: How many of them; 64 already rank nearly as 256 do.
        seed: Of the choice of images and of v.

    Returns:
        By group name, (width,) float32 >= 0: the expected rise of 1 - cosine.

    Raises:
        ValueError: A group's scores are not finite or all zero.

    Source: Gauss-Newton diagonal as in Hassibi & Stork, Optimal Brain Surgeon, NIPS 1992, for this loss.
    """
    backbone, generator = embedder.backbone, torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(labelled.faces), generator=generator)[:images].numpy()
    totals = {group.name: torch.zeros(group.width, dtype=torch.float64) for group in groups}
    readers = {share.layer for group in groups for share in group.readers}
    with _gates(backbone, readers) as gates:
        for batch in _batches(chosen):
            gates.clear()
            directions = F.normalize(backbone(_inputs(embedder, labelled.faces[batch])), dim=1)
            random = torch.randn(directions.shape, generator=generator).to(directions)
            (directions * random).sum().backward()  # type: ignore[no-untyped-call]
            for group in groups:
                gate = torch.zeros(len(batch), group.width, dtype=torch.float64)
                for share in group.readers:
                    if share.layer in gates:  # else the embedding does not depend on this reader
                        gate += gates[share.layer][:, share.index].sum(2)
                totals[group.name] += gate.square().sum(0) / (2 * len(chosen))
    return _sound({name: total.float() for name, total in totals.items()})


def taylor(
    embedder: Embedder, groups: Sequence[Group], labelled: Labelled, images: int, seed: int
) -> dict[str, Tensor]:
    """Scores each filter by sum (g w)^2 over its weights, averaged over mini-batches; g of the cross-entropy.

    A released embedder comes without the head it was trained with. The head here is the closed form of one: the mean
    unit embedding of each person, of unit length, and logits of 16 times the cosine. Persons with one image teach
    nothing, as their mean is that image, and are left out. The weights stay as they are while scores are taken.
    A channel that several filters make has their sum.

    Args and result as for `gauss_newton`.

    Raises:
        ValueError: Fewer than two persons have two images, or a group's scores are not finite or all zero.

    Source: Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR 2019, eq. 8, on weights.
    """
    persons, of_face, count = np.unique(labelled.labels, return_inverse=True, return_counts=True)
    usable = np.flatnonzero(count[of_face] > 1)
    if len(np.unique(of_face[usable])) < 2:
        raise ValueError(
            f"taylor learns from labels, and of {len(persons)} persons fewer than two have two images; "
            "give more images of each, or use gauss-newton, which wants no labels"
        )
    chosen = np.random.default_rng(seed).permutation(usable)[:images]
    identities, targets = np.unique(of_face[chosen], return_inverse=True)
    mates = np.flatnonzero(np.isin(of_face, identities))
    means = np.zeros((len(identities), embedder.embedding_size), np.float64)
    np.add.at(means, np.searchsorted(identities, of_face[mates]), embedder.embed(labelled.faces[mates]))
    backbone = embedder.backbone
    device = next(backbone.parameters()).device
    head = F.normalize(torch.from_numpy(means).float(), dim=1).to(device)

    totals = {group.name: torch.zeros(group.width) for group in groups}
    batches = _batches(np.arange(len(chosen)))
    with _evaluating(backbone, gradients=True):
        for part in batches:
            backbone.zero_grad(set_to_none=True)
            cosines = F.normalize(backbone(_inputs(embedder, labelled.faces[chosen[part]])), dim=1) @ head.T
            loss = F.cross_entropy(LOGIT_SCALE * cosines, torch.from_numpy(targets[part]).to(device))
            loss.backward()  # type: ignore[no-untyped-call]
            for group in groups:
                for share in group.makers(backbone):
                    weight = backbone.get_submodule(share.layer).weight
                    assert isinstance(weight, Tensor)
                    if weight.grad is not None:
                        squares = (weight.grad * weight.detach()).flatten(1).square().sum(1).cpu()
                        totals[group.name] += squares[share.index].sum(1) / len(batches)
        backbone.zero_grad(set_to_none=True)
    return _sound(totals)


Criterion = Callable[[Embedder, Sequence[Group], Labelled, int, int], dict[str, Tensor]]

CRITERIA: dict[str, Criterion] = {"gauss-newton": gauss_newton, "taylor": taylor}


def _sound(scores: dict[str, Tensor]) -> dict[str, Tensor]:
    # Scores of zero rank nothing, and the greedy selection would eat the first layers without a word.
    for name, score in scores.items():
        if not bool(torch.isfinite(score).all()):
            raise ValueError(f"the scores of group {name!r} are not finite; the network overflows on these faces")
        if not bool(score.any()):
            raise ValueError(f"the scores of group {name!r} are all zero; the embedding does not depend on it")
    return scores


def _inputs(embedder: Embedder, faces: Faces) -> Tensor:
    device = next(embedder.backbone.parameters()).device
    # A gradient is wanted of the activations: where the weights have none, it must start at the input.
    return torch.from_numpy(embedder.contract.preprocess(faces)).to(device).requires_grad_(True)


@contextmanager
def _evaluating(backbone: nn.Module, gradients: bool) -> Iterator[None]:
    """Puts `backbone` in eval mode, with or without gradients of its weights until the end."""
    wanted = [parameter.requires_grad for parameter in backbone.parameters()]
    backbone.eval().requires_grad_(gradients)
    try:
        with torch.enable_grad():
            yield
    finally:
        for parameter, want in zip(backbone.parameters(), wanted, strict=True):
            parameter.requires_grad_(want)


@contextmanager
def _gates(backbone: nn.Module, readers: set[str]) -> Iterator[dict[str, Tensor]]:
    """Gives, after a backward, by reader (N, inputs): the sum over places of (a - mean a) * gradient of a."""
    gates: dict[str, Tensor] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
        def before(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            own = inputs[0].view_as(inputs[0])  # one tensor may feed several readers: each has its own gradient
            channel = 1 if isinstance(layer, nn.Conv2d) else own.ndim - 1
            values = own.detach().movedim(channel, 1).flatten(2) if own.ndim > 2 else own.detach()[:, :, None]
            deviation = values - values.mean((0, 2), keepdim=True)

            def arrived(gradient: Tensor) -> None:
                gate = (deviation * gradient.movedim(channel, 1).reshape(values.shape)).sum(2).double().cpu()
                gates[name] = gates[name] + gate if name in gates else gate  # a reader may run twice

            own.register_hook(arrived)  # type: ignore[no-untyped-call]
            return (own, *inputs[1:])

        return before

    hooks = [backbone.get_submodule(name).register_forward_pre_hook(watch(name)) for name in sorted(readers)]
    try:
        with _evaluating(backbone, gradients=False):
            yield gates
    finally:
        for hook in hooks:
            hook.remove()


def _batches(chosen: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Splits evenly, so that no batch is too small for a mean."""
    return np.array_split(chosen, -(-len(chosen) // BATCH))
