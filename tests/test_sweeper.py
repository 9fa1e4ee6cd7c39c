"""A sweep of a tiny network through the command line: made once, killed and resumed, reported."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from pocketface.__main__ import app
from pocketface.faces.rendering.synthetic import render_face
from pocketface.models.checkpoint import load_checkpoint

NET = """
from torch import nn


def build():
    stem = nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU()
    body = nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU()
    return nn.Sequential(*stem, *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 8))
"""
RECIPE = """
embedder = "net.py:build"
weights = "net.safetensors"
train = "faces"
pairs = "faces/pairs.txt"
compare = []
contract = { height = 24, width = 24, mean = [127.5, 127.5, 127.5], scale = [0.01, 0.01, 0.01] }

[prune]
steps = 1
epochs = 1
variants = 1
images = 8

[sweep]
criterion = ["l1"]
remove = [0.2, 0.5, 0.95]

[export]
targets = ["onnx"]
calibration_faces = 8

[benchmark]
threads = [1]
rounds = 1
minimum_runs = 5
minimum_seconds = 0.0
arm64 = []
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("inputs")
    (folder / "net.py").write_text(NET)
    (folder / "sweep.toml").write_text(RECIPE)
    names: dict[str, object] = {}
    exec(NET, names)
    torch.manual_seed(0)
    save_file(names["build"]().state_dict(), folder / "net.safetensors")  # type: ignore[operator]
    for person in range(12):
        (folder / "faces" / f"P{person}").mkdir(parents=True)
        for shot in (1, 2):
            face = Image.fromarray(render_face(person, shot)).resize((24, 24))
            face.save(folder / "faces" / f"P{person}" / f"P{person}_{shot:04d}.jpg", quality=95)
    lines = ["2\t3"]
    for fold in (0, 6):
        lines += [f"P{fold + i}\t1\t2" for i in range(3)]
        lines += [f"P{fold + i}\t1\tP{fold + i + 3}\t2" for i in range(3)]
    (folder / "faces" / "pairs.txt").write_text("\n".join(lines) + "\n")
    return folder / "sweep.toml"


def sweep(recipe: Path, out: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["sweep", str(recipe), "--out", str(out), *options])


@pytest.fixture(scope="module")
def swept(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sweep") / "out"
    result = sweep(recipe, out)
    assert result.exit_code == 0, (result.output, result.exception)
    assert result.output.splitlines()[-1] == f"report: {out / 'sweep.html'}"
    return out


def rows_of(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "sweep.csv").open()))


def weights_of(out: Path, factory: str) -> dict[str, str]:
    """The hash of every network that a sweep keeps, by its cell."""
    folders = [path.parent for path in (out / "cells").glob("*/*/embedder.json")]
    return {folder.parent.name: load_checkpoint(folder, factory).sha256 for folder in folders}


def test_every_network_is_measured_before_and_after_recovery(swept: Path) -> None:
    rows = rows_of(swept)
    assert [(row["level"], row["stage"]) for row in rows if row["series"]] == [
        (level, stage)
        for level in ("20 % of parameters", "50 % of parameters")
        for stage in ("before recovery", "after recovery", "file")
    ] + [("95 % of parameters", "not made")]
    for row in rows[:-1]:
        assert float(row["verification_accuracy_low"]) <= float(row["verification_accuracy"]) <= 1
    sizes = [float(row["parameters"]) for row in rows if row["stage"] == "after recovery"]
    whole = 448 + 32 + 4640 + 64 + 264  # two convolutions, two batch norms, the embedding
    assert sizes[0] <= 0.8 * whole and sizes[1] <= 0.5 * whole


def test_a_size_that_cannot_be_reached_is_told_and_the_others_are_made(swept: Path) -> None:
    assert "95" in rows_of(swept)[-1]["level"] and rows_of(swept)[-1]["reason"]
    assert "Not made" in (swept / "sweep.html").read_text()


def test_the_same_command_makes_nothing_anew(recipe: Path, swept: Path) -> None:
    made = {path: path.stat().st_mtime_ns for path in (swept / "cells").glob("*/cell.json")}
    assert sweep(recipe, swept).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in (swept / "cells").glob("*/cell.json")} == made


def test_the_plan_tells_what_is_made_and_what_is_not_known(recipe: Path, swept: Path, tmp_path: Path) -> None:
    told = sweep(recipe, tmp_path / "new", "--dry-run").output
    assert "14 cells, 0 of them made" in told and "cut: 3 to make, time not known yet" in told
    assert not (tmp_path / "new").exists()
    more = sweep(recipe, swept, "--dry-run", "--set", "sweep.seed=[0,1]").output
    assert "cut: 4 to make, about " in more and "in all about " in more


def test_another_sweep_takes_the_cells_of_a_shared_folder(recipe: Path, swept: Path, tmp_path: Path) -> None:
    options = ("--cells", str(swept / "cells"), "--set", "sweep.remove=[0.2]")
    before = set((swept / "cells").iterdir())
    result = sweep(recipe, tmp_path / "other", *options)
    assert result.exit_code == 0, (result.output, result.exception)
    assert set((swept / "cells").iterdir()) == before
    assert (tmp_path / "other" / "sweep.html").is_file() and not (tmp_path / "other" / "cells").exists()


def test_a_machine_that_shares_no_folder_takes_the_cells_of_an_archive(
    recipe: Path, swept: Path, tmp_path: Path
) -> None:
    archive = ("--archive", f"file://{tmp_path / 'archive'}", "--set", "sweep.remove=[0.2]")
    shutil.copytree(swept, tmp_path / "one")
    assert sweep(recipe, tmp_path / "one", *archive).exit_code == 0  # nothing is made, and all is kept
    assert "6 cells, 6 of them made" in sweep(recipe, tmp_path / "two", "--dry-run", *archive).output
    result = sweep(recipe, tmp_path / "two", *archive, "--jobs", "2")
    assert result.exit_code == 0, (result.output, result.exception)
    kept = {path.parent.name: path.read_bytes() for path in (tmp_path / "archive").glob("*/cell.json")}
    assert kept == {path.parent.name: path.read_bytes() for path in (tmp_path / "two" / "cells").glob("*/cell.json")}
    assert len(kept) == 6
    assert (tmp_path / "two" / "sweep.csv").read_text() == (tmp_path / "one" / "sweep.csv").read_text()


def test_what_a_cell_needs_comes_from_the_archive(recipe: Path, swept: Path, tmp_path: Path) -> None:
    archive, one = tmp_path / "archive", ("--set", "sweep.remove=[0.2]")
    shutil.copytree(swept / "cells", archive)
    for folder in [*archive.glob("recovery-*"), *archive.glob("files-*"), *archive.glob("timing-*")]:
        shutil.rmtree(folder)
    result = sweep(recipe, tmp_path / "out", "--archive", str(archive), *one)
    assert result.exit_code == 0, (result.output, result.exception)
    factory = f"{recipe.parent / 'net.py'}:build"
    assert len(weights_of(tmp_path / "out", factory)) == 3
    assert weights_of(tmp_path / "out", factory).items() <= weights_of(swept, factory).items()
    assert len(list(archive.glob("recovery-*/cell.json"))) == 1  # it was made here, and is there again


def test_a_damaged_cell_is_made_again(recipe: Path, swept: Path, tmp_path: Path) -> None:
    shutil.copytree(swept, tmp_path / "out")
    (weights, *_) = sorted((tmp_path / "out" / "cells").glob("cut-*/cut/weights.safetensors"))
    weights.write_bytes(b"damaged")
    assert sweep(recipe, tmp_path / "out").exit_code == 0
    factory = f"{recipe.parent / 'net.py'}:build"
    assert weights_of(tmp_path / "out", factory) == weights_of(swept, factory)


def test_a_killed_sweep_ends_with_the_same_networks(recipe: Path, swept: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    one = ("--set", "sweep.remove=[0.2]")
    command = [sys.executable, "-m", "pocketface", "sweep", str(recipe), "--out", str(out), *one]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}  # as the other networks were made: sums depend on it
    for pattern in ("cells/cut-*", "cells/recovery-*/cell.json"):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        end = time.monotonic() + 200
        while not list(out.glob(pattern)) and process.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.02)
        process.kill()
        process.communicate()
    result = sweep(recipe, out, *one)
    assert result.exit_code == 0, (result.output, result.exception)
    factory = f"{recipe.parent / 'net.py'}:build"
    assert len(weights_of(out, factory)) == 3  # the source, the cut, the recovered
    assert weights_of(out, factory).items() <= weights_of(swept, factory).items()
    told = ("level", "stage", "verification_accuracy", "accuracy_difference_low", "size_bytes", "reason")
    after, before = ([[row[key] for key in told] for row in rows_of(folder)] for folder in (out, swept))
    assert len(after) == 4 and all(row in before for row in after)


def trained_anew(recipe: Path, swept: Path, out: Path, *options: str) -> dict[str, str]:
    """Sweeps one size in a copy without the networks that were trained; gives their hashes."""
    shutil.copytree(swept, out)
    for folder in [*(out / "cells").glob("cut-*"), *(out / "cells").glob("recovery-*")]:
        shutil.rmtree(folder)
    result = sweep(recipe, out, "--set", "sweep.remove=[0.2]", *options)
    assert result.exit_code == 0, (result.output, result.exception)
    made = weights_of(out, f"{recipe.parent / 'net.py'}:build")
    assert len(made) == 3  # the source, the cut, the recovered
    return made


def test_several_processes_make_the_same_networks(recipe: Path, swept: Path, tmp_path: Path) -> None:
    made = trained_anew(recipe, swept, tmp_path / "out", "--jobs", "2")
    assert made.items() <= weights_of(swept, f"{recipe.parent / 'net.py'}:build").items()


def test_a_search_tells_what_it_found(recipe: Path, swept: Path) -> None:
    goal = ("--max-drop", "99", "--set", "sweep.goal.most=0.2", "--set", "sweep.goal.within=0.1")
    result = sweep(recipe, swept, *goal)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "l1: the smallest network within 99 points has 20 % of parameters removed: " in result.output
    assert "1 trainings; a grid as fine has 2" in result.output


def test_a_recipe_without_the_table_is_refused(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "plain.toml").write_text("train = 'faces'\n")
    result = sweep(tmp_path / "plain.toml", tmp_path / "out")
    assert "has no table [sweep]" in str(result.exception)


def test_the_record_of_a_cell_says_what_it_took(swept: Path) -> None:
    record = json.loads(next((swept / "cells").glob("recovery-*/cell.json")).read_text())
    assert record["work"] == 24.0  # one epoch of 24 faces
    assert record["seconds"] > 0 and "recovered/weights.safetensors" in record["files"]


def test_a_ray_cluster_makes_the_same_networks(
    recipe: Path, swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    made = trained_anew(recipe, swept, tmp_path / "out", "--engine", "ray")
    assert made.items() <= weights_of(swept, f"{recipe.parent / 'net.py'}:build").items()
