"""The whole chain on small folders of rendered faces: it ends, and a killed run ends with the same rows."""

import json
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pocketface.faces.rendering.synthetic import render_face

RECIPE = """
train = "faces"
pairs = "faces/pairs.txt"
compare = ["onnx"]

[prune]
remove = 0.2
steps = 2
epochs = 2
epochs_between = 0.5
variants = 1
images = 32

[export]
targets = ["onnx", "tflite-fp32", "tflite-w8a8", "coreml-fp32"]

[benchmark]
threads = [1]
rounds = 1
minimum_runs = 5
minimum_seconds = 0.0
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    lines = ["2\t10"]
    for person in range(40):
        (folder / "faces" / f"P{person}").mkdir(parents=True)
        for shot in (1, 2):
            face = Image.fromarray(render_face(person, shot))
            face.save(folder / "faces" / f"P{person}" / f"P{person}_{shot:04d}.jpg", quality=95)
    for fold in (0, 20):
        lines += [f"P{fold + i}\t1\t2" for i in range(10)]
        lines += [f"P{fold + i}\t1\tP{fold + i + 10}\t2" for i in range(10)]
    (folder / "faces" / "pairs.txt").write_text("\n".join(lines) + "\n")
    (folder / "recipe.toml").write_text(RECIPE)
    return folder / "recipe.toml"


def start(recipe: Path, out: Path) -> subprocess.Popen[str]:
    setting = ("--set", "export.calibration_faces=16")
    command = [sys.executable, "-m", "pocketface", "run", str(recipe), *setting, "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(recipe: Path, out: Path) -> str:
    process = start(recipe, out)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return output


def kill_when(recipe: Path, out: Path, pattern: str) -> None:
    """Starts a run and kills it as soon as a file of that name is there."""
    process = start(recipe, out)
    try:
        end = time.monotonic() + 300
        while not list(out.glob(pattern)):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < end, f"{pattern} never came"
            time.sleep(0.02)
    finally:
        process.kill()
        process.communicate()


def rows_of(out: Path) -> dict[tuple[str, ...], Any]:
    """Every row by what it is of, with its value, but for times and memory, which no two runs share."""
    timed = ("latency_", "cpu_ms", "load_ms", "first_ms", "peak_memory")
    rows = json.loads((out / "measurements.json").read_text())
    keys = ("model", "artifact", "format", "precision", "runtime", "metric")
    return {
        (*(row[key] for key in keys), *(str(row["conditions"].get(key)) for key in ("threads", "part"))): None
        if row["metric"].startswith(timed)
        else (row["value"], row["valid"], row["n"])
        for row in rows
    }


@pytest.fixture(scope="module")
def uninterrupted(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    assert finish(recipe, out).splitlines()[-1] == f"report: {out / 'report.html'}"
    return out


def test_a_run_leaves_all_that_the_design_names(uninterrupted: Path) -> None:
    there = {path.name for path in uninterrupted.iterdir()}
    wanted = {
        "recipe.toml",
        "manifest.json",
        "checkpoints",
        "artifacts",
        "measurements.json",
        "report.html",
        "report.md",
    }
    assert wanted <= there
    assert not [path for path in uninterrupted.rglob("*") if ".part" in path.name]


def test_what_the_report_recommends_lies_ready_to_ship(uninterrupted: Path) -> None:
    (advice,) = json.loads((uninterrupted / "report.json").read_text())["recommendations"]
    files = {Path(each["artifact"]).name for each in advice["choices"] if each["artifact"]}
    ship = uninterrupted / "ship"
    assert files and {path.name for path in (ship / "models").iterdir()} == files
    assert all(
        (ship / f"{name}.md").read_text() == (uninterrupted / "cards" / f"{name}.md").read_text() for name in files
    )


def test_a_setting_of_the_command_is_in_the_recipe_of_the_run(uninterrupted: Path) -> None:
    recipe = tomllib.loads((uninterrupted / "recipe.toml").read_text())
    assert recipe["export"]["calibration_faces"] == 16 and recipe["benchmark"]["minimum_runs"] == 5


def test_every_file_has_its_own_accuracy_and_is_compared_with_the_source(uninterrupted: Path) -> None:
    rows = json.loads((uninterrupted / "measurements.json").read_text())
    accuracy = {row["artifact"].rpartition("/")[2]: row for row in rows if row["metric"] == "verification_accuracy"}
    assert len(accuracy) == 7  # source: checkpoint, onnx; pruned: checkpoint, onnx, two tflite, one mlpackage
    assert all(row["n"] == 40 and 0 <= row["low"] <= row["value"] <= row["high"] <= 1 for row in accuracy.values())
    cosine = [row for row in rows if row["metric"] == "embedding_cosine_mean"]
    assert len(cosine) == 7 and cosine[0]["value"] == pytest.approx(1)


def test_core_ml_latency_is_a_row_that_says_why_it_is_not_measured(uninterrupted: Path) -> None:
    rows = json.loads((uninterrupted / "measurements.json").read_text())
    (row,) = [row for row in rows if row["format"] == "coreml" and row["metric"] == "latency_ms_p50"]
    assert row["value"] is None and not row["valid"]
    assert "not measured off a Mac" in row["reason"] and "Xcode" in row["reason"]


def test_a_run_killed_again_and_again_ends_with_the_same_rows(
    recipe: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for moment in (
        "recipe.toml",
        "checkpoints/unfinished/*",
        "artifacts/*/*.tflite",
        "embeddings/*.npy",
        "latency.json",
    ):
        kill_when(recipe, out, moment)
    finish(recipe, out)
    assert rows_of(out) == rows_of(uninterrupted)


def test_what_is_damaged_is_made_again_also_under_another_path_to_the_same_faces(
    recipe: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "it's \u201cmoved\u201d, \u4eba"
    shutil.copytree(uninterrupted, out)
    (tmp_path / "link").symlink_to(recipe.parent)
    (weights,) = out.glob("checkpoints/*pruned*/weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    (out / "artifacts").joinpath(weights.parent.name, "exported.json").write_bytes(b"")
    (embeddings, *_) = sorted(out.glob("embeddings/*.npy"))
    embeddings.write_bytes(b"")
    (out / "latency.json").write_bytes((out / "latency.json").read_bytes()[:-9])
    (out / "measurements.json").write_bytes(b"")
    (out / ".report.md.part").write_text("half")
    said = finish(tmp_path / "link" / "recipe.toml", out)
    for damaged in ("embedder.json", "exported.json", embeddings.name, "latency.json"):
        assert f"{damaged} is damaged, and made again: " in said
    assert rows_of(out) == rows_of(uninterrupted)
    assert not [path for path in out.rglob(".*")]


def test_a_second_run_in_the_folder_is_told_who_holds_it(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = start(recipe, out)
    try:
        end = time.monotonic() + 300
        while not (out / "recipe.toml").exists():
            assert first.poll() is None and time.monotonic() < end
            time.sleep(0.02)
        second = start(recipe, out)
        output, _ = second.communicate(timeout=300)
        assert second.returncode == 2
        assert output == (
            f"pocketface: {out} is in use by process {first.pid}; wait until it ends, or name another with --out\n"
        )
        assert first.poll() is None
    finally:
        first.kill()
        first.communicate()


def test_a_folder_of_another_recipe_is_not_mixed_with_this_one(
    recipe: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    other = recipe.with_name("other.toml")
    other.write_text(RECIPE.replace("remove = 0.2", "remove = 0.4"))
    process = start(other, uninterrupted)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert output.splitlines()[-1].endswith(
        "holds a run of another recipe: prune.remove is 0.2 there and 0.4 here; name another folder with --out"
    )
