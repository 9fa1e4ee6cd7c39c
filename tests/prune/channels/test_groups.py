"""Which channels go together, on networks small enough to say so by hand."""

import pytest
import torch
from torch import nn

from pocketface.models.widths import widths_of
from pocketface.prune.channels.groups import cut_channels, find_groups, uncut_reasons

FACE = torch.zeros(1, 3, 16, 16)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.inside = nn.Conv2d(8, 12, 1)
        self.back = nn.Conv2d(12, 8, 1)
        self.embedding = nn.Conv2d(8, 4, 16)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.back(self.inside(x).relu())
        return self.embedding(x).flatten(1)


class Concat(nn.Module):
    def __init__(self):
        super().__init__()
        self.left = nn.Conv2d(3, 8, 3, padding=1)
        self.right = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(24)
        self.embedding = nn.Conv2d(24, 4, 16)

    def forward(self, x):
        return self.embedding(self.norm(torch.cat([self.left(x), self.right(x)], 1))).flatten(1)


class Ghost(nn.Module):
    """Half of the channels are cheap copies of the other half (GhostNet), and a shortcut is added to both."""

    def __init__(self):
        super().__init__()
        self.primary = nn.Conv2d(3, 8, 1)
        self.cheap = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.shortcut = nn.Conv2d(3, 16, 1)
        self.embedding = nn.Conv2d(16, 4, 16)

    def forward(self, x):
        y = self.primary(x)
        return self.embedding((torch.cat([y, self.cheap(y)], 1) + self.shortcut(x)).relu()).flatten(1)


class Shuffled(nn.Module):
    """A channel shuffle, which Torch-Pruning takes for an ordinary reshape."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.inside = nn.Conv2d(8, 8, 1)
        self.embedding = nn.Conv2d(8, 4, 16)

    def forward(self, x):
        x = self.stem(x)
        n, c, h, w = x.shape
        x = self.inside(x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))
        return self.embedding(x).flatten(1)


class Reversed(nn.Module):
    """Channels in reverse, which Torch-Pruning does not notice, in a branch that starts as good as off."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.inside = nn.Conv2d(8, 8, 1)
        self.scale = nn.Parameter(torch.tensor(1e-6))
        self.embedding = nn.Conv2d(8, 4, 16)

    def forward(self, x):
        branch = self.inside(self.stem(x).flip(1))
        return self.embedding(x.sum(1, keepdim=True) + self.scale * branch).flatten(1)


class Halves(nn.Module):
    """Two halves of the stem's channels, each with a convolution of its own; their sizes are found by halving."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 1)
        self.one = nn.Conv2d(8, 8, 3, padding=1)
        self.other = nn.Conv2d(8, 8, 3, padding=1)
        self.embedding = nn.Conv2d(16, 4, 16)

    def forward(self, x):
        one, other = self.stem(x).chunk(2, 1)
        return self.embedding(torch.cat([self.other(other), self.one(one)], 1)).flatten(1)


def depthwise():
    return nn.Sequential(
        nn.Conv2d(3, 8, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.PReLU(8),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.PReLU(),
        nn.Conv2d(8, 4, 16),
        nn.Flatten(),
    )


def flattened():
    return nn.Sequential(nn.Conv2d(3, 8, 3, 8, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 4, 4))


def told(groups):
    return {
        group.name: (group.width, {(share.layer, share.side): tuple(share.index.shape) for share in group.shares})
        for group in groups
    }


def test_a_residual_couples_the_stem_with_what_is_added_to_it():
    assert told(find_groups(Residual(), FACE)) == {
        "stem": (
            8,
            {
                ("stem", "out"): (8, 1),
                ("inside", "in"): (8, 1),
                ("back", "out"): (8, 1),
                ("embedding", "in"): (8, 1),
            },
        ),
        "inside": (12, {("inside", "out"): (12, 1), ("back", "in"): (12, 1)}),
    }


def test_the_readers_of_concatenated_channels_know_their_offset():
    left, right = find_groups(Concat(), FACE)
    assert (left.name, left.width, right.name, right.width) == ("left", 8, "right", 16)
    assert right.readers[0].index[:, 0].tolist() == list(range(8, 24))


def test_a_flatten_gives_each_channel_all_of_its_pixels():
    (group,) = find_groups(flattened(), FACE)
    assert group.readers[0].index.tolist() == [[4 * c, 4 * c + 1, 4 * c + 2, 4 * c + 3] for c in range(8)]


def test_depthwise_convolutions_norms_and_prelus_go_with_the_channels_that_pass_through():
    (group,) = find_groups(depthwise(), FACE)
    assert [(share.layer, share.side) for share in group.shares] == [
        ("0", "out"),
        ("1", "through"),
        ("2", "through"),
        ("3", "through"),  # "4" has one slope for all channels: nothing to cut
        ("5", "in"),
    ]


def test_a_channel_and_its_ghost_are_one():
    (group,) = find_groups(Ghost(), FACE)
    assert group.width == 8
    embedding = next(share for share in group.shares if share.layer == "embedding")
    assert embedding.index.tolist() == [[c, 8 + c] for c in range(8)]


@pytest.mark.parametrize("build", [Residual, Concat, Ghost, depthwise, flattened])
def test_a_cut_network_computes_what_the_whole_one_does_without_those_channels(build):
    torch.manual_seed(0)
    whole = build().eval()
    groups = find_groups(whole, FACE)
    gone = {group.name: torch.tensor([0, 3, 4]) for group in groups}
    faces = torch.randn(2, 3, 16, 16)
    for group in groups:
        for share in group.readers:
            whole.get_submodule(share.layer).weight.data[:, share.index[gone[group.name]].flatten()] = 0
    expected = whole(faces)
    cut_channels(whole, groups, gone)
    torch.testing.assert_close(whole(faces), expected, rtol=1e-4, atol=1e-5)
    assert expected.shape == (2, 4)


def test_a_cut_narrows_every_layer_of_the_group():
    backbone = depthwise()
    cut_channels(backbone, find_groups(backbone, FACE), {"0": torch.tensor([1, 2])})
    assert widths_of(backbone) == {"0": [3, 6, 1], "1": [6], "2": [6], "3": [6, 6, 6], "4": [1], "5": [6, 4, 1]}


def test_the_weights_that_stay_keep_their_values():
    backbone = depthwise()
    kept = backbone[0].weight[[0, 3, 4, 5, 6, 7]].clone()
    cut_channels(backbone, find_groups(backbone, FACE), {"0": torch.tensor([1, 2])})
    assert torch.equal(backbone[0].weight, kept)


@pytest.mark.parametrize("build", [Shuffled, Reversed])
def test_channels_in_another_order_are_not_cut_wrongly(build):
    backbone = build()
    groups = find_groups(backbone, FACE)
    assert [group.name for group in groups] == ["inside"]
    assert uncut_reasons(backbone, FACE, groups)["stem"] == "a cut would change what others compute"


def test_channels_that_are_split_in_halves_stay_as_the_halves_could_lose_unequally():
    assert [group.name for group in find_groups(Halves(), FACE)] == ["one", "other"]


def test_every_layer_that_stays_whole_has_its_reason():
    backbone = nn.Sequential(
        nn.Conv2d(3, 8, 4, 4),
        nn.Conv2d(8, 8, 1, groups=2),
        nn.Conv2d(8, 6, 1),
        nn.Conv2d(6, 5, 1),
        nn.Flatten(),
        nn.LayerNorm(80),
        nn.Linear(80, 4),
    )
    groups = find_groups(backbone, FACE)
    assert [group.name for group in groups] == ["2"]
    assert uncut_reasons(backbone, FACE, groups) == {
        "0": "they reach '1', a convolution in 2 groups",
        "1": "they reach '1', a convolution in 2 groups",
        "3": "they reach '5', a LayerNorm",
        "6": "they make the embedding",
    }


def test_the_channels_before_a_layer_norm_stay():
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(768, 16), nn.LayerNorm(16), nn.Linear(16, 12), nn.Linear(12, 4))
    assert [(group.name, group.width) for group in find_groups(backbone, FACE)] == [("3", 12)]


def test_a_network_with_nothing_to_cut_says_so():
    with pytest.raises(ValueError, match=r"nothing in Sequential .* '1' cannot go, as they make the embedding"):
        find_groups(nn.Sequential(nn.Flatten(), nn.Linear(768, 4)), FACE)


def test_looking_for_groups_leaves_the_network_as_it_is():
    backbone = depthwise().train().requires_grad_(False)
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    find_groups(backbone, FACE)
    assert backbone.training and not any(parameter.requires_grad for parameter in backbone.parameters())
    assert all(torch.equal(before[key], tensor) for key, tensor in backbone.state_dict().items())
