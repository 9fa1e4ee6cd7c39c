"""Which channels go, from scores that are written down."""

import pytest
import torch
from torch import nn

from pocketface.faces.contract import InputContract
from pocketface.models.complexity import macs, parameters
from pocketface.models.embedder import Embedder
from pocketface.prune.groups import cut, find_groups
from pocketface.prune.selection import COSTS, floors_of, select
from pocketface.prune.sizes import Size, Sizes, size_of


def three_layers(first=16, second=24):
    """Parameters: 28 per filter of "0", first + 1 per filter of "1", 4 * 256 per input of "2" (and 4 biases)."""
    backbone = nn.Sequential(
        nn.Conv2d(3, first, 3, padding=1), nn.Conv2d(first, second, 1), nn.Conv2d(second, 4, 16), nn.Flatten()
    )
    return Embedder("tiny", backbone, InputContract(16, 16), architecture="tests:tiny")


def chosen(embedder, scores, target, by="parameters", least_kept=0.01, round_to=8, cost="parameters"):
    groups = find_groups(embedder.backbone, embedder.example())
    floors = floors_of(groups, least_kept, round_to)
    sizes = Sizes(embedder, groups)
    gone = select(groups, scores, sizes, by=by, target=target, floors=floors, cost=cost, round_to=round_to)
    cut(embedder.backbone, groups, gone)
    return {name: channels.tolist() for name, channels in gone.items()}


def test_sizes_are_counted_exactly():
    # 16 filters of 3*9 + 1; 24 of 16 + 1; 4 of 24*256 + 1. MACs at 256, 256 and 1 places.
    assert size_of(three_layers()) == Size(44, 448 + 408 + 24580, 256 * 432 + 256 * 384 + 24576)


@pytest.mark.parametrize("gone", [{"0": 8}, {"1": 16}, {"0": 3, "1": 5}])
def test_sizes_without_channels_are_those_of_the_cut_network(gone):
    embedder = three_layers()
    groups = find_groups(embedder.backbone, embedder.example())
    expected = Sizes(embedder, groups).without(gone)
    cut(embedder.backbone, groups, {name: torch.arange(count) for name, count in gone.items()})
    assert (expected.parameters, expected.macs) == (parameters(embedder.backbone), macs(embedder))
    assert expected.filters == 44 - sum(gone.values())


def test_the_least_important_channels_of_a_group_go_first():
    scores = {"0": torch.full((16,), 100.0), "1": torch.arange(24.0).flip(0)}
    assert chosen(three_layers(), scores, 25436 - 1) == {"1": list(range(16, 24))}


def test_of_two_groups_the_one_that_saves_more_for_the_same_worth_goes_first():
    scores = {"0": torch.ones(16), "1": torch.ones(24)}  # a channel of "1" saves 1041 parameters, one of "0" 52
    assert list(chosen(three_layers(), scores, 25436 - 8 * 1041)) == ["1"]


def test_a_costly_group_stays_if_it_is_worth_its_cost():
    scores = {"0": torch.ones(16), "1": torch.full((24,), 100.0)}
    assert chosen(three_layers(), scores, 25436 - 8 * 52) == {"0": list(range(8))}


def test_what_a_bunch_saves_beyond_the_target_counts_for_nothing():
    # "1" is cheaper per parameter (30/1041 against 2/52), but of its 8328 only 100 are wanted.
    scores = {"0": torch.full((16,), 2.0), "1": torch.full((24,), 30.0)}
    assert list(chosen(three_layers(), scores, 25436 - 100)) == ["0"]


@pytest.mark.parametrize("by", ["parameters", "macs", "filters"])
@pytest.mark.parametrize("cost", sorted(COSTS))
@pytest.mark.parametrize("share", [0.1, 0.4])
def test_the_target_is_met_and_not_by_more_than_a_bunch(by, cost, share):
    embedder = three_layers(32, 64)
    torch.manual_seed(0)
    before = getattr(size_of(embedder), by)
    target = (1 - share) * before
    chosen(embedder, {"0": torch.rand(32), "1": torch.rand(64)}, target, by=by, cost=cost)
    bunch = {"parameters": 8 * (1024 + 33), "macs": 256 * 8 * (27 + 64), "filters": 8}[by]
    assert target - bunch < getattr(size_of(embedder), by) <= target


def test_widths_become_multiples_of_eight():
    embedder = three_layers(20, 45)
    chosen(embedder, {"0": torch.ones(20), "1": torch.full((45,), 0.01)}, 0.2 * size_of(embedder).parameters)
    assert embedder.backbone[1].out_channels % 8 == 0


def test_the_first_bunch_of_an_odd_width_makes_it_even():
    embedder = three_layers(16, 45)
    chosen(embedder, {"0": torch.full((16,), 9e9), "1": torch.arange(45.0)}, size_of(embedder).parameters - 1)
    assert embedder.backbone[1].out_channels == 40


def test_a_group_narrower_than_a_bunch_stays():
    embedder = three_layers(4, 24)
    chosen(embedder, {"0": torch.zeros(4), "1": torch.ones(24)}, size_of(embedder).parameters - 1)
    assert [embedder.backbone[0].out_channels, embedder.backbone[1].out_channels] == [4, 16]


def test_floors_hold():
    embedder = three_layers(64, 64)
    scores = {"0": torch.ones(64), "1": torch.full((64,), 1e-6)}
    chosen(embedder, scores, 0.49 * size_of(embedder).parameters, least_kept=0.5 - 1e-9, by="parameters")
    assert embedder.backbone[1].out_channels == 32


def test_an_impossible_target_names_the_most_that_fits():
    scores = {"0": torch.ones(16), "1": torch.ones(24)}
    # Both at their floor of 8: 8*28 + 8*9 + 4*(8*256 + 1) = 8492 of 25436.
    with pytest.raises(ValueError, match=r"8,492 is the least .* the most that can be removed is 0\.666"):
        chosen(three_layers(), scores, 8000)


def test_nothing_goes_where_the_target_is_met_already():
    assert chosen(three_layers(), {"0": torch.ones(16), "1": torch.ones(24)}, 30000) == {}
