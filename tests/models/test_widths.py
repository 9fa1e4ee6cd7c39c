"""Widths are read off a backbone and set on it."""

import pytest
import torch
from torch import nn

from pocketface.models.widths import resize, widths_of


def tiny() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.PReLU(8),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Flatten(),
        nn.LazyLinear(4),
    )


def test_widths_name_inputs_outputs_and_groups() -> None:
    backbone = tiny()
    backbone(torch.zeros(1, 3, 8, 8))
    assert widths_of(backbone) == {"0": [3, 8, 1], "1": [8], "2": [8], "3": [8, 8, 8], "5": [128, 4]}


def test_a_resized_backbone_runs_with_its_new_widths() -> None:
    backbone = tiny()
    backbone(torch.zeros(1, 3, 8, 8))
    resize(backbone, {"0": [3, 5, 1], "1": [5], "2": [5], "3": [5, 5, 5], "5": [80, 4]})
    assert backbone[0].weight.shape == (5, 3, 3, 3)
    assert backbone[1].running_var.shape == (5,)
    assert backbone(torch.zeros(1, 3, 8, 8)).shape == (1, 4)


@pytest.mark.parametrize(
    ("widths", "sentence"),
    [
        ({"0": [3, 0, 1]}, "layer '0' cannot be \\[3, 0, 1\\] wide"),
        ({"0": [3, 1 << 40, 1]}, "cannot be"),
        ({"0": [3, 4, 2]}, "cannot split 3 -> 4 channels into 2 groups"),
        ({"other": [3, 4, 1]}, "another architecture"),
    ],
)
def test_impossible_widths_are_refused_by_name(widths: dict[str, list[int]], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        resize(nn.Sequential(nn.Conv2d(3, 8, 3)), widths)
