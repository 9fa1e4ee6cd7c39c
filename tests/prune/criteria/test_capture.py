"""What hooks capture of a mini-batch, on numbers one sees."""

import torch
from torch import nn

from pocketface.prune.channels.groups import find_groups
from pocketface.prune.criteria.capture import Capture, capturing_gates


def test_gates_are_reduced_where_the_channels_are_read_and_leave_no_hook():
    backbone = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 1, 1, bias=False), nn.Flatten())
    backbone[1].weight.data = torch.tensor([3.0, 5.0]).view(1, 2, 1, 1)
    (group,) = find_groups(backbone, torch.zeros(1, 3, 1, 1))
    capture = Capture(backbone)
    with capturing_gates(capture, ["1"], lambda activation, gradient: gradient.sum(2)):
        backbone(torch.ones(4, 3, 1, 1)).sum().backward()
    assert capture.gates_of(group).tolist() == [[3.0, 5.0]] * 4  # the gradient of a reader's input is its weight
    assert not backbone[1]._forward_pre_hooks
    capture.clear()
    assert capture.gates_of(group).tolist() == [[0.0, 0.0]]
