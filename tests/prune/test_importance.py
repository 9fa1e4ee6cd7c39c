"""What channels are worth, on weights whose answer one sees."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pocketface.faces.contract import InputContract
from pocketface.models.embedder import Embedder
from pocketface.prune.groups import find_groups
from pocketface.prune.importance import CRITERIA, LOGIT_SCALE


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


def scored(criterion, backbone, faces, images=40, seed=0):
    embedder = Embedder("tiny", backbone, InputContract(16, 16), architecture="tests:tiny")
    groups = find_groups(backbone, embedder.example())
    return CRITERIA[criterion](embedder, groups, faces, images, seed)


@pytest.mark.parametrize("criterion", sorted(CRITERIA))
def test_channels_that_nobody_reads_are_worth_nothing(criterion, faces):
    backbone = two_layers()
    backbone[2].weight.data[:, [2, 5]] = 0
    score = scored(criterion, backbone, faces)["0"]
    assert score[[2, 5]].tolist() == [0, 0]
    assert (score[[0, 1, 3, 4, 6, 7]] > 0).all()


def test_gauss_newton_gives_a_constant_channel_nothing_since_a_bias_can_replace_it(faces):
    backbone = two_layers()
    backbone[0].weight.data[3] = 0
    backbone[0].bias.data[3] = 5.0
    score = scored("gauss-newton", backbone, faces)["0"]
    assert score.argmin() == 3 and score[3] < 1e-9 * score.max()


def test_gauss_newton_grows_with_the_square_of_what_a_reader_makes_of_the_channel(faces):
    backbone = two_layers()
    backbone[2].weight.data[:, 6] = 3 * backbone[2].weight.data[:, 1]
    backbone[0].weight.data[6], backbone[0].bias.data[6] = backbone[0].weight.data[1], backbone[0].bias.data[1]
    score = scored("gauss-newton", backbone, faces)["0"]
    assert float(score[6] / score[1]) == pytest.approx(9.0, rel=1e-4)


def test_gauss_newton_predicts_the_rise_of_one_minus_cosine(faces):
    backbone = two_layers(16).eval()
    with torch.no_grad():
        backbone[2].weight *= torch.linspace(0.02, 0.3, 16)[None, :, None, None]
        backbone[2].bias.copy_(torch.tensor([3.0, -2.0, 1.0, 2.0]))  # a long embedding: small turns
    score = torch.stack([scored("gauss-newton", backbone, faces, seed=seed)["0"] for seed in range(40)]).mean(0)
    inputs = torch.from_numpy(InputContract(16, 16).preprocess(faces.faces))
    with torch.no_grad():
        hidden = backbone[:2](inputs)
        whole = F.normalize(backbone[2:](hidden), dim=1)
        rises = []
        for channel in range(16):
            without = hidden.clone()
            without[:, channel] = hidden[:, channel].mean()
            rises.append(float((1 - (F.normalize(backbone[2:](without), dim=1) * whole).sum(1)).mean()))
    assert np.corrcoef(score.numpy(), rises)[0, 1] > 0.95
    assert float(score.sum()) == pytest.approx(sum(rises), rel=0.3)


def test_all_readers_of_a_channel_count_before_the_square():
    class Cancelling(nn.Module):
        """Two readers whose sum forgets channel 4."""

        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.stem = nn.Conv2d(3, 8, 4, 4)
            self.one = nn.Conv2d(8, 4, 4)
            self.other = nn.Conv2d(8, 4, 4)
            self.other.weight.data[:, 4] = -self.one.weight.data[:, 4]

        def forward(self, x):
            x = self.stem(x)
            return (self.one(x) + self.other(x)).flatten(1)

    pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3)).astype(np.uint8)
    score = scored("gauss-newton", Cancelling(), Faces(pixels, np.zeros(40, int)))["stem"]
    assert score[4] < 1e-9 * score.max() and (score[:4] > 0).all()


def test_taylor_is_the_squared_gradient_times_weight_summed_over_the_filter(faces):
    backbone = two_layers()
    score = scored("taylor", backbone, faces, images=20)["0"]  # one mini-batch
    # The same by hand: which faces, the mean embeddings as a head, autograd of the loss.
    chosen = np.random.default_rng(0).permutation(40)[:20]
    inputs = torch.from_numpy(InputContract(16, 16).preprocess(faces.faces))
    unit = F.normalize(backbone(inputs), dim=1)
    persons = sorted(set(faces.labels[chosen].tolist()))
    head = F.normalize(torch.stack([unit[faces.labels == person].mean(0) for person in persons]), dim=1).detach()
    targets = torch.tensor([persons.index(label) for label in faces.labels[chosen].tolist()])
    loss = F.cross_entropy(LOGIT_SCALE * unit[chosen] @ head.T, targets)
    (gradient,) = torch.autograd.grad(loss, backbone[0].weight)
    expected = (gradient * backbone[0].weight).square().sum((1, 2, 3)).detach()
    torch.testing.assert_close(score, expected, rtol=1e-3, atol=0)


def test_taylor_without_two_images_of_anybody_says_what_would_do(faces):
    with pytest.raises(ValueError, match="use gauss-newton"):
        scored("taylor", two_layers(), Faces(faces.faces, np.arange(40)))


def test_the_seed_decides(faces):
    backbone = two_layers()
    one, same, other = (scored("gauss-newton", backbone, faces, 20, seed)["0"] for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)


@pytest.mark.parametrize("criterion", sorted(CRITERIA))
def test_scores_of_zero_are_refused_by_the_name_of_their_group(criterion, faces):
    backbone = two_layers()
    backbone[2].weight.data.zero_()
    backbone[2].bias.data.fill_(1.0)
    with pytest.raises(ValueError, match="group '0' are all zero"):
        scored(criterion, backbone, faces)


@pytest.mark.parametrize("criterion", sorted(CRITERIA))
def test_scores_that_are_no_numbers_are_refused(criterion, faces):
    backbone = two_layers()
    backbone[0].weight.data[0] = float("inf")
    embedder = Embedder("tiny", backbone, InputContract(16, 16), architecture="tests:tiny")
    groups = find_groups(two_layers(), embedder.example())
    with pytest.raises(ValueError, match="not finite"):
        CRITERIA[criterion](embedder, groups, faces, 40, 0)


def test_scoring_leaves_the_network_as_it_is(faces):
    backbone = two_layers()
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    backbone[0].weight.requires_grad_(False)
    for criterion in CRITERIA:
        scored(criterion, backbone, faces)
    assert all(torch.equal(before[key], tensor) for key, tensor in backbone.state_dict().items())
    assert [parameter.requires_grad for parameter in backbone.parameters()] == [False, True, True, True]
    assert all(parameter.grad is None for parameter in backbone.parameters())
