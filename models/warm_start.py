"""Warm starts: the fitting weights of a related network, such as one trained on ImageNet."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..files import sha256_of
from .checkpoint import WEIGHTS
from .embedder import Embedder
from .factories import build_foreign, read_weights
from .network_names import DESCRIPTION
from .reparameterisation import STAGE, is_fused, with_fused_modules
from .squeezefacenet import torchvision_names
from .state_dicts import without_prefix

LEAST_FIT = 0.5  # share of the parameters; a file that fits less is of another network

RENAMED: dict[str, Callable[[nn.Module], dict[str, str]]] = {"squeezefacenet": torchvision_names}
"""Zoo networks whose layers have other names than torchvision's, with the mapping."""


def warm_start(embedder: Embedder, path: Path) -> tuple[Embedder, tuple[str, ...]]:
    """Gives `embedder` with every tensor of `path` that fits by name and shape.

    Where branches of its network were fused, weights of the network with its branches fit too: they are taken before
    the branches are fused, as the published weights of such networks are.

    Args:
        embedder: Of the zoo or of a factory; not changed.
        path: A safetensors file, or a torch file, read without running its code; with torchvision's names. Or a
            checkpoint's folder.

    Returns:
        The embedder, and the names of the tensors that the file lacks, which are unchanged.

    Raises:
        ValueError: The file cannot be read, or fits less than half of the parameters.
    """
    file = path / WEIGHTS if (path / DESCRIPTION).is_file() else path
    given = read_weights(file)
    starts = [_Start.of(one, given) for one in (embedder, _with_branches(embedder)) if one is not None]
    best = max(starts, key=lambda start: start.share)
    if best.share < LEAST_FIT:
        raise ValueError(
            f"{path.name} fits {best.share:.0%} of {embedder.name}, too little to start from; "
            f"weights of {embedder.architecture} with torchvision's names would do"
        )
    entry = {"stage": "warm start", "weights": path.name, "sha256": sha256_of(file), "taken": len(best.fitting)}
    started, left = best.loaded(path.name)
    started = dataclasses.replace(started, ancestry=(*started.ancestry, entry))
    return (started if best is starts[0] else with_fused_modules(started)), left


@dataclass(frozen=True)
class _Start:
    """What of a file fits an embedder."""

    embedder: Embedder
    fitting: Mapping[str, Tensor]  # by the embedder's own names
    share: float  # of the embedder's numbers

    @classmethod
    def of(cls, embedder: Embedder, given: Mapping[str, Tensor]) -> _Start:
        own, backbone = embedder.backbone.state_dict(), embedder.backbone
        names = RENAMED[embedder.architecture](backbone) if embedder.architecture in RENAMED else {}
        tensors = without_prefix({names.get(name, name): tensor for name, tensor in given.items()}, own)
        fitting = {name: tensors[name] for name in own if name in tensors and tensors[name].shape == own[name].shape}
        share = sum(own[name].numel() for name in fitting) / sum(tensor.numel() for tensor in own.values())
        return cls(embedder, fitting, share)

    def loaded(self, file: str) -> tuple[Embedder, tuple[str, ...]]:
        started = self.embedder.clone()
        for name in sorted(self.fitting):
            if self.fitting[name].is_floating_point() and not torch.isfinite(self.fitting[name]).all():
                raise ValueError(f"{file}: {name!r} holds numbers that are not finite")
        started.backbone.load_state_dict(dict(self.fitting), strict=False)
        counters = "num_batches_tracked"
        own = started.backbone.state_dict()
        return started, tuple(name for name in own if name not in self.fitting and not name.endswith(counters))


def _with_branches(embedder: Embedder) -> Embedder | None:
    """Gives an embedder as it was before its branches were fused, with fresh numbers in them; None if none were.

    A pruned network has no branches to go back to.
    """
    if ":" not in embedder.architecture or not is_fused(embedder.ancestry) or embedder.pruned_from:
        return None
    backbone = build_foreign(embedder.architecture, embedder.options).eval()
    fresh, known = backbone.state_dict(), embedder.backbone.state_dict()
    same = {name: tensor for name, tensor in known.items() if name in fresh and fresh[name].shape == tensor.shape}
    backbone.load_state_dict(same, strict=False)
    ancestry = tuple(entry for entry in embedder.ancestry if entry.get("stage") != STAGE)
    return dataclasses.replace(embedder, backbone=backbone, ancestry=ancestry)
