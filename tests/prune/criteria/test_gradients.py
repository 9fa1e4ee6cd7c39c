"""What gradients say, on weights whose answer one sees and by autograd spelt out."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torch_pruning as tp
from torch import nn

from pocketface.faces.contract import InputContract
from pocketface.models.embedder import Embedder
from pocketface.prune.channels.groups import find_groups
from pocketface.prune.criteria.importance import channel_scorer, importance
from pocketface.prune.criteria.scoring_passes import LOGIT_SCALE

EXAMPLE = torch.zeros(1, 3, 16, 16)


@dataclass(frozen=True)
class Faces:
    faces: np.ndarray
    labels: np.ndarray


@pytest.fixture
def faces():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3)).astype(np.uint8)
    return Faces(pixels, np.arange(40) % 10)


@pytest.fixture
def inputs(faces):
    return torch.from_numpy(InputContract(16, 16).preprocess(faces.faces))


def two_layers(width=8):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, width, 4, 4), nn.ReLU(), nn.Conv2d(width, 4, 4), nn.Flatten())


class Stream(nn.Module):
    """A residual stream of 8 channels that two layers make and two read; with or without batch norms."""

    def __init__(self, norm):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.stem_norm = nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8) if norm else nn.Identity()
        self.block, self.block_norm = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8) if norm else nn.Identity()
        self.embedding = nn.Conv2d(8, 4, 4)
        for layer in (self.stem_norm, self.block_norm):
            for weight in layer.parameters():
                nn.init.uniform_(weight, 0.2, 1)

    def forward(self, x, gate=1.0):
        x = gate * self.stem_norm(self.stem(x))
        x = x + gate * self.block_norm(self.block(x.relu()))
        return self.embedding(x).flatten(1)


def scored(criterion, backbone, faces, images=40, seed=0):
    embedder = Embedder("tiny", backbone, InputContract(16, 16), architecture="tests:tiny")
    return importance(criterion, embedder, find_groups(backbone, EXAMPLE), faces, images, seed)


def watched(criterion, backbone, batches, loss):
    """Scores while `loss` of the embeddings is backpropagated, a mini-batch after the other."""
    with channel_scorer(backbone, find_groups(backbone, EXAMPLE), criterion) as scorer:
        for batch in batches:
            backbone.zero_grad()
            loss(backbone(batch)).backward()
            scorer.observe()
    return scorer.scores()


def loss_of(embeddings):
    """Any loss that a mean over examples is."""
    return (embeddings.sin() * torch.tensor([1.0, -2.0, 3.0, 0.5])).sum(1).mean()


def test_taylor_is_the_squared_gradient_times_weight_summed_over_the_filter(faces):
    backbone = two_layers()
    score = scored("taylor", backbone, faces, images=20)["0"]  # one mini-batch
    # The same by hand: which faces, the mean embeddings as a head, autograd of the loss.
    chosen = np.random.default_rng(0).permutation(40)[:20]
    inputs = torch.from_numpy(InputContract(16, 16).preprocess(faces.faces))
    embeddings = F.normalize(backbone(inputs), dim=1)
    persons = sorted(set(faces.labels[chosen].tolist()))
    head = F.normalize(torch.stack([embeddings[faces.labels == person].mean(0) for person in persons]), dim=1).detach()
    targets = torch.tensor([persons.index(label) for label in faces.labels[chosen].tolist()])
    loss = F.cross_entropy(LOGIT_SCALE * embeddings[chosen] @ head.T, targets)
    (gradient,) = torch.autograd.grad(loss, backbone[0].weight)
    expected = (gradient * backbone[0].weight).square().sum((1, 2, 3)).detach()
    torch.testing.assert_close(score, expected, rtol=1e-3, atol=0)


def test_taylor_takes_a_person_for_the_mean_of_the_first_eight_images(faces):
    labels = np.repeat([0, 1], 20)
    pixels = faces.faces.copy()
    pixels[[19, 39]] = 0  # the last image of each person
    same = [scored("taylor", two_layers(), Faces(part, labels), images=3)["0"] for part in (faces.faces, pixels)]
    pixels[[3, 23]] = 0
    other = scored("taylor", two_layers(), Faces(pixels, labels), images=3)["0"]
    assert not {3, 19, 23, 39} & set(np.random.default_rng(0).permutation(40)[:3].tolist())
    assert torch.equal(*same) and not torch.equal(same[0], other)


def test_taylor_squares_each_mini_batch_and_then_takes_the_mean(inputs):
    # One weight a filter, one place, embedding = sum of the channels: the gradient of channel c is the mean input.
    backbone = nn.Sequential(
        nn.AvgPool2d(16),
        nn.Conv2d(3, 1, 1, bias=False),
        nn.Conv2d(1, 2, 1, bias=False),
        nn.Conv2d(2, 4, 1),
        nn.Flatten(),
    )
    backbone[1].weight.data.fill_(1 / 3)
    backbone[2].weight.data = torch.tensor([2.0, -3.0]).view(2, 1, 1, 1)
    backbone[3].weight.data.fill_(0.25)
    batches = [torch.full((2, 3, 16, 16), 1.0), torch.full((2, 3, 16, 16), -5.0)]
    score = watched("taylor", backbone, batches, lambda embeddings: embeddings.sum(1).mean())["2"]
    # (1 * 2)^2 and (-5 * 2)^2; (1 * 3)^2 and (5 * 3)^2
    assert score.tolist() == pytest.approx([(4 + 100) / 2, (9 + 225) / 2], rel=1e-5)


def test_taylor_adds_all_filters_that_make_a_channel(inputs):
    backbone = Stream(norm=True).eval()
    score = watched("taylor", backbone, [inputs], loss_of)["stem"]
    weights = (backbone.stem.weight, backbone.block.weight)
    gradients = torch.autograd.grad(loss_of(backbone(inputs)), weights)
    expected = sum((g * w).square().sum((1, 2, 3)) for g, w in zip(gradients, weights, strict=True)).detach()
    torch.testing.assert_close(score, expected, rtol=1e-4, atol=0)


def test_taylor_is_the_square_of_torch_prunings_where_a_filter_is_one_weight(inputs):
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 1, 1), nn.Conv2d(1, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 16), nn.Flatten())
    score = watched("taylor", backbone, [inputs], loss_of)["1"]
    graph = tp.DependencyGraph().build_dependency(backbone, EXAMPLE)
    loss_of(backbone(inputs)).backward()  # tracing leaves no gradients
    group = graph.get_pruning_group(backbone[1], tp.prune_conv_out_channels, list(range(8)))
    theirs = tp.importance.TaylorImportance(group_reduction="first", normalizer=None)(group)
    torch.testing.assert_close(score / score.mean(), theirs.square() / theirs.square().mean(), rtol=1e-4, atol=0)


def test_taylor_ranks_much_as_torch_prunings_does(inputs):
    backbone = two_layers(64)
    score = watched("taylor", backbone, [inputs], loss_of)["0"]
    graph = tp.DependencyGraph().build_dependency(backbone, EXAMPLE)
    loss_of(backbone(inputs)).backward()
    group = graph.get_pruning_group(backbone[0], tp.prune_conv_out_channels, list(range(64)))
    theirs = tp.importance.TaylorImportance(group_reduction="first", normalizer=None)(group)
    ranks = np.corrcoef(score.argsort().argsort().numpy(), theirs.argsort().argsort().numpy())
    assert ranks[0, 1] > 0.95


def test_taylor_activation_takes_the_absolute_value_of_each_examples_mean_over_places(inputs):
    backbone = two_layers()
    score = watched("taylor-activation", backbone, [inputs], loss_of)["0"]
    read = backbone[:2](inputs)
    (gradient,) = torch.autograd.grad(loss_of(backbone[2:](read)), read)
    change = (read * gradient).detach().numpy()  # (40, 8, 4, 4)
    expected = [np.mean([abs(change[n, c].mean()) for n in range(40)]) for c in range(8)]
    np.testing.assert_allclose(score, expected / np.sqrt(np.sum(np.square(expected))), rtol=1e-4)


def test_taylor_activation_adds_what_all_readers_read(inputs):
    backbone = Stream(norm=False)
    score = watched("taylor-activation", backbone, [inputs], loss_of)["stem"]
    first = backbone.stem(inputs)
    inside = first.relu()
    last = first + backbone.block(inside)
    for_block, for_end = torch.autograd.grad(loss_of(backbone.embedding(last).flatten(1)), (inside, last))
    change = (inside * for_block).mean((2, 3)) + (last * for_end).mean((2, 3))
    torch.testing.assert_close(score, F.normalize(change.abs().mean(0), dim=0).detach(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_taylor_gate_is_the_squared_gradient_of_a_gate_behind_all_norms_of_a_channel(norm, training, inputs):
    backbone, gated = Stream(norm).train(training), Stream(norm).train(training)
    score = watched("taylor-gate", backbone, inputs.split(20), loss_of)["stem"]
    squares = []
    for part in inputs.split(20):
        gate = torch.ones(8, 1, 1, requires_grad=True)
        (gradient,) = torch.autograd.grad(loss_of(gated(part, gate)), gate)
        squares.append(gradient.flatten().square())
    torch.testing.assert_close(score, torch.stack(squares).mean(0), rtol=1e-3, atol=1e-9)


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


def test_all_readers_of_a_channel_count_before_the_square(faces):
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

    score = scored("gauss-newton", Cancelling(), faces)["stem"]
    assert score[4] < 1e-9 * score.max() and (score[:4] > 0).all()
