"""What networks measure, counted by hand, and beside the files that the exporter writes."""

import pytest
import torch
from torch import nn

from pocketface.benchmark.speed.layer_measuring import tflite_of
from pocketface.faces.contract import InputContract
from pocketface.models.complexity import macs, parameters
from pocketface.models.embedder import Embedder
from pocketface.models.layer_costs import CostTable, Grid
from pocketface.models.layer_runs import layer_runs
from pocketface.models.zoo import create
from pocketface.prune.channels.groups import cut_channels, find_groups
from pocketface.prune.channels.sizes import Size, Sizes, size_of


def embedder_of(*layers):
    return Embedder("tiny", nn.Sequential(*layers, nn.Flatten()), InputContract(16, 16), architecture="tests:tiny")


def three_layers():
    """Parameters: 28 per filter of "0", 17 per filter of "1", 4 * 256 per input of "2" (and 4 biases)."""
    return embedder_of(nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 24, 1), nn.Conv2d(24, 4, 16))


def table_of(embedder, per_pair=1.0, scale=1.0):
    """One unit for each pair of an input and an output, whatever the shape."""
    shapes = {run.shape for run in layer_runs(embedder) if run.shape}
    grid = Grid((1, 2), (1, 2), ((per_pair, 2 * per_pair), (2 * per_pair, 4 * per_pair)))
    return CostTable("milliseconds", "a phone", "LiteRT 0", 1, dict.fromkeys(shapes, grid), scale)


def test_sizes_are_counted_exactly():
    # 16 filters of 3*9 + 1; 24 of 16 + 1; 4 of 24*256 + 1. MACs at 256, 256 and 1 places. 3000 bytes and 250 a layer.
    assert size_of(three_layers()) == Size(
        44, 448 + 408 + 24580, 256 * 432 + 256 * 384 + 24576, 4 * (448 + 408 + 24580) + 3750, 0.0
    )


def test_budgets_are_read_by_name():
    size = Size(1, 2, 3, 4, 5.5)
    budgets = ("filters", "parameters", "macs", "bytes", "milliseconds", "instructions", "measured")
    assert [size.of(budget) for budget in budgets] == [1, 2, 3, 4, 5.5, 5.5, 5.5]


@pytest.mark.parametrize("gone", [{"0": 8}, {"1": 16}, {"0": 3, "1": 5}])
def test_sizes_without_channels_are_those_of_the_cut_network(gone):
    embedder = three_layers()
    table = table_of(embedder)
    groups = find_groups(embedder.backbone, embedder.example())
    expected = Sizes(embedder, groups, table).without(gone)
    cut_channels(embedder.backbone, groups, {name: torch.arange(count) for name, count in gone.items()})
    assert (expected.parameters, expected.macs) == (parameters(embedder.backbone), macs(embedder))
    assert expected == size_of(embedder, table)
    assert expected.filters == 44 - sum(gone.values())


def test_every_group_of_a_residual_network_counts_as_it_is_cut():
    embedder = create("mobilefacenet", width=0.25)
    table = table_of(embedder)
    groups = find_groups(embedder.backbone, embedder.example())
    sizes = Sizes(embedder, groups, table)
    gone: dict[str, int] = {}
    left = sizes.before
    for group in groups:
        left = left - sizes.saved(group.name, group.width // 4, gone)
        gone[group.name] = group.width // 4
    cut_channels(embedder.backbone, groups, {name: torch.arange(count) for name, count in gone.items()})
    smaller = size_of(embedder, table)
    assert (left.filters, left.parameters, left.macs, left.bytes) == (
        smaller.filters,
        parameters(embedder.backbone),
        macs(embedder),
        smaller.bytes,
    )
    assert left.measured == pytest.approx(smaller.measured)


def test_what_a_layer_costs_is_read_from_the_table():
    # 3*16 + 16*24 + 24*4 pairs, each twice 0.5
    embedder = three_layers()
    assert size_of(embedder, table_of(embedder, 0.5, scale=2.0)).measured == pytest.approx(48 + 384 + 96)


def test_a_layer_that_runs_twice_costs_twice():
    once = nn.Conv2d(8, 8, 1)
    embedder = embedder_of(nn.Conv2d(3, 8, 1), once, nn.ReLU(), once, nn.Conv2d(8, 4, 16))
    assert size_of(embedder, table_of(embedder)).measured == pytest.approx(24 + 2 * 64 + 32)


def test_a_channel_saves_less_once_its_reader_is_narrower():
    embedder = three_layers()
    sizes = Sizes(embedder, find_groups(embedder.backbone, embedder.example()))
    # 8 filters of "0" with 28 parameters, and 8 columns of the 24 or 16 filters of "1"
    assert [sizes.saved("0", 8, gone).parameters for gone in ({}, {"1": 8})] == [8 * 28 + 8 * 24, 8 * 28 + 8 * 16]


def test_neighbours_are_the_groups_that_meet_in_a_layer():
    layers = [nn.Conv2d(3, 8, 1), nn.Conv2d(8, 9, 1), nn.Conv2d(9, 10, 1), nn.Conv2d(10, 4, 16)]
    embedder = embedder_of(*layers)
    sizes = Sizes(embedder, find_groups(embedder.backbone, embedder.example()))
    assert [sizes.neighbours(name) for name in "012"] == [{"0", "1"}, {"0", "1", "2"}, {"1", "2"}]


def test_a_folded_batch_norm_takes_no_bytes_and_another_two_numbers_a_channel():
    folded = embedder_of(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 16))
    other = embedder_of(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 16))
    assert size_of(other).bytes - size_of(folded).bytes == 4 * 2 * 8 + 250
    assert size_of(other).parameters == size_of(folded).parameters


def test_slopes_and_absent_biases_are_stored():
    plain = embedder_of(nn.Conv2d(3, 8, 1, bias=False), nn.Conv2d(8, 4, 16))
    sloped = embedder_of(nn.Conv2d(3, 8, 1), nn.PReLU(8), nn.Conv2d(8, 4, 16))
    assert size_of(plain).bytes == 4 * (24 + 8 + 8 * 4 * 256 + 4) + 3000 + 2 * 250
    assert size_of(sloped).bytes - size_of(plain).bytes == 4 * 8 + 250


def test_bytes_are_those_of_the_file_within_two_percent(tmp_path):
    embedder = create("mobilefacenet", width=0.5)
    assert size_of(embedder).bytes == pytest.approx(tflite_of(embedder, tmp_path).stat().st_size, rel=0.02)


def test_a_table_of_another_network_is_refused():
    table = table_of(three_layers())
    with pytest.raises(ValueError, match="no cost of dense 5x5 stride 1 on 16x16 is known"):
        size_of(embedder_of(nn.Conv2d(3, 8, 5, padding=2), nn.Conv2d(8, 4, 16)), table)
