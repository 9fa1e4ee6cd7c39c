"""Batch norms: what they remember of the activations, taken anew."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def reestimate_batch_norms(backbone: nn.Module, batches: Iterable[Tensor]) -> None:
    """Sets all running means and variances of `backbone` to their averages over `batches`.

    A fresh network remembers mean 0 and variance 1, a pruned one what its removed channels used to add;
    neither is what its layers see. Every batch counts the same. Dropout stays off; momentum and train or eval
    mode stay as they were.

    Args:
        backbone: Changed in place. Batch norms that track nothing are passed over.
        batches: Each (N, 3, H, W) float32, preprocessed, N > 1.

    Raises:
        ValueError: There is no batch.
    """
    rest = iter(batches)
    first = next(rest, None)
    if first is None:
        raise ValueError("batch norms cannot be re-estimated from no batch at all; give at least one")
    norms = [norm for norm in backbone.modules() if isinstance(norm, _BatchNorm) and norm.track_running_stats]
    device = next(backbone.parameters()).device
    modes = {module: module.training for module in backbone.modules()}
    momenta = [norm.momentum for norm in norms]
    backbone.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for: the plain average of all batches
        norm.train()
    try:
        for batch in chain([first], rest):
            backbone(batch.to(device))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, training in modes.items():
            module.training = training
