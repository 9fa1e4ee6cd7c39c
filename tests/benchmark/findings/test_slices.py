"""Slices of pairs whose faces are plain squares: which pairs are in, and what a file that fails on some is told."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pocketface.benchmark.accuracy.verification import verify
from pocketface.benchmark.findings.slices import slice_rows, slices_of
from pocketface.benchmark.measurement import Measurement, RowMaker
from pocketface.faces.pairs import Pairs

PAIRS = 600


def squares() -> Pairs:
    """600 pairs of 1,200 even crops; both of pair i are about i / 3 bright, the right one always brighter."""
    left, right = np.arange(PAIRS), np.arange(PAIRS) + PAIRS
    grey = np.concatenate([np.arange(PAIRS) // 3, np.arange(PAIRS) // 3 + 20])
    faces = np.zeros((2 * PAIRS, 16, 16, 3), np.uint8) + grey[:, None, None, None].astype(np.uint8)
    same, nobody = np.arange(PAIRS) % 2 == 0, np.full(2 * PAIRS, -1)
    names = tuple(f"{number}.png" for number in range(2 * PAIRS))
    return Pairs(faces, left, right, same, np.arange(PAIRS) // 60, names, nobody, "squares")


def embeddings(pairs: Pairs, wrong: slice = slice(0)) -> np.ndarray[Any, Any]:
    """Same direction for a genuine pair, opposite ones for an impostor pair; the other way round where `wrong`."""
    agree = np.where(pairs.same, 1.0, -1.0)
    agree[wrong] *= -1
    angles = np.random.default_rng(0).uniform(0.1, 0.2, PAIRS)
    first = np.stack([np.cos(angles), np.sin(angles)], 1)
    return np.concatenate([first, first * agree[:, None]]).astype(np.float32)


def seen(pairs: Pairs, wrong: slice, source: Any = None, attributes: Path | None = None) -> Any:
    found = embeddings(pairs, wrong)
    recipe = SimpleNamespace(attributes=attributes)
    of = dict(embeddings=found, verification=verify(found, pairs), pairs=pairs, recipe=recipe, source=source)
    return SimpleNamespace(model="net", **of)


ROW = RowMaker(model="net", artifact="a", format="onnx", precision="fp32", runtime="onnxruntime", device="here")


def by_part(rows: list[Measurement], metric: str) -> dict[str, Measurement]:
    return {row.conditions["part"]: row for row in rows if row.metric == metric}


def test_a_pair_counts_as_its_darker_face() -> None:
    pairs = squares()
    found = {part.name: part.pairs.tolist() for part in slices_of(pairs).found}
    assert found["brightness: darkest third"] == list(range(200 - 2))  # cut between equal values: 66 is whole
    assert set(found["brightness: brightest third"]) >= set(range(402, 600))
    assert sum(len(found[name]) for name in found if name.startswith("brightness")) == PAIRS


def test_a_file_that_fails_in_the_dark_is_called_damaged_there_and_nowhere_else() -> None:
    pairs = squares()
    source = seen(pairs, slice(0))
    rows = slice_rows(seen(pairs, slice(0, 80, 2), source), ROW)
    accuracy, change = by_part(rows, "slice_accuracy"), by_part(rows, "slice_accuracy_difference")
    dark, bright = "brightness: darkest third", "brightness: brightest third"
    assert accuracy[dark].n == 198
    assert accuracy[dark].value == pytest.approx(158 / 198)
    assert change[dark].value == pytest.approx(-40 / 198)
    assert (change[dark].conditions["damaged"], change[bright].conditions["damaged"]) == (True, False)
    assert (accuracy[bright].value, change[bright].value) == (1.0, 0.0)
    assert (accuracy[dark].conditions["genuine"], accuracy[dark].conditions["impostors"]) == (99, 99)
    assert change[dark].conditions["to"] == "net"


def test_the_more_slices_are_looked_at_the_more_a_damage_must_show(tmp_path: Path) -> None:
    pairs = squares()
    lines = [f"{name},{number % PAIRS % 2}" for number, name in enumerate(pairs.names)]
    (tmp_path / "t.csv").write_text("\n".join(["image,even", *lines]), encoding="utf-8")
    source, part = seen(pairs, slice(0)), "brightness: darkest third"
    files = [seen(pairs, slice(0, 80, 2), source, path) for path in (None, tmp_path / "t.csv")]
    few, more = (by_part(slice_rows(file, ROW), "slice_accuracy_difference")[part].conditions for file in files)
    assert more["slices"] == few["slices"] + 2
    assert more["adjusted"][0] < few["adjusted"][0] and few["adjusted"][1] < more["adjusted"][1]


def test_a_group_of_a_table_holds_pairs_of_two_such_faces_and_others_are_mixed(tmp_path: Path) -> None:
    pairs = squares()
    pose = ["left"] * 200 + ["front"] * 400 + ["left"] * 100 + ["front"] * 500  # of the left faces, then the right
    table = tmp_path / "pose.csv"
    table.write_text("\n".join(["image,pose", *map(",".join, zip(pairs.names, pose, strict=True))]), encoding="utf-8")
    found = {part.name: part.pairs.tolist() for part in slices_of(pairs, table).found}
    assert found["pose: left"] == list(range(100))
    assert found["pose: mixed"] == list(range(100, 200))
    assert found["pose: front"] == list(range(200, 600))


def test_a_column_that_gives_no_slice_says_so(tmp_path: Path) -> None:
    pairs = squares()
    table = tmp_path / "t.csv"
    table.write_text("image,camera\n0.png,old\n600.png,old\n", encoding="utf-8")
    (row,) = [row for row in slice_rows(seen(pairs, slice(0), attributes=table), ROW) if not row.valid]
    assert row.conditions["part"] == "camera"
    assert row.reason == "no group of 'camera' has both faces of 100 pairs"


def test_of_very_many_pairs_some_are_drawn() -> None:
    pairs, often = squares(), 1000
    many = {name: np.tile(getattr(pairs, name), often) for name in ("left", "right", "same", "fold")}
    counts = [len(part.pairs) for part in slices_of(replace(pairs, **many)).found if "brightness" in part.name]
    assert sum(counts) == pytest.approx(200_000, rel=0.02)
    assert counts == pytest.approx([198 / 3 * 1000, 204 / 3 * 1000, 198 / 3 * 1000], rel=0.05)


def test_of_two_hundred_pairs_no_third_is_told() -> None:
    pairs, few = squares(), np.arange(PAIRS) < 200
    cut = dict(left=pairs.left[few], right=pairs.right[few], same=pairs.same[few], fold=pairs.fold[few])
    names = [part.name for part in slices_of(replace(pairs, **cut)).found]
    assert not [name for name in names if name.startswith("brightness")]


def test_files_that_differ_by_chance_alone_are_rarely_called_damaged() -> None:
    random, pairs = np.random.default_rng(0), squares()
    slices = slices_of(pairs).found
    source, called = seen(pairs, slice(0)), 0
    for _ in range(200):
        before, after = (replace(source.verification, correct=random.random(PAIRS) < 0.95) for _ in range(2))
        file = SimpleNamespace(**{**vars(source), "verification": after})
        file.source = SimpleNamespace(**{**vars(source), "verification": before})
        rows = by_part(slice_rows(file, ROW), "slice_accuracy_difference")
        called += any(row.conditions["damaged"] for row in rows.values())
    assert len(slices) >= 3
    assert called <= 15  # 5 % of 200, and room for chance
