"""Channels are scored by whatever passes through a network, which does not notice."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from pocketface.faces.contract import InputContract
from pocketface.models.embedder import Embedder
from pocketface.prune.channels.groups import find_groups
from pocketface.prune.criteria.importance import CRITERIA, ScoreSums, channel_scorer, importance

GRADIENTS = [name for name, criterion in CRITERIA.items() if criterion.signal in ("probe", "loss")]
EXAMPLE = torch.zeros(1, 3, 16, 16)


@dataclass(frozen=True)
class Faces:
    faces: np.ndarray
    labels: np.ndarray


@pytest.fixture
def faces():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3)).astype(np.uint8)
    return Faces(pixels, np.arange(40) % 10)


def two_layers(width=8):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, width, 4, 4), nn.ReLU(), nn.Conv2d(width, 4, 4), nn.Flatten())


class Small(nn.Module):
    """A bit of everything: batch norms, a depthwise convolution, a residual stream, a pooling, a linear end."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.block = nn.Sequential(
            nn.Conv2d(8, 12, 1), nn.BatchNorm2d(12), nn.PReLU(12),
            nn.Conv2d(12, 12, 3, 1, 1, groups=12), nn.BatchNorm2d(12), nn.PReLU(12),
            nn.Conv2d(12, 8, 1), nn.BatchNorm2d(8),
        )  # fmt: skip
        self.average = nn.AdaptiveAvgPool2d(2)
        self.embedding = nn.Linear(32, 4)

    def forward(self, x):
        x = self.stem(x)
        return self.embedding(self.average(x + self.block(x)).flatten(1))


def scored(criterion, backbone, faces, images=40, seed=0):
    embedder = Embedder("tiny", backbone, InputContract(16, 16), architecture="tests:tiny")
    return importance(criterion, embedder, find_groups(backbone, EXAMPLE), faces, images, seed)


@pytest.mark.parametrize("criterion", sorted(CRITERIA))
def test_every_group_is_scored_and_the_network_left_as_it_is(criterion, faces):
    backbone = Small()
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    backbone.embedding.weight.requires_grad_(False)
    scores = scored(criterion, backbone, faces)
    assert {name: (len(score), score.dtype) for name, score in scores.items()} == {
        "stem.0": (8, torch.float32),
        "block.0": (12, torch.float32),
    }
    assert all((score >= 0).all() and len(score.unique()) > 1 for score in scores.values()) or criterion == "bn-scale"
    assert all(torch.equal(before[key], tensor) for key, tensor in backbone.state_dict().items())
    assert [name for name, weight in backbone.named_parameters() if not weight.requires_grad] == ["embedding.weight"]
    assert all(parameter.grad is None for parameter in backbone.parameters())


@pytest.mark.parametrize("criterion", sorted(CRITERIA))
def test_training_does_not_notice_that_it_is_watched(criterion, faces):
    inputs = torch.from_numpy(InputContract(16, 16).preprocess(faces.faces))
    alone, watched = Small().train(), Small().train()
    loss = alone(inputs).square().sum()
    loss.backward()
    with channel_scorer(watched, find_groups(watched, EXAMPLE), criterion) as scorer:
        same = watched(inputs).square().sum()
        same.backward()
        scorer.observe()
        scorer.scores()
    assert torch.equal(loss, same)
    for one, other in zip(alone.parameters(), watched.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    for one, other in zip(alone.buffers(), watched.buffers(), strict=True):
        assert torch.equal(one, other)
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in watched.modules())


@pytest.mark.parametrize("criterion", sorted(CRITERIA))
def test_a_watch_that_was_interrupted_goes_on_where_it_was(criterion, faces):
    inputs = torch.from_numpy(InputContract(16, 16).preprocess(faces.faces)).split(10)

    def watched(parts, sums=None):
        backbone = Small().eval()
        with channel_scorer(backbone, find_groups(backbone, EXAMPLE), criterion, sums=sums) as scorer:
            for part in parts:
                backbone.zero_grad()
                backbone(part).square().sum().backward()
                scorer.observe()
            return scorer

    whole, half = watched(inputs), watched(inputs[:2])
    saved = ScoreSums({name: total.clone() for name, total in half.sums.totals.items()}, half.sums.batches)
    rest = watched(inputs[2:], saved)
    assert rest.sums.batches == 4
    assert all(torch.equal(whole.scores()[name], score) for name, score in rest.scores().items())


def test_scores_are_the_mean_over_mini_batches():
    backbone = two_layers()
    with channel_scorer(backbone, find_groups(backbone, EXAMPLE), "l1") as scorer:
        scorer.observe()
        once = scorer.scores()["0"]
        backbone[0].weight.data[:4] *= 3
        scorer.observe()
        changed = backbone[0].weight.detach().abs().sum((1, 2, 3))
    torch.testing.assert_close(scorer.scores()["0"], (once + changed / changed.mean()) / 2)


def test_there_are_no_scores_before_a_mini_batch():
    backbone = two_layers()
    with channel_scorer(backbone, find_groups(backbone, EXAMPLE), "l1") as scorer:
        with pytest.raises(ValueError, match="one at least would do"):
            scorer.scores()


@pytest.mark.parametrize("criterion", GRADIENTS)
def test_channels_that_nobody_reads_are_worth_nothing(criterion, faces):
    backbone = two_layers()
    backbone[2].weight.data[:, [2, 5]] = 0
    score = scored(criterion, backbone, faces)["0"]
    assert score[[2, 5]].tolist() == [0, 0]
    assert (score[[0, 1, 3, 4, 6, 7]] > 0).all()


@pytest.mark.parametrize("criterion", GRADIENTS)
def test_scores_of_zero_are_refused_by_the_name_of_their_group(criterion, faces):
    backbone = two_layers()
    backbone[2].weight.data.zero_()
    backbone[2].bias.data.fill_(1.0)
    with pytest.raises(ValueError, match="group '0' are all zero"):
        scored(criterion, backbone, faces)


@pytest.mark.parametrize("criterion", [*GRADIENTS, "l1", "l2", "fpgm"])
def test_scores_that_are_no_numbers_are_refused(criterion, faces):
    backbone = two_layers()
    backbone[0].weight.data[0] = float("inf")
    embedder = Embedder("tiny", backbone, InputContract(16, 16), architecture="tests:tiny")
    with pytest.raises(ValueError, match="group '0' are not finite"):
        importance(criterion, embedder, find_groups(two_layers(), EXAMPLE), faces, 40, 0)


@pytest.mark.parametrize("criterion", ["gauss-newton", "taylor", "feature-map", "random"])
def test_the_seed_decides(criterion, faces):
    backbone = Small()
    one, same, other = (scored(criterion, backbone, faces, 20, seed)["stem.0"] for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)


@pytest.mark.parametrize("criterion", ["gauss-newton", "taylor", "feature-map"])
def test_faces_may_be_read_when_they_are_wanted(criterion, faces):
    class Stored:
        def __len__(self):
            return len(faces.faces)

        def __getitem__(self, chosen):
            assert isinstance(chosen, slice) or chosen.dtype == np.int64
            return faces.faces[chosen]

    stored = scored(criterion, Small(), Faces(Stored(), faces.labels))
    assert all(torch.equal(stored[name], score) for name, score in scored(criterion, Small(), faces).items())


@pytest.mark.parametrize("criterion", ["taylor", "taylor-activation", "taylor-gate"])
def test_labels_without_two_images_of_anybody_are_refused(criterion, faces):
    with pytest.raises(ValueError, match="use gauss-newton"):
        scored(criterion, two_layers(), Faces(faces.faces, np.arange(40)))
