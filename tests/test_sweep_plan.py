"""The plan of a sweep: the grid, what a cell is called by, and which of its inputs decide that."""

from typing import Any

import pytest

from pocketface.run_recipe import RunRecipe, with_settings
from pocketface.sweep_plan import Hashes, PointCells, at_share, cells_of, points_of, source_cell, source_files

HASHES = Hashes("weights", "faces", 300, "pairs", "a CPU")


def recipe(**sweep: Any) -> RunRecipe:
    table = {"criterion": ["gauss-newton", "l1"], "remove": [0.5, 0.15, 0.3], **sweep}
    return with_settings(RunRecipe(), {"prune": {"epochs": 2, "steps": 1}, "sweep": table})


def cells(recipe: RunRecipe, hashes: Hashes = HASHES, name: str = "net") -> list[PointCells]:
    source = source_cell(recipe, hashes, name)
    files, _ = source_files(recipe, hashes, name, source)
    return list(cells_of(points_of(recipe), hashes, name, source, files))


def keys(recipe: RunRecipe, kind: str, hashes: Hashes = HASHES, name: str = "net") -> list[str]:
    found = [getattr(point, kind) for point in cells(recipe, hashes, name)]
    return [cell.key for cell in found if cell is not None]


def test_the_grid_is_every_combination_with_shallower_cuts_first() -> None:
    points = points_of(recipe())
    assert [(point.series, point.level) for point in points] == [
        (criterion, f"{share} % of parameters") for criterion in ("gauss-newton", "l1") for share in (15, 30, 50)
    ]
    assert [point.name("net") for point in points][:2] == ["net-gauss-newton-less15", "net-gauss-newton-less30"]


def test_amounts_are_kept_instead_of_shares_removed() -> None:
    points = points_of(recipe(remove=[], target=[500_000, 700_000], criterion=["l1"], seed=[0, 1]))
    assert [(point.prune.target, point.series) for point in points] == [
        (700_000, "seed 0"),
        (500_000, "seed 0"),
        (700_000, "seed 1"),
        (500_000, "seed 1"),
    ]


def test_deeper_cuts_go_on_from_shallower_ones_of_their_series() -> None:
    first, second, third, other, *_ = cells(recipe())
    assert "shallower" not in first.cut.needs and "shallower" not in other.cut.needs
    assert second.cut.needs["shallower"] == first.cut.folder
    assert third.cut.needs["shallower"] == second.cut.folder


@pytest.mark.parametrize("sweep", [{"schedule": ["one-shot"]}, {"nested": False}, {"by": ["milliseconds"]}])
def test_what_does_not_cut_in_steps_starts_anew(sweep: dict[str, Any]) -> None:
    assert all("shallower" not in point.cut.needs for point in cells(recipe(**sweep)))


def test_a_longer_recovery_leaves_the_cuts() -> None:
    longer = with_settings(recipe(), {"prune": {"epochs": 20}})
    assert keys(longer, "cut") == keys(recipe(), "cut")
    assert not set(keys(longer, "recovered")) & set(keys(recipe(), "recovered"))


def test_how_files_are_timed_decides_their_latency_alone() -> None:
    other = with_settings(recipe(), {"benchmark": {"minimum_runs": 99}})
    assert keys(other, "files") == keys(recipe(), "files")
    assert not set(keys(other, "timing")) & set(keys(recipe(), "timing"))


def test_another_machine_measures_latencies_only() -> None:
    elsewhere = Hashes("weights", "faces", 300, "pairs", "another CPU")
    assert keys(recipe(), "files", elsewhere) == keys(recipe(), "files")
    assert not set(keys(recipe(), "timing", elsewhere)) & set(keys(recipe(), "timing"))


def test_another_target_trains_nothing() -> None:
    other = with_settings(recipe(), {"export": {"targets": ["onnx"]}})
    assert keys(other, "recovered") == keys(recipe(), "recovered")
    assert not set(keys(other, "files")) & set(keys(recipe(), "files"))


def test_one_more_size_leaves_the_shallower_ones() -> None:
    more = recipe(remove=[0.15, 0.3, 0.5, 0.7], criterion=["l1"])
    assert keys(more, "files")[:3] == keys(recipe(criterion=["l1"]), "files")


def test_a_rate_of_learning_decides_no_cut_before_which_nothing_learns() -> None:
    one_shot = recipe(schedule=["one-shot"])
    faster = with_settings(one_shot, {"prune": {"learning_rate": 0.1}})
    assert keys(faster, "cut") == keys(one_shot, "cut")
    between = with_settings(recipe(), {"prune": {"learning_rate": 0.1}})
    assert keys(between, "cut")[0] == keys(recipe(), "cut")[0]  # the first cut of a series
    assert keys(between, "cut")[1] != keys(recipe(), "cut")[1]


def test_other_weights_or_faces_make_other_cells() -> None:
    for hashes in (Hashes("others", "faces", 300, "pairs", ""), Hashes("weights", "others", 300, "pairs", "")):
        assert not set(keys(recipe(), "cut", hashes)) & set(keys(recipe(), "cut"))
    other_pairs = Hashes("weights", "faces", 300, "others", "")
    assert keys(recipe(), "recovered", other_pairs) == keys(recipe(), "recovered")


def test_without_recovery_the_cut_is_what_files_are_made_from() -> None:
    first = cells(with_settings(recipe(), {"prune": {"epochs": 0}}))[0]
    assert first.recovered is first.cut and first.files.needs["recovered"] == first.cut.folder


def test_a_point_of_a_search_is_that_of_a_grid_without_nesting() -> None:
    grid = recipe(criterion=["l1"], remove=[0.3], nested=False)
    searched = at_share(points_of(recipe(criterion=["l1"], remove=[0.9]))[0], 0.3)
    source = source_cell(grid, HASHES, "net")
    files, _ = source_files(grid, HASHES, "net", source)
    (found,) = cells_of([searched], HASHES, "net", source, files)
    assert found.files.key == cells(grid)[0].files.key


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"sweep": {"target": [5.0]}}, "remove and target both say how much goes"),
        ({"sweep": {"remove": [0.3, 0.3]}}, "0.3 is named more than once"),
        ({"sweep": {"criterion": ["l3"]}}, "there is no such value"),
        ({"sweep": {"by": ["macs", "bytes"], "target": [5.0], "remove": []}}, "target counts one thing"),
        ({"sweep": {"sizes": [1]}}, "there is no 'sweep.sizes'"),
        ({"sweep": {"goal": {"max_mb": -1}}}, "must be greater than 0"),
    ],
)
def test_a_table_that_says_nothing_sensible_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        with_settings(recipe(), change)


@pytest.mark.parametrize(
    ("prune", "sentence"),
    [({"control": True}, "prune.control decides by itself"), ({"accumulate": 2}, "the schedule epoch scores every")],
)
def test_a_combination_that_is_no_prune_is_refused(prune: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        points_of(with_settings(recipe(schedule=["epoch"]), {"prune": prune}))


def test_scores_are_no_budget_to_search() -> None:
    by_score = with_settings(recipe(remove=[], target=[0.2]), {"prune": {"by": "score", "target": 0.2}})
    with pytest.raises(ValueError, match="has none; search by parameters or macs"):
        at_share(points_of(by_score)[0], 0.5)
