"""Costs between and beyond measured ones, by hand."""

import pytest

from pocketface.models.layer_costs import CostTable, Grid
from pocketface.models.layer_runs import LayerShape

PLANE = Grid((10, 20), (8, 16), ((80.0, 160.0), (160.0, 320.0)))  # inputs times outputs
SHAPE = LayerShape("dense", (14, 14), (3, 3), (2, 2), (1, 1), (1, 1, 1, 1))


@pytest.mark.parametrize(
    ("inputs", "outputs", "cost"),
    [(10, 8, 80), (20, 16, 320), (15, 12, 180), (10, 9, 90), (30, 8, 240), (10, 32, 320), (5, 4, 20)],
)
def test_costs_between_and_beyond_the_grid_lie_on_its_lines(inputs, outputs, cost):
    assert PLANE.cost(inputs, outputs) == pytest.approx(cost)


def test_a_stair_stays_a_stair():
    stair = Grid((64,), (8, 16, 24, 32), ((5.0, 5.0, 10.0, 10.0),))
    assert [stair.cost(64, outputs) for outputs in (4, 8, 12, 16, 24, 32)] == [5, 5, 5, 5, 10, 10]


def test_one_measured_width_tells_nothing_of_others():
    assert Grid((3,), (8,), ((7.0,),)).cost(99, 99) == 7.0


def test_no_cost_is_negative():
    assert Grid((1,), (8, 16), ((1.0, 9.0),)).cost(1, 2) == 0.0


def test_what_a_disturbance_added_is_taken_off():
    # 9 and 8 cannot be true: wider layers took 2 and 3.
    disturbed = Grid((1, 2), (8, 16, 24), ((1.0, 9.0, 2.0), (8.0, 2.5, 3.0)))
    assert disturbed.monotone().costs == ((1.0, 2.0, 2.0), (2.5, 2.5, 3.0))


def test_a_grid_covers_what_is_no_wider():
    assert PLANE.covers(20, 16) and PLANE.covers(1, 1)
    assert not PLANE.covers(21, 16) and not PLANE.covers(20, 17)


def test_a_table_scales_what_its_layers_cost_alone():
    table = CostTable("milliseconds", "a phone", "LiteRT 0", 1, {SHAPE: PLANE}, 1.5)
    assert table.cost(SHAPE, 10, 8) == 120.0


def test_an_unknown_shape_is_named():
    table = CostTable("milliseconds", "a phone", "LiteRT 0", 1, {})
    with pytest.raises(ValueError, match="no cost of dense 3x3 stride 2 on 14x14 is known; a table that was measured"):
        table.cost(SHAPE, 1, 1)


def test_a_table_is_the_same_after_a_file():
    table = CostTable(
        "instructions", "a phone", "LiteRT 0", 2, {SHAPE: PLANE, LayerShape("slopes", (7, 7)): PLANE}, 0.1 + 0.2
    )
    again = CostTable.from_json(table.to_json())
    assert again == table
    assert again.sha256 == table.sha256


def test_the_hash_tells_tables_apart():
    tables = [CostTable("milliseconds", "a phone", "LiteRT 0", 1, {SHAPE: PLANE}, scale) for scale in (1.0, 1.01)]
    assert tables[0].sha256 != tables[1].sha256


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"grids": 3}', '{"grids": [[{}, {}]]}', '{"grids": [], "x": 1}'])
def test_a_damaged_file_is_no_table(text):
    with pytest.raises(ValueError, match="no table of costs"):
        CostTable.from_json(text)
