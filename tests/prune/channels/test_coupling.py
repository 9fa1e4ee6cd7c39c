"""Which channels must go together, in a network whose answer one sees."""

import torch
from torch import nn

from pocketface.prune.channels.coupling import coupled_channels


def test_a_filter_is_coupled_with_its_norm_and_the_input_that_reads_it():
    backbone = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 1, 8), nn.Flatten())
    coupled = [(channels.parts, channels.obstacle) for channels in coupled_channels(backbone, torch.zeros(1, 3, 8, 8))]
    for channel in (0, 1):
        assert ({("0", "out"): [channel], ("1", "through"): [channel], ("3", "in"): [channel]}, "") in coupled
    assert ({("3", "out"): [0]}, "they make the embedding") in coupled
    assert len(coupled) == 3
