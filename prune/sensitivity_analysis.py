"""Sensitivity: how far the embeddings turn when one group alone loses a share of its channels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..faces.contract import Faces
from ..faces.folders import FaceSource, LabelledFaces
from ..models.embedder import Embedder
from ..models.group_sensitivity import Sensitivity
from .channels.compensation import cut_keeping_means
from .channels.groups import Group, find_groups
from .channels.selection import groups_in_scope
from .criteria.importance import importance
from .recipe import PruneRecipe
from .training.fitted_norms import with_fitted_norms

SHARES = (0.125, 0.25, 0.5, 0.75)
FACES, AT_ONCE = 64, 32  # faces that batch norms are estimated on; drift is measured on as many others


def sensitivity(
    embedder: Embedder,
    faces: LabelledFaces,
    recipe: PruneRecipe,
    shares: Sequence[float] = SHARES,
    judge: Callable[[Embedder], float] | None = None,
    progress: Callable[[str], None] = print,
) -> list[Sensitivity]:
    """Gives, for each group alone and each share of it, how far the embeddings turn; nothing is trained.

    Batch norms are re-estimated after each cut, as in pruning. On other faces than the training set that alone changes
    the embeddings more than a small cut does; so they are compared with those of the uncut network, its batch norms
    estimated on the same faces: drift is the effect of the cut only.

    Args:
        embedder: Left as it is.
        faces: Crops; only the taylor criteria use their labels.
        recipe: Only its criterion, images, scope, round_to and seed are used.
        shares: Of a group's channels, in 0..1; the remaining width is rounded to a multiple of `round_to` if possible.
        judge: Gives the verification accuracy of an embedder, in 0..1.
        progress: Gets a line for each group.

    Returns:
        By group in the order of the network, then by share, ascending.

    Raises:
        ValueError: Too few faces, a share outside 0..1, nothing that can be cut, or scores that rank nothing.

    Source: Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017, sec. 3.2 and fig. 2, with drift for accuracy.
    """
    if not all(0 < share < 1 for share in shares):
        raise ValueError(f"shares to cut must be between 0 and 1, and {list(shares)} are not all; 0.25 is a quarter")
    embedder = with_fitted_norms(embedder, faces, recipe.seed)
    batches, held_out = _split_faces(embedder, faces.faces, recipe.seed)
    groups = groups_in_scope(find_groups(embedder.backbone, embedder.example()), embedder.backbone, recipe.scope)
    scores = importance(recipe.criterion, embedder, groups, faces, recipe.images, recipe.seed)
    uncut = copy_without(embedder, groups, {}, batches).embed(held_out)
    rows = []
    for number, group in enumerate(groups, 1):
        layers = tuple(share.layer for share in group.makers(embedder.backbone))
        order = torch.argsort(scores[group.name], stable=True)
        for count in counts_of(group.width, shares, recipe.round_to):
            smaller = copy_without(embedder, groups, {group.name: order[:count]}, batches)
            drift = max(0.0, 1 - float((uncut * smaller.embed(held_out)).sum(1, dtype=np.float64).mean()))
            accuracy = None if judge is None else judge(smaller)
            rows.append(Sensitivity(group.name, layers, group.width, count, count / group.width, drift, accuracy))
        drifts = ", ".join(f"{row.share:.0%} {row.drift:.4f}" for row in rows if row.group == group.name)
        progress(f"group {number} of {len(groups)}, {group.name}, {group.width} channels: drift without {drifts}")
    return rows


def counts_of(width: int, shares: Iterable[float], round_to: int) -> list[int]:
    """Gives how many of `width` channels to cut for each share, so that a multiple of `round_to` remains if possible.

    >>> counts_of(64, (0.125, 0.25, 0.3), round_to=8)
    [8, 16]
    >>> counts_of(12, (0.25, 0.5), round_to=8), counts_of(6, (0.25, 0.5), round_to=8)
    ([4], [2, 3])
    """
    counts = set()
    for share in shares:
        left = round(width * (1 - share) / round_to) * round_to
        near = width - left if 0 < left < width else round(width * share)
        counts.add(min(max(near, 1), width - 1))
    return sorted(counts - {0})


def copy_without(
    embedder: Embedder, groups: Sequence[Group], cuts: Mapping[str, Tensor], batches: Sequence[Tensor]
) -> Embedder:
    """Gives a copy of `embedder` without the channels `cuts`, its biases and batch norms fitted to `batches`."""
    smaller = embedder.clone()
    cut_keeping_means(smaller.backbone, groups, cuts, lambda: batches)
    return smaller


def _split_faces(embedder: Embedder, faces: FaceSource, seed: int) -> tuple[list[Tensor], Faces]:
    """Gives preprocessed batches of faces to estimate batch norms on, and other faces to measure drift on."""
    count = min(FACES, len(faces) // 2)
    if count < 2:
        raise ValueError(f"what a cut costs is measured on faces, and {len(faces)} are too few; some hundred would do")
    chosen = np.random.default_rng(seed).permutation(len(faces))[: 2 * count]
    batches = np.array_split(chosen[:count], -(-count // AT_ONCE))
    inputs = [torch.from_numpy(embedder.contract.preprocess(faces[batch])) for batch in batches]
    return inputs, faces[chosen[count:]]
