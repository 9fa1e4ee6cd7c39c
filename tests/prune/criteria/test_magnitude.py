"""What weights alone say, by hand and beside Torch-Pruning's own importance."""

import pytest
import torch
import torch_pruning as tp
from torch import nn

from pocketface.prune.channels.groups import find_groups
from pocketface.prune.criteria.importance import channel_scorer

EXAMPLE = torch.zeros(1, 3, 8, 8)


def chain(rows, norm=False):
    """A convolution whose filters have the weights `rows`, and a reader."""
    weight = torch.tensor(rows, dtype=torch.float32)
    layers = [nn.Conv2d(3, len(rows), (1, weight.shape[1] // 3), bias=False)]
    layers[0].weight.data = weight.view(len(rows), 3, 1, -1)
    layers += [nn.BatchNorm2d(len(rows))] if norm else []
    return nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(len(rows), 4))


class Sum(nn.Module):
    """Two convolutions whose filters make the same channels."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.other = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 1)
        self.embedding = nn.Linear(8, 4)

    def forward(self, x):
        return self.embedding((self.one(x) + self.other(x)).mean((2, 3)))


def scored(criterion, backbone, seed=0):
    with channel_scorer(backbone, find_groups(backbone, EXAMPLE), criterion, seed) as scorer:
        scorer.observe()
    return scorer.scores()


def theirs(backbone, layer, scorer):
    graph = tp.DependencyGraph().build_dependency(backbone, EXAMPLE)
    return scorer(graph.get_pruning_group(layer, tp.prune_conv_out_channels, list(range(layer.out_channels))))


def test_l1_is_the_sum_of_absolute_weights_relative_to_the_mean():
    score = scored("l1", chain([[1, -1, 0], [3, 0, -1], [0, 6, 0]]))["0"]  # sums 2, 4, 6
    torch.testing.assert_close(score, torch.tensor([0.5, 1.0, 1.5]))


def test_l2_is_the_length_relative_to_the_mean():
    score = scored("l2", chain([[3, 0, 4], [0, -6, 8], [0, 0, 0]]))["0"]  # lengths 5, 10, 0
    torch.testing.assert_close(score, torch.tensor([1.0, 2.0, 0.0]))


def test_fpgm_gives_least_to_the_filter_between_the_others_and_not_to_the_smallest():
    score = scored("fpgm", chain([[0, 0, 0], [0, 1, 0], [0, 5, 0]]))["0"]  # distances 1 + 5, 1 + 4, 5 + 4
    torch.testing.assert_close(score, torch.tensor([6.0, 5.0, 9.0]) * 3 / 20)


def test_bn_scale_is_the_absolute_scale_relative_to_the_mean():
    backbone = chain([[1, 1, 1]] * 3, norm=True)
    backbone[1].weight.data = torch.tensor([1.0, -3.0, 2.0])
    torch.testing.assert_close(scored("bn-scale", backbone)["0"], torch.tensor([0.5, 1.5, 1.0]))


def test_bn_scale_without_batch_norms_says_what_would_do():
    with pytest.raises(ValueError, match="group '0' has none; l1, fpgm or gauss-newton would do"):
        scored("bn-scale", chain([[1, 2, 3]] * 4))


@pytest.mark.parametrize("criterion", ["l1", "l2", "fpgm"])
def test_weights_of_zero_rank_nothing(criterion):
    with pytest.raises(ValueError, match="group '0' are all zero"):
        scored(criterion, chain([[0, 0, 0]] * 4))


def test_random_is_drawn_for_each_seed_and_group():
    backbone = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 8), nn.Flatten()
    )  # groups "0" and "1"
    first, same, other = (scored("random", backbone, seed) for seed in (0, 0, 1))
    assert torch.equal(first["0"], same["0"])
    assert not torch.equal(first["0"], other["0"]) and not torch.equal(first["0"], first["1"])
    assert all(0 <= float(value) < 1 for value in first["0"])


def test_l1_is_torch_prunings_with_one_maker():
    torch.manual_seed(0)
    backbone = chain(torch.randn(16, 12).tolist())
    scorer = tp.importance.MagnitudeImportance(p=1, group_reduction="first", normalizer="mean")
    torch.testing.assert_close(scored("l1", backbone)["0"], theirs(backbone, backbone[0], scorer))


def test_l1_is_torch_prunings_with_two_makers():
    backbone = Sum()
    scorer = tp.importance.MagnitudeImportance(p=1, target_types=[nn.Conv2d])  # the reader is linear
    torch.testing.assert_close(scored("l1", backbone)["one"], theirs(backbone, backbone.one, scorer))


def test_l2_is_the_root_of_torch_prunings():
    backbone = Sum()
    scorer = tp.importance.MagnitudeImportance(p=2, normalizer=None, group_reduction="sum", target_types=[nn.Conv2d])
    root = theirs(backbone, backbone.one, scorer).sqrt()
    torch.testing.assert_close(scored("l2", backbone)["one"], root / root.mean())


@pytest.mark.parametrize("width", [16, 64])
def test_fpgm_is_torch_prunings_where_weights_are_not_negative(width):
    torch.manual_seed(0)
    backbone = chain(torch.rand(width, 12).tolist())
    scorer = tp.importance.FPGMImportance(p=1, group_reduction="first", normalizer="mean")
    torch.testing.assert_close(scored("fpgm", backbone)["0"], theirs(backbone, backbone[0], scorer))


def test_bn_scale_is_torch_prunings():
    torch.manual_seed(0)
    backbone = chain(torch.rand(16, 12).tolist(), norm=True)
    backbone[1].weight.data.normal_()
    expected = theirs(backbone, backbone[0], tp.importance.BNScaleImportance())
    torch.testing.assert_close(scored("bn-scale", backbone)["0"], expected)
