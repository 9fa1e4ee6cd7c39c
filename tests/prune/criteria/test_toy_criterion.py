"""A criterion is one function and one line: this one scores a channel by the largest weight of its filters."""

import pytest
import torch
from torch import Tensor, nn

from pocketface.faces.contract import InputContract
from pocketface.faces.folders import LabelledFaces, content_sha256
from pocketface.faces.rendering.synthetic import synthetic_faces
from pocketface.models.embedder import Embedder
from pocketface.prune.channels.groups import Group, find_groups
from pocketface.prune.criteria import importance as module
from pocketface.prune.criteria.capture import Capture
from pocketface.prune.criteria.importance import CRITERIA, Criterion, channel_scorer
from pocketface.prune.pruner import prune
from pocketface.prune.recipe import PruneRecipe

NAME = "largest-weight"


def largest_weight(capture: Capture, group: Group) -> Tensor:
    """Scores each channel by the largest absolute weight of the filters that make it, (width,)."""
    makers = [(capture.backbone.get_submodule(share.layer), share.index) for share in group.makers(capture.backbone)]
    return torch.cat([layer.weight.detach()[index].flatten(1) for layer, index in makers], 1).abs().amax(1)


@pytest.fixture(autouse=True)
def the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CRITERIA", {**CRITERIA, NAME: Criterion(largest_weight, "weights")})


@pytest.fixture
def tiny() -> Embedder:
    """Sixteen filters; the number k consists of ones times (k + 1) / 16."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 3, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 8))
    net[0].weight.data = (torch.arange(16) + 1).view(16, 1, 1, 1).expand(16, 3, 3, 3) / 16
    return Embedder("tiny", net.eval(), InputContract(32, 32), architecture="tests:tiny")


def test_it_scores_a_group(tiny: Embedder) -> None:
    with channel_scorer(tiny.backbone, find_groups(tiny.backbone, tiny.example()), NAME) as scorer:
        scorer.observe()
    torch.testing.assert_close(scorer.scores()["0"], (torch.arange(16) + 1) / 16)


def test_it_prunes(tiny: Embedder) -> None:
    faces, labels = synthetic_faces(2, 2, size=32)
    people = LabelledFaces(faces, labels, ("a", "b"), content_sha256(faces, labels))
    recipe = PruneRecipe(by="filters", target=16, steps=1, epochs=0, least_kept=0.1)
    pruned = prune(tiny, people, recipe.model_copy(update={"criterion": NAME, "cost": "filters"}))
    assert pruned.backbone[0].out_channels == 8
    kept = torch.stack([weight[0, 0, 0] for weight in pruned.backbone[0].weight])
    torch.testing.assert_close(kept, (torch.arange(8, 16) + 1) / 16)
