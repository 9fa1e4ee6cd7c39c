"""The command line: quick help, and for every mistake one sentence and exit code 2."""

import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from pocketface.__main__ import main
from pocketface.benchmark.measurement import read_measurements
from pocketface.faces.rendering.synthetic import render_face
from pocketface.models.checkpoint import load_checkpoint, save_checkpoint
from pocketface.models.zoo import create

Said = Callable[..., str]


def failure(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str:
    """Runs the command line in this process; gives its one sentence."""
    monkeypatch.setattr(sys, "argv", ["pocketface", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("pocketface: ") and message.count("\n") == 1, message
    assert "Traceback" not in message
    return message


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Said:
    return lambda *arguments: failure(capsys, monkeypatch, *arguments)


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    folder = tmp_path / "faces"
    for number, person in enumerate(("Ann", "Bob", "Dan", "Eve")):
        (folder / person).mkdir(parents=True)
        for shot in (1, 2):
            Image.fromarray(render_face(number, shot)).save(folder / person / f"{person}_000{shot}.jpg")
    (folder / "pairs.txt").write_text("1 1\nAnn 1 2\nAnn 1 Bob 1\n")
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(create("mobilefacenet", width=0.25), tmp_path_factory.mktemp("net") / "checkpoint")


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-m", "pocketface", "--help"], capture_output=True, text=True, check=True)
    assert "benchmark" in done.stdout
    heavy = "import sys, pocketface.__main__; print({'torch', 'numpy', 'onnx', 'pydantic'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert loaded.stdout == "set()\n"


Done = Callable[..., str]


@pytest.fixture
def done(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Done:
    """Runs the command line in this process; gives the last line it says."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["pocketface", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        printed = capsys.readouterr()
        assert exit_.value.code == 0, printed.err
        return printed.out.splitlines()[-1]

    return run


def test_the_stages_one_by_one(checkpoint: Path, faces: Path, tmp_path: Path, done: Done) -> None:
    pairs, out = faces / "pairs.txt", tmp_path / "out"
    (faces / "pairs.txt").write_text("2\t1\nAnn\t1\t2\nAnn\t1\tBob\t1\nBob\t1\t2\nAnn\t2\tBob\t2\n")
    said = done("prune", checkpoint, "--faces", faces, "--remove", 0.3, "--steps", 1, "--epochs", 0, "--out", out)
    assert re.search(r"\d\.\d\d times as fast", said)
    (entry,) = [entry for entry in load_checkpoint(out / "checkpoint").ancestry if entry["stage"] == "prune"]
    before, after = entry["parameters"]
    assert 0.6 < after / before <= 0.7
    done("export", out / "checkpoint", "--faces", faces, "--target", "tflite-fp32", "--out", out)
    said = done("benchmark", out / "checkpoint", out / "artifacts", "--pairs", pairs, "--threads", 1, "--out", out)
    rows = [row for row in read_measurements(out / "measurements.json") if row.metric == "embedding_cosine_min"]
    assert [row.format for row in rows] == ["pytorch", "onnx", "tflite"]
    assert all(row.value is not None and row.value > 0.99999 for row in rows)
    assert done("report", out) == str(out / "report.md")


def test_a_student_learns_from_a_teacher_of_another_size(
    checkpoint: Path, faces: Path, tmp_path: Path, done: Done
) -> None:
    shards = tmp_path / "train-000.tar"
    with tarfile.open(shards, "w") as tar:  # as WebDataset writes them; without labels
        for image in sorted(faces.rglob("*.jpg")):
            tar.add(image, f"{image.stem}.jpg")
    out = tmp_path / "out"
    student = ("squeezefacenet", "--size", 112, "--teacher", checkpoint, "--faces", shards)
    quick = ("--epochs", 2, "--set", "batch_size=4", "--set", "variants=1")
    assert done("recover", *student, *quick, "--out", out) == str(out / "checkpoint")
    trained = load_checkpoint(out / "checkpoint")
    assert trained.architecture == "squeezefacenet" and trained.contract.height == 112
    assert trained.ancestry[-1]["teacher"]["name"] == "mobilefacenet"
    assert trained.ancestry[-1]["phases"][0]["batches"] == 4


def test_a_student_learns_from_labels(checkpoint: Path, faces: Path, tmp_path: Path, done: Done) -> None:
    done("recover", checkpoint, "--faces", faces, "--epochs", 1, "--set", "batch_size=4", "--out", tmp_path / "out")
    assert load_checkpoint(tmp_path / "out" / "checkpoint").ancestry[-1]["recipe"]["signal"] == "arcface"


def test_a_setting_that_no_recipe_has(said: Said, checkpoint: Path, faces: Path, tmp_path: Path) -> None:
    message = said("prune", checkpoint, "--faces", faces, "--set", "stepz=3", "--out", tmp_path / "out")
    assert "there is no 'stepz'; did you mean 'steps'?" in message


def test_a_misspelt_key_names_the_nearest_one(said: Said, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[prune]\nremov = 0.3\n")
    message = said("run", recipe, "--out", tmp_path / "out")
    assert "there is no 'prune.remov'; did you mean 'remove'?" in message
    assert not (tmp_path / "out").exists()


def test_a_value_of_the_wrong_kind_is_named(said: Said, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[export]\ntargets = ['tflite-int4']\n")
    assert "no target 'tflite-int4'; known: onnx" in said("run", recipe, "--out", tmp_path / "out")


def test_a_recipe_that_is_no_toml(said: Said, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("prune = {\n")
    assert "is no TOML or YAML" in said("run", recipe, "--out", tmp_path / "out")


def test_a_corrupt_image(said: Said, faces: Path, checkpoint: Path, tmp_path: Path) -> None:
    image = faces / "Ann" / "Ann_0001.jpg"
    image.write_bytes(image.read_bytes()[:300])
    message = said("benchmark", checkpoint, "--pairs", faces / "pairs.txt", "--out", tmp_path / "out")
    assert "Ann_0001.jpg" in message
    assert files_below(tmp_path / "out") == []


def test_an_image_of_the_wrong_size(said: Said, faces: Path, checkpoint: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((250, 250, 3), np.uint8)).save(faces / "Bob" / "Bob_0001.jpg")
    message = said("benchmark", checkpoint, "--pairs", faces / "pairs.txt", "--out", tmp_path / "out")
    assert "Bob_0001.jpg" in message and "250x250" in message and "112x112" in message


def test_pairs_that_name_a_missing_image(said: Said, faces: Path, checkpoint: Path, tmp_path: Path) -> None:
    (faces / "pairs.txt").write_text("1 1\nAnn 1 2\nAnn 1 Cid 1\n")
    message = said("benchmark", checkpoint, "--pairs", faces / "pairs.txt", "--out", tmp_path / "out")
    assert "Cid" in message and "3" in message


def test_a_truncated_checkpoint(said: Said, checkpoint: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in checkpoint.iterdir():
        (damaged / file.name).write_bytes(
            file.read_bytes()[:5000] if file.suffix == ".safetensors" else file.read_bytes()
        )
    message = said("export", damaged, "--out", tmp_path / "out")
    assert "weights.safetensors is damaged" in message
    assert files_below(tmp_path / "out") == []


def test_weights_of_another_net(said: Said, checkpoint: Path, tmp_path: Path) -> None:
    message = said(
        "export", "squeezefacenet", "--weights", checkpoint / "weights.safetensors", "--out", tmp_path / "out"
    )
    assert "holds the weights of another network" in message
    assert files_below(tmp_path / "out") == []


def test_an_onnx_file_with_an_unknown_operator(said: Said, tmp_path: Path) -> None:
    node = onnx.helper.make_node("Det", ["x"], ["y"], name="determinant")
    square = onnx.helper.make_node("Slice", ["x0", "starts", "ends", "axes"], ["x"])
    flat = onnx.helper.make_node("Identity", ["y"], ["z"])
    graph = onnx.helper.make_graph(
        [square, node, flat],
        "g",
        [onnx.helper.make_tensor_value_info("x0", onnx.TensorProto.FLOAT, [1, 3, 112, 112])],
        [onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, [1, 3])],
        [
            onnx.numpy_helper.from_array(np.array([0, 0]), "starts"),
            onnx.numpy_helper.from_array(np.array([2, 2]), "ends"),
            onnx.numpy_helper.from_array(np.array([2, 3]), "axes"),
        ],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "det.onnx")
    message = said(
        "export", tmp_path / "det.onnx", "--mean", "127.5", "--scale", "0.0078125",
        "--target", "tflite-fp32", "--out", tmp_path / "out",
    )  # fmt: skip
    assert "Det" in message or "Slice" in message
    assert not [name for name in files_below(tmp_path / "out") if name.endswith((".tflite", ".part"))]


def test_a_truncated_onnx_file(said: Said, tmp_path: Path) -> None:
    (tmp_path / "half.onnx").write_bytes(b"\x08\x08\x12\x07pytorch")
    message = said("export", tmp_path / "half.onnx", "--mean", "0", "--scale", "1", "--out", tmp_path / "out")
    assert "half.onnx" in message


def test_a_folder_that_cannot_be_written_to(said: Said, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = said("run", "--out", tmp_path / "file" / "out")
    assert "cannot write to" in message and "--out" in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(said: Said, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    assert "cannot write to" in said("run", "--out", tmp_path / "closed" / "out")


def test_an_unknown_embedder_lists_the_known(said: Said, tmp_path: Path) -> None:
    assert "no embedder 'mobilefacenets'; known: " in said("prune", "mobilefacenets", "--out", tmp_path / "out")
