"""Warm starts: the fitting weights of a related network, such as one trained on ImageNet."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from ..files import sha256_of
from .embedder import Embedder
from .factories import read_weights
from .squeezefacenet import torchvision_names

LEAST_FIT = 0.5  # share of the parameters; a file that fits less is of another network

RENAMED: dict[str, Callable[[nn.Module], dict[str, str]]] = {"squeezefacenet": torchvision_names}
"""Zoo networks whose layers have other names than torchvision's, with the mapping."""


def warm_start(embedder: Embedder, path: Path) -> tuple[Embedder, tuple[str, ...]]:
    """Gives `embedder` with every tensor of `path` that fits by name and shape.

    Args:
        embedder: Of the zoo or of a factory; not changed.
        path: A safetensors file, or a torch file, read without running its code; with torchvision's names.

    Returns:
        The embedder, and the names of the tensors that the file lacks, which are unchanged.

    Raises:
        ValueError: The file cannot be read, or fits less than half of the parameters.
    """
    started = embedder.clone()
    own_name = RENAMED[embedder.architecture](started.backbone) if embedder.architecture in RENAMED else {}
    tensors = {own_name.get(name, name): tensor for name, tensor in read_weights(path).items()}
    own = started.backbone.state_dict()
    fitting = {name for name, tensor in own.items() if name in tensors and tensors[name].shape == tensor.shape}
    share = sum(own[name].numel() for name in fitting) / sum(tensor.numel() for tensor in own.values())
    if share < LEAST_FIT:
        raise ValueError(
            f"{path.name} fits {share:.0%} of {embedder.name}, too little to start from; "
            f"weights of {embedder.architecture} with torchvision's names would do"
        )
    for name in sorted(fitting):
        if tensors[name].is_floating_point() and not torch.isfinite(tensors[name]).all():
            raise ValueError(f"{path.name}: {name!r} holds numbers that are not finite")
    started.backbone.load_state_dict({name: tensors[name] for name in fitting}, strict=False)
    entry = {"stage": "warm start", "weights": path.name, "sha256": sha256_of(path), "taken": len(fitting)}
    left = tuple(name for name in own if name not in fitting and not name.endswith("num_batches_tracked"))
    return dataclasses.replace(started, ancestry=(*embedder.ancestry, entry)), left
