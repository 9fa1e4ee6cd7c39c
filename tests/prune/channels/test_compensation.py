"""Biases that take over what cut channels added on average."""

import torch
from torch import nn

from pocketface.prune.channels.compensation import absorb_means
from pocketface.prune.channels.groups import cut_channels, find_groups

FACES = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def without(backbone, channels):
    groups = find_groups(backbone, FACES[:1])
    gone = {group.name: torch.tensor(channels) for group in groups}
    absorb_means(backbone, groups, gone, [FACES[:8], FACES[8:]])
    cut_channels(backbone, groups, gone)
    return backbone(FACES)


def test_channels_that_never_change_can_go_without_a_trace():
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.Conv2d(8, 4, 4), nn.Flatten()).eval()
    backbone[0].weight.data[[1, 6]] = 0
    backbone[0].bias.data[[1, 6]] = torch.tensor([2.0, 5.0])
    torch.testing.assert_close(backbone(FACES), without(backbone, [1, 6]))


def test_the_mean_embedding_stays_whatever_goes_before_the_last_layer():
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(768, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    torch.testing.assert_close(backbone(FACES).mean(0), without(backbone, [0, 2, 3]).mean(0))


def test_without_biases_nothing_is_looked_at():
    backbone = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 4, bias=False), nn.Flatten())
    groups = find_groups(backbone, FACES[:1])
    absorb_means(backbone, groups, {"0": torch.tensor([1])}, iter(()))
