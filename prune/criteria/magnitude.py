"""Scores from the weights alone, without faces."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..channels.groups import Group
from .capture import Capture


def l1(capture: Capture, group: Group) -> Tensor:
    """Scores each channel by the sum of the absolute weights of its filters, relative to the group's mean.

    A channel that several layers make, in residual streams or by a depthwise convolution, has the sum of its filters.
    Layers of different fan-in differ in scale, so each group is divided by its mean to be comparable with the others.
    It is best ranked without dividing by cost again.

    Args:
        capture: The network.
        group: Coupled channels.

    Returns:
        (width,) float32 >= 0, of mean 1.

    Source: Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017, sec. 3.1. As Torch-Pruning's
    `MagnitudeImportance(p=1)` with `normalizer="mean"`, which by default adds batch norms and readers to the makers.
    """
    return _relative(sum((filters.abs().sum(1) for filters in _filters(capture, group)), torch.zeros(())))


def l2(capture: Capture, group: Group) -> Tensor:
    """Scores each channel by the Euclidean length of its filters, taken as one vector, relative to the group's mean.

    Otherwise as `l1`. Torch-Pruning's `MagnitudeImportance(p=2)` omits the root: the order within a group is the same,
    but its spread is wider beside the others.

    Source: He et al., Soft Filter Pruning, IJCAI 2018, with p = 2.
    """
    return _relative(sum((filters.square().sum(1) for filters in _filters(capture, group)), torch.zeros(())).sqrt())


def fpgm(capture: Capture, group: Group) -> Tensor:
    """Scores each channel by how far its filter is from the group's others: one near the middle can be replaced.

    That is the sum of its Euclidean distances to them, least at the geometric median. A channel that several layers
    make has the sum over the layers, each with its own distances. Relative to the group's mean as in `l1`.
    Torch-Pruning's `FPGMImportance` takes distances between |w|^p instead of w, which is equal for p = 1 and weights
    that are not negative.

    Source: He et al., Filter Pruning via Geometric Median, CVPR 2019.
    """
    return _relative(sum((torch.cdist(rows, rows).sum(1) for rows in _filters(capture, group)), torch.zeros(())))


def bn_scale(capture: Capture, group: Group) -> Tensor:
    """Scores each channel by the absolute scales of its batch norms, summed, relative to the group's mean.

    The source ranks the scales as they are, after training with a penalty on them; networks that were trained without
    it have scales that differ from layer to layer for other reasons.

    Raises:
        ValueError: The group has no batch norm.

    Source: Liu et al., Network Slimming, ICCV 2017, sec. 3.
    """
    scales = [
        layer.weight.detach()[share.index].abs().sum(1)
        for share in group.shares
        if isinstance(layer := capture.backbone.get_submodule(share.layer), nn.BatchNorm1d | nn.BatchNorm2d)
        and layer.affine
    ]
    if not scales:
        raise ValueError(
            f"bn-scale ranks by the scales of batch norms, and group {group.name!r} has none; "
            "l1, fpgm or gauss-newton would do"
        )
    return _relative(torch.stack(scales).sum(0))


def random(capture: Capture, group: Group) -> Tensor:
    """Scores each channel by a number drawn from 0..1: the same for the same seed and group."""
    generator = torch.Generator().manual_seed(capture.seed * 1_000_003 + zlib.crc32(group.name.encode()))
    return torch.rand(group.width, generator=generator)


def _filters(capture: Capture, group: Group) -> Iterator[Tensor]:
    """Yields, for each layer that makes the channels, (width, weights of a channel)."""
    for share in group.makers(capture.backbone):
        weight = capture.backbone.get_submodule(share.layer).weight
        assert isinstance(weight, Tensor)
        yield weight.detach()[share.index].flatten(1)


def _relative(scores: Tensor) -> Tensor:
    # A group of zeros stays zero; `ChannelScorer.scores` then names it in an error.
    return scores / scores.mean().clamp_min(torch.finfo(scores.dtype).tiny)
