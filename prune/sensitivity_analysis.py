"""What each group of channels alone would cost: cut a share of it, and see how far the embeddings turn."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ..faces.contract import Faces
from ..faces.folders import FaceSource
from ..files import written_whole
from ..models.batch_norm import reestimate_batch_norms
from ..models.embedder import Embedder
from .channels.compensation import absorb_means
from .channels.groups import Group, cut, find_groups
from .channels.selection import in_scope
from .criteria.importance import Labelled, importance
from .recipe import PruneRecipe

SHARES = (0.125, 0.25, 0.5, 0.75)
FACES, AT_ONCE = 64, 32  # that batch norms are taken from, and as many others that drift is measured on


@dataclass(frozen=True)
class Sensitivity:
    """What is lost when one group alone loses some of its channels."""

    group: str
    layers: tuple[str, ...]  # the convolutions and linear layers that lose filters
    width: int
    cut: int  # channels that went, the least important first
    share: float  # cut / width
    drift: float  # 1 - mean cosine between the embeddings without the cut and with it
    accuracy: float | None = None  # verification accuracy with the cut, where it was measured


def sensitivity(
    embedder: Embedder,
    faces: Labelled,
    recipe: PruneRecipe,
    shares: Sequence[float] = SHARES,
    judge: Callable[[Embedder], float] | None = None,
    progress: Callable[[str], None] = print,
) -> list[Sensitivity]:
    """Gives, for each group alone and each share of it, how far the embeddings turn; nothing is trained.

    Batch norms are taken anew after each cut, as they are when an embedder is pruned. Other faces than those it was
    trained on change them too, by more than a small cut does, so the embeddings are compared with those of the whole
    network whose batch norms come from the same faces: drift is what the cut does, not what the faces do.

    Args:
        embedder: Left as it is.
        faces: Crops; labels matter to the criteria that say so.
        recipe: Its criterion, images, scope, round_to and seed are looked at.
        shares: Of a group's channels, in 0..1. What is left is a multiple of `round_to` where there is a near one.
        judge: Gives the verification accuracy of an embedder, in 0..1.
        progress: Gets a line for each group.

    Returns:
        By group in the order of the network, then by share, ascending.

    Raises:
        ValueError: Too few faces, a share that is none, nothing that can be cut, or scores that rank nothing.

    Source: Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017, sec. 3.2 and fig. 2, with drift for accuracy.
    """
    if not all(0 < share < 1 for share in shares):
        raise ValueError(f"a share to cut lies between 0 and 1, and {list(shares)} do not all; 0.25 is a quarter")
    looked_at, held_out = _parted(embedder, faces.faces, recipe.seed)
    groups = in_scope(find_groups(embedder.backbone, embedder.example()), embedder.backbone, recipe.scope)
    scores = importance(recipe.criterion, embedder, groups, faces, recipe.images, recipe.seed)
    whole = without(embedder, groups, {}, looked_at).embed(held_out)
    rows = []
    for number, group in enumerate(groups, 1):
        layers = tuple(share.layer for share in group.makers(embedder.backbone))
        order = torch.argsort(scores[group.name], stable=True)
        for count in counts_of(group.width, shares, recipe.round_to):
            smaller = without(embedder, groups, {group.name: order[:count]}, looked_at)
            drift = max(0.0, 1 - float((whole * smaller.embed(held_out)).sum(1, dtype=np.float64).mean()))
            accuracy = None if judge is None else judge(smaller)
            rows.append(Sensitivity(group.name, layers, group.width, count, count / group.width, drift, accuracy))
        told = ", ".join(f"{row.share:.0%} {row.drift:.4f}" for row in rows if row.group == group.name)
        progress(f"group {number} of {len(groups)}, {group.name}, {group.width} channels: drift without {told}")
    return rows


def counts_of(width: int, shares: Iterable[float], round_to: int) -> list[int]:
    """Gives how many of `width` channels to cut for each share, so that a multiple of `round_to` is left if it can be.

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


def without(
    embedder: Embedder, groups: Sequence[Group], gone: Mapping[str, Tensor], looked_at: Sequence[Tensor]
) -> Embedder:
    """Gives a copy of `embedder` without the channels `gone`, its means and batch norms taken from `looked_at`."""
    smaller = embedder.clone()
    absorb_means(smaller.backbone, groups, gone, looked_at)
    cut(smaller.backbone, groups, gone)
    if any(isinstance(layer, _BatchNorm) for layer in smaller.backbone.modules()):
        reestimate_batch_norms(smaller.backbone, looked_at)
    return smaller


def _parted(embedder: Embedder, faces: FaceSource, seed: int) -> tuple[list[Tensor], Faces]:
    """Chooses faces to take means from, in batches as the backbone wants them, and others to measure drift on."""
    count = min(FACES, len(faces) // 2)
    if count < 2:
        raise ValueError(f"what a cut costs is measured on faces, and {len(faces)} are too few; some hundred would do")
    chosen = np.random.default_rng(seed).permutation(len(faces))[: 2 * count]
    batches = np.array_split(chosen[:count], -(-count // AT_ONCE))
    looked_at = [torch.from_numpy(embedder.contract.preprocess(faces[batch])) for batch in batches]
    return looked_at, faces[chosen[count:]]


def write_sensitivity(rows: Iterable[Sensitivity], path: Path) -> Path:
    """Writes `rows` as a JSON list, whole or not at all, and gives `path`."""
    with written_whole(path) as beside:
        text = json.dumps([dataclasses.asdict(row) for row in rows], indent=1, ensure_ascii=False)
        beside.write_text(text + "\n", encoding="utf-8")
    return path


def read_sensitivity(path: Path) -> list[Sensitivity]:
    """Reads what `write_sensitivity` wrote.

    Raises:
        ValueError: The file is no such list.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return [Sensitivity(**{**row, "layers": tuple(row["layers"])}) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no sensitivities: {error}") from error
