"""Which channels go, from scores that are written down."""

import pytest
import torch
from torch import nn

from pocketface.faces.contract import InputContract
from pocketface.models.embedder import Embedder
from pocketface.models.layer_costs import CostTable, Grid
from pocketface.models.layer_runs import layer_runs
from pocketface.models.zoo import create
from pocketface.prune.channels.groups import Group, cut_channels, find_groups
from pocketface.prune.channels.selection import COSTS, check_reachable, cost_of, floors_of, groups_in_scope, select
from pocketface.prune.channels.sizes import Sizes, size_of
from pocketface.prune.recipe import PruneRecipe


def three_layers(first=16, second=24):
    """Parameters: 28 per filter of "0", first + 1 per filter of "1", 4 * 256 per input of "2" (and 4 biases)."""
    backbone = nn.Sequential(
        nn.Conv2d(3, first, 3, padding=1), nn.Conv2d(first, second, 1), nn.Conv2d(second, 4, 16), nn.Flatten()
    )
    return Embedder("tiny", backbone, InputContract(16, 16), architecture="tests:tiny")


def stairs(embedder, tile):
    """A table in which a layer costs as much as with its outputs rounded up to `tile`, for each input."""
    shapes = {run.shape for run in layer_runs(embedder) if run.shape}
    outputs = tuple(range(1, 65))
    row = tuple(float(-(-width // tile) * tile) for width in outputs)
    grid = Grid((1, 2), outputs, (row, tuple(2 * cost for cost in row)))
    return CostTable("milliseconds", "a phone", "LiteRT 0", 1, dict.fromkeys(shapes, grid))


def chosen(
    embedder, scores, target, by="parameters", least_kept=0.01, least_width=1, round_to=8, cost="parameters", table=None
):
    groups = find_groups(embedder.backbone, embedder.example())
    floors = floors_of(groups, least_kept, least_width, round_to)
    sizes = Sizes(embedder, groups, table)
    gone = select(groups, scores, sizes, by=by, target=target, floors=floors, cost=cost, round_to=round_to)
    cut_channels(embedder.backbone, groups, gone)
    return {name: channels.tolist() for name, channels in gone.items()}


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


@pytest.mark.parametrize("by", ["parameters", "macs", "filters", "bytes", "milliseconds"])
@pytest.mark.parametrize("cost", sorted(COSTS))
@pytest.mark.parametrize("share", [0.1, 0.4])
def test_the_target_is_met_and_not_by_more_than_a_bunch(by, cost, share):
    embedder = three_layers(32, 64)
    table = stairs(embedder, 8)
    torch.manual_seed(0)
    target = (1 - share) * size_of(embedder, table).of(by)
    chosen(embedder, {"0": torch.rand(32), "1": torch.rand(64)}, target, by=by, cost=cost, table=table)
    # of "1"; time may go by the 32 channels that a kernel takes at once
    bunch = {
        "parameters": 8 * (1024 + 33),
        "macs": 256 * 8 * (27 + 64),
        "filters": 8,
        "bytes": 4 * 8 * (1024 + 33),
        "milliseconds": 32 * (32 + 8),
    }[by]
    assert target - bunch < size_of(embedder, table).of(by) <= target


def test_ranked_equally_a_channel_goes_by_its_score_whatever_it_saves():
    scores = {"0": torch.full((16,), 1.0), "1": torch.full((24,), 1.1)}
    assert chosen(three_layers(), scores, 25436 - 1, cost="equal") == {"0": list(range(8))}
    assert chosen(three_layers(), scores, 25436 - 1, cost="parameters") == {"0": list(range(8))}  # only 1 is wanted
    assert list(chosen(three_layers(), scores, 25436 - 8000, cost="equal")) == ["0", "1"]
    assert list(chosen(three_layers(), scores, 25436 - 8000, cost="parameters")) == ["1"]


def test_each_cost_divides_by_what_its_name_says():
    # By 8 channels "0" saves (416 parameters, 256*(216+192) MACs), "1" (8328, 256*128 + 8192): the worths lie between.
    scores = {"0": torch.full((16,), 1.0), "1": torch.full((24,), 2.0)}
    of_parameters = chosen(three_layers(), scores, 36, by="filters", cost="parameters")
    of_macs = chosen(three_layers(), scores, 36, by="filters", cost="macs")
    of_bytes = chosen(three_layers(), scores, 36, by="filters", cost="bytes")
    assert [list(gone) for gone in (of_parameters, of_macs, of_bytes)] == [["1"], ["0"], ["1"]]


def test_channels_that_only_together_save_time_go_together():
    # One step of 16 outputs costs as much as 16; "1" at 64 saves nothing of its own with 8 less.
    embedder = three_layers(16, 64)
    table = stairs(embedder, 16)
    before = size_of(embedder, table).measured  # 3 * 16 + 16 * 64 + 64 * 16
    assert before == 48 + 1024 + 1024
    scores = {"0": torch.full((16,), 99.0), "1": torch.ones(64)}
    gone = chosen(embedder, scores, before - 512, by="milliseconds", cost="measured", table=table)
    assert {name: len(channels) for name, channels in gone.items()} == {"1": 16}


def test_what_saves_no_time_stays_if_anything_else_does():
    # The readers' rows are flat too: 8 channels of "0" save inputs of "1", 8 of "1" nothing at all.
    embedder = three_layers(16, 64)
    shapes = [run.shape for run in layer_runs(embedder) if run.shape]
    flat = Grid((64,), (1, 64), ((5.0, 5.0),))
    grids = {shapes[0]: flat, shapes[1]: Grid((1, 2), (64,), ((1.0,), (2.0,))), shapes[2]: flat}
    table = CostTable("milliseconds", "a phone", "LiteRT 0", 1, grids)
    scores = {"0": torch.full((16,), 99.0), "1": torch.zeros(64)}
    gone = chosen(embedder, scores, size_of(embedder, table).measured - 1, "milliseconds", cost="equal", table=table)
    assert list(gone) == ["0"]


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


@pytest.mark.parametrize("floor", [dict(least_kept=0.5 - 1e-9), dict(least_width=27)])
def test_floors_hold(floor):
    embedder = three_layers(64, 64)
    scores = {"0": torch.ones(64), "1": torch.full((64,), 1e-6)}
    chosen(embedder, scores, 0.49 * size_of(embedder).parameters, **floor)
    assert embedder.backbone[1].out_channels == 32


def test_a_floor_is_a_share_and_a_width_in_whole_bunches():
    groups = [Group("wide", 64, ()), Group("odd", 20, ()), Group("narrow", 4, ())]
    assert floors_of(groups, 0.25, 8, 8) == {"wide": 16, "odd": 8, "narrow": 4}
    assert floors_of(groups, 0.26, 8, 8) == {"wide": 24, "odd": 8, "narrow": 4}
    assert floors_of(groups, 0.01, 17, 8) == {"wide": 24, "odd": 20, "narrow": 4}
    assert floors_of(groups, 0.01, 1, 1) == {"wide": 1, "odd": 1, "narrow": 1}


def test_below_a_score_everything_goes_in_whole_bunches():
    # 11 of "0" lie at most at 0.2: 8 go, and 3 would leave no multiple of 8. Of "1" one is no bunch.
    scores = {"0": torch.tensor([0.2] * 6 + [0.9] * 5 + [0.1] * 5), "1": torch.tensor([0.0] + [0.21] * 23)}
    gone = chosen(three_layers(), scores, 0.2, by="score")
    assert gone == {"0": [0, 1, 2, 11, 12, 13, 14, 15]}


def test_below_a_score_odd_widths_become_even_and_floors_hold():
    scores = {"0": torch.ones(16), "1": torch.tensor([0.0] * 5 + [1.0] * 40)}
    assert chosen(three_layers(16, 45), scores, 0.5, by="score") == {"1": [0, 1, 2, 3, 4]}
    scores = {"0": torch.zeros(16), "1": torch.zeros(45)}
    assert {n: len(g) for n, g in chosen(three_layers(16, 45), scores, 0.5, by="score").items()} == {"0": 8, "1": 37}
    gone = chosen(three_layers(16, 45), scores, 0.5, by="score", least_kept=0.5)
    assert {name: len(channels) for name, channels in gone.items()} == {"0": 8, "1": 21}


def test_a_score_on_the_threshold_goes_whatever_floats_make_of_it():
    on_it = torch.full((16,), 0.1) + torch.full((16,), 0.2)  # 0.3 and a little
    assert list(chosen(three_layers(), {"0": on_it, "1": torch.ones(24)}, 0.3, by="score")) == ["0"]


@pytest.mark.parametrize(
    ("settings", "cost"),
    [
        ({}, "balanced"),
        ({"by": "macs"}, "balanced"),
        ({"by": "milliseconds"}, "measured"),
        ({"by": "instructions", "criterion": "taylor"}, "measured"),
        ({"criterion": "l1"}, "equal"),
        ({"criterion": "fpgm", "by": "milliseconds"}, "equal"),
        ({"criterion": "l2", "cost": "macs"}, "macs"),
    ],
)
def test_the_cost_suits_criterion_and_budget(settings, cost):
    assert cost_of(PruneRecipe(**settings)) == cost


class Blocks(nn.Module):
    """`first` is added to what `second` makes of it; `left` and `right` are concatenated."""

    def __init__(self):
        super().__init__()
        self.first, self.inside = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 1)
        self.depthwise, self.second = nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.Conv2d(12, 8, 1)
        self.left, self.right = nn.Conv2d(8, 5, 1), nn.Conv2d(8, 6, 1)
        self.embedding = nn.Conv2d(11, 4, 16)

    def forward(self, x):
        x = self.first(x)
        x = x + self.second(self.depthwise(self.inside(x)))
        return self.embedding(torch.cat([self.left(x), self.right(x)], 1)).flatten(1)


def test_the_papers_leave_out_what_feeds_an_addition():
    backbone = Blocks()
    groups = find_groups(backbone, torch.zeros(1, 3, 16, 16))
    assert [group.name for group in groups_in_scope(groups, backbone, "all")] == ["first", "inside", "left", "right"]
    assert [group.name for group in groups_in_scope(groups, backbone, "papers")] == ["inside", "left", "right"]


@pytest.mark.parametrize(
    ("name", "options", "left_out"),
    [
        ("mobilefacenet", {"width": 0.25}, ["blocks.0.project.0", "blocks.5.project.0", "blocks.12.project.0"]),
        ("squeezefacenet", {}, []),
        ("mobilenetv2", {}, [f"features.{n}.conv.2" for n in (2, 4, 7, 11, 14)]),
    ],
)
def test_streams_of_known_networks_are_left_out(name, options, left_out):
    embedder = create(name, **options)
    groups = find_groups(embedder.backbone, embedder.example())
    kept = groups_in_scope(groups, embedder.backbone, "papers")
    assert [group.name for group in groups if group not in kept] == left_out


def test_a_network_of_additions_alone_says_what_would_do():
    backbone = Blocks()
    groups = find_groups(backbone, torch.zeros(1, 3, 16, 16))[:1]
    with pytest.raises(ValueError, match="every layer that can be cut feeds an addition; scope = 'all'"):
        groups_in_scope(groups, backbone, "papers")


def test_an_impossible_target_names_the_most_that_fits():
    scores = {"0": torch.ones(16), "1": torch.ones(24)}
    # Both at their floor of 8: 8*28 + 8*9 + 4*(8*256 + 1) = 8492 of 25436.
    with pytest.raises(ValueError, match=r"8,492 is the least .* the most that can be removed is 0\.666"):
        chosen(three_layers(), scores, 8000)


def test_an_impossible_time_is_told_in_milliseconds():
    embedder = three_layers(16, 16)
    groups = find_groups(embedder.backbone, embedder.example())
    sizes = Sizes(embedder, groups, stairs(embedder, 8))  # 48 + 256 + 128 before, 24 + 64 + 64 at the floor of 8
    with pytest.raises(ValueError, match=r"of 432 milliseconds the target keeps 99, but 152 is the least"):
        check_reachable(groups, sizes, "milliseconds", 99.0, {"0": 8, "1": 8})


def test_nothing_goes_where_the_target_is_met_already():
    assert chosen(three_layers(), {"0": torch.ones(16), "1": torch.ones(24)}, 30000) == {}
