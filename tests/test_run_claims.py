"""Whose a run folder is: the same recipe under other spellings of its paths, another one, or nobody can tell."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from pocketface.faces.contract import InputContract
from pocketface.faces.folders import LabelledFaces, content_sha256
from pocketface.faces.pairs import Pairs
from pocketface.models.embedder import Embedder
from pocketface.run_claims import Claim, claim
from pocketface.run_recipe import RunRecipe, with_settings

NET = Embedder("net", nn.Linear(1, 1), InputContract(8, 8), "net.py:net")


def faces(seed: int = 0) -> LabelledFaces:
    pixels, labels = np.full((2, 8, 8, 3), seed, np.uint8), np.arange(2)
    return LabelledFaces(pixels, labels, ("a", "b"), content_sha256(pixels, labels))


def pairs() -> Pairs:
    return Pairs.of(np.zeros((2, 8, 8, 3), np.uint8), [0, 0], [0, 1], np.array([True, False]), [0, 0], "ab", [0, 1])


def begin(out: Path, recipe: RunRecipe, seed: int = 0) -> tuple[Claim, list[str]]:
    """Claims a folder as a run does; gives what was said too."""
    said: list[str] = []
    claimed = claim(out, recipe, said.append)
    claimed.settle(NET, faces(seed), pairs())
    return claimed, said


@pytest.fixture
def recipe(tmp_path: Path) -> RunRecipe:
    (tmp_path / "faces").mkdir()
    (tmp_path / "out").mkdir()
    return RunRecipe(train=str(tmp_path / "faces"), pairs=str(tmp_path / "faces" / "pairs.txt"))


def test_a_new_folder_gets_the_recipe_and_its_inputs(recipe: RunRecipe, tmp_path: Path) -> None:
    claimed, said = begin(tmp_path / "out", recipe)
    assert (tmp_path / "out" / "recipe.toml").read_text() == recipe.to_toml()
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["inputs"]["train"] == {"name": "faces", "faces": 2, "sha256": faces().sha256}
    assert "seconds" not in manifest and said == []
    stages = [{"stage": "prune", "seconds": 2.0, "cpu_seconds": 3.5}]
    claimed.finish(NET, faces(), pairs(), stages)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["seconds"] >= 0 and manifest["stages"] == stages


def test_seconds_are_never_negative_though_the_clock_is_set_back(
    recipe: RunRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed, _ = begin(tmp_path / "out", recipe)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    claimed.finish(NET, faces(), pairs())
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["seconds"] >= 0


def test_a_field_that_differs_is_named(recipe: RunRecipe, tmp_path: Path) -> None:
    recipe = with_settings(recipe, {"benchmark": {"rounds": 3}})
    begin(tmp_path / "out", recipe)
    for changes, differs in (
        ({"prune": {"remove": 0.4}}, "prune is not set there and set here"),
        ({"benchmark": {"rounds": 9}}, "benchmark.rounds is 3 there and 9 here"),
        ({"licence": "MIT"}, "licence is unknown there and MIT here"),
    ):
        with pytest.raises(ValueError, match=f"another recipe: {differs}; name another folder with --out"):
            claim(tmp_path / "out", with_settings(recipe, changes), print)


def test_the_same_faces_under_another_spelling_are_the_same_recipe(recipe: RunRecipe, tmp_path: Path) -> None:
    begin(tmp_path / "out", recipe)
    (tmp_path / "link").symlink_to(tmp_path / "faces")
    for train in (tmp_path / "link", tmp_path / "faces" / ".." / "faces"):
        assert begin(tmp_path / "out", recipe.model_copy(update={"train": str(train)}))[1] == []
    (tmp_path / "moved").mkdir()
    os.rename(tmp_path / "faces", tmp_path / "moved" / "people")  # the link is broken by now
    moved = recipe.model_copy(update={"train": str(tmp_path / "moved" / "people")})
    begin(tmp_path / "out", moved)
    assert (tmp_path / "out" / "recipe.toml").read_text() == moved.to_toml()


def test_other_faces_are_another_recipe(recipe: RunRecipe, tmp_path: Path) -> None:
    begin(tmp_path / "out", recipe)
    other = recipe.model_copy(update={"train": "/others"})
    with pytest.raises(ValueError, match=r"another recipe: train is .*/faces there and /others here; name another"):
        begin(tmp_path / "out", other, seed=1)
    assert (tmp_path / "out" / "recipe.toml").read_text() == recipe.to_toml()


@pytest.mark.parametrize("text", ["", "[prune\n", "\x00\x00\x00"])
def test_a_damaged_recipe_is_written_again_and_said(recipe: RunRecipe, tmp_path: Path, text: str) -> None:
    begin(tmp_path / "out", recipe)
    (tmp_path / "out" / "recipe.toml").write_text(text)
    claimed, said = begin(tmp_path / "out", recipe)
    assert claimed.damaged and len(said) == 1 and "recipe.toml is damaged" in said[0]
    assert (tmp_path / "out" / "recipe.toml").read_text() == recipe.to_toml()


def test_a_recipe_that_somebody_else_wrote_is_not_replaced(recipe: RunRecipe, tmp_path: Path) -> None:
    (tmp_path / "out" / "recipe.toml").write_text('train = "faces"\n')
    with pytest.raises(ValueError, match="out holds another recipe; name another folder with --out"):
        claim(tmp_path / "out", recipe, print)


def test_measurements_of_another_stage_are_not_replaced(recipe: RunRecipe, tmp_path: Path) -> None:
    row = {"model": "a", "artifact": "a.onnx", "format": "onnx", "precision": "fp32", "runtime": "r", "device": "d"}
    (tmp_path / "out" / "measurements.json").write_text(
        json.dumps([{**row, "metric": "size_bytes", "value": 1, "unit": "bytes"}])
    )
    with pytest.raises(ValueError, match="holds the measurements of `pocketface benchmark`, which `pocketface run`"):
        claim(tmp_path / "out", recipe, print)
