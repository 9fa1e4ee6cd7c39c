"""Dead maps and copies of others are worth nothing."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from pocketface.faces.contract import InputContract
from pocketface.models.embedder import Embedder
from pocketface.prune.channels.groups import find_groups
from pocketface.prune.criteria.importance import channel_scorer, importance

EXAMPLE = torch.zeros(1, 3, 16, 16)
RED, GREEN, BLUE, NONE = [1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [0.0, 0, 0]


@dataclass(frozen=True)
class Faces:
    faces: np.ndarray
    labels: np.ndarray


def noise(n=1, seed=0):
    """(n, 3, 16, 16) of 0..1: no two colours are alike."""
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def colours(filters, biases=None, reader=None):
    """Filters of a single pixel, a ReLU, and a reader."""
    convolution = nn.Conv2d(3, len(filters), 1)
    convolution.weight.data = torch.tensor(filters)[:, :, None, None]
    convolution.bias.data = torch.tensor(biases or [0.0] * len(filters))
    return nn.Sequential(convolution, nn.ReLU(), *(reader or (nn.Conv2d(len(filters), 4, 16), nn.Flatten())))


def scored(backbone, *batches, group="0"):
    with channel_scorer(backbone.eval(), find_groups(backbone, EXAMPLE), "feature-map") as scorer:
        for batch in batches:
            backbone(batch)
            scorer.observe()
    return scorer.scores()[group].tolist()


def close(*values):
    return pytest.approx(values, abs=2e-4)  # the tie between channels that are alive equally often


def test_dead_maps_and_copies_are_worth_nothing_and_the_first_of_a_pair_stays():
    backbone = colours([RED, [2.0, 0, 0], [-1.0, 0, 0], GREEN], [0.0, 1.0, 0.0, 0.0])
    assert scored(backbone, noise()) == close(1, 0, 0, 1)


def test_a_map_that_sums_up_to_little_is_dead_and_a_flat_one_that_sums_up_to_more_is_no_copy():
    # 256 places: 0.00007 each is 0.01792, 0.00009 each is 0.02304
    backbone = colours([RED, NONE, NONE, NONE], [0.0, 0.00007, 0.00009, 5.0])
    assert scored(backbone, noise()) == close(1, 0, 1, 1)


def test_a_dead_map_does_not_stand_for_its_copies():
    backbone = colours([[0.00001, 0, 0], RED, [3.0, 0, 0]])
    assert scored(backbone, noise()) == close(0, 1, 0)


def test_an_opposite_is_no_copy():
    assert scored(colours([RED, [-1.0, 0, 0]], [0.0, 1.0]), noise()) == close(1, 1)


def test_what_is_deactivated_in_eighty_of_a_hundred_faces_scores_at_most_two_tenths():
    pixels = np.random.default_rng(0).integers(1, 256, (100, 16, 16, 3)).astype(np.uint8)
    pixels[:80, :, :, 0] = 0
    pixels[:79, :, :, 1] = 0
    embedder = Embedder(
        "tiny", colours([RED, GREEN, BLUE]), InputContract(16, 16, mean=(0.0,) * 3, scale=(1 / 255,) * 3), "tests:tiny"
    )
    groups = find_groups(embedder.backbone, EXAMPLE)
    for seed in range(5):  # the faces are drawn in another order, and fall into other mini-batches
        score = importance("feature-map", embedder, groups, Faces(pixels, np.zeros(100, int)), 100, seed)["0"]
        assert (score <= 0.2).tolist() == [True, False, False]
        assert float(score[0]) <= 0.2 - 1e-6  # whatever it is compared with
        assert score.tolist() == close(0.2, 0.21, 1)


def test_of_channels_that_are_always_alive_the_fainter_one_scores_less():
    red, green, blue = scored(colours([[0.1, 0, 0], GREEN, [0, 0, 0.5]]), noise(3))
    assert red < blue < green <= 1


def test_correlations_are_those_of_every_pair():
    torch.manual_seed(0)
    base = torch.randn(6, 3)
    filters = torch.cat([base, base + 0.25 * torch.randn(6, 3), base + 0.25 * torch.randn(6, 3)])
    backbone = colours(filters.tolist(), [3.0] * 18)  # hardly anything is dead
    faces = noise(4)
    with torch.no_grad():
        maps = backbone[:2](faces).flatten(2).numpy()
    expected = np.zeros(18)
    for face in maps:
        for channel in range(18):
            copies = [np.corrcoef(face[channel], face[i])[0, 1] >= 0.95 for i in range(channel)]
            expected[channel] += not any(copies)
    assert 0 < expected.sum() / 4 < 17  # some are copies, some are not
    assert scored(backbone, faces) == close(*(expected / 4))


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("pooled", [False, True])
def test_maps_are_seen_after_the_activation_and_before_pooling(inplace, pooled):
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)] if pooled else [nn.Conv2d(4, 4, 16), nn.Flatten()]
    backbone = colours([RED, [2.0, 0, 0], [-1.0, 0, 0], GREEN])
    backbone = nn.Sequential(backbone[0], nn.BatchNorm2d(4, eps=0), nn.ReLU(inplace), *end)
    assert scored(backbone, noise()) == close(1, 0, 0, 1)


@pytest.mark.parametrize("kernel", [3, 16])
def test_a_depthwise_convolution_carries_a_map_on_unless_to_a_single_place(kernel):
    depthwise = nn.Conv2d(3, 3, kernel, padding=kernel % 2, groups=3)
    after = [depthwise, nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 14 if kernel == 3 else 1), nn.Flatten()]
    if kernel == 3:
        depthwise.weight.data.zero_()
        depthwise.bias.data.zero_()
        depthwise.weight.data[[0, 1, 2], 0, [1, 1, 1], [0, 2, 1]] = torch.tensor([1.0, 1.0, -1.0])
        after[-2] = nn.Conv2d(3, 4, 16)
    backbone = colours([RED, RED, GREEN], reader=after)
    # The 3x3 filters shift the first two copies apart, and turn the third's map below zero.
    assert scored(backbone, noise()) == (close(1, 1, 0) if kernel == 3 else close(1, 0, 1))


def test_a_channel_of_several_layers_goes_where_all_their_maps_are_deactivated():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = colours([RED, RED, NONE, NONE])[:2], colours([BLUE, GREEN, RED, NONE])[:2]
            self.embedding = nn.Conv2d(4, 4, 16)

        def forward(self, x):
            return self.embedding(self.one(x) + self.other(x)).flatten(1)

    assert scored(Sum(), noise(), group="one.0") == close(1, 1, 1, 0)


def test_a_layer_in_which_everything_is_dead_is_refused():
    with pytest.raises(ValueError, match="group '0' are all zero"):
        scored(colours([[-1.0, 0, 0], [0, -1.0, 0], NONE]), noise())
