"""`pocketface run` without a recipe: a network and options become one, and an ONNX file goes through every stage."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from typer.testing import CliRunner, Result

from pocketface.__main__ import app
from pocketface.faces.contract import InputContract
from pocketface.faces.rendering.synthetic import render_face
from pocketface.models.checkpoint import load_checkpoint
from pocketface.models.complexity import parameters
from pocketface.run_options import RunOptions

SIDE = 24
FED = ("--mean", "127.5", "--scale", "0.0078125", "--size", str(SIDE))
QUICK = (
    "benchmark.threads=[1]",
    "benchmark.rounds=1",
    "benchmark.minimum_runs=5",
    "benchmark.minimum_seconds=0.0",
    "export.targets=['onnx','tflite-fp32']",
    "compare=['onnx']",
    "export.calibration_faces=8",
    "export.allow_drift=true",
)
PRUNED = ("prune.remove=0.3", "prune.steps=1", "prune.epochs=1", "prune.variants=1", "prune.images=8")


def numbers(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.3, shape).astype(np.float32)


def write_network(path: Path, tail: list[onnx.NodeProto]) -> Path:
    """Writes a network as an exporter of a trained one does: batch norms folded, a flatten by constants."""
    weights: dict[str, NDArray[Any]] = {
        "w1": numbers(16, 3, 3, 3),
        "b1": numbers(16),
        "s1": numbers(16, 1, 1, seed=1),
        "w2": numbers(16, 1, 3, 3, seed=2),
        "b2": numbers(16, seed=3),
        "w3": numbers(24, 16, 1, 1, seed=4),
        "b3": numbers(24, seed=5),
        "fc": numbers(24, 8, seed=6),
        "sides": np.array([1, 24]),
        "axis": np.array(1),
    }
    nodes = [
        helper.make_node("Conv", ["face", "w1", "b1"], ["c1"], name="stem", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("PRelu", ["c1", "s1"], ["r1"], name="slopes"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], name="depthwise", group=16, pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c2", "r1"], ["a2"]),
        helper.make_node("Conv", ["a2", "w3", "b3"], ["c3"], name="widen"),
        helper.make_node("Relu", ["c3"], ["r3"]),
        helper.make_node("GlobalAveragePool", ["r3"], ["g"]),
        helper.make_node("Reshape", ["g", "sides"], ["f"]),
        helper.make_node("MatMul", ["f", "fc"], ["m"], name="embed"),
        *tail,
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("face", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with faces of 12 people, pairs of them, and two networks, of which one cannot be trained."""
    folder = tmp_path_factory.mktemp("inputs")
    for person in range(12):
        (folder / "faces" / f"P{person}").mkdir(parents=True)
        for shot in (1, 2):
            face = Image.fromarray(render_face(person, shot)).resize((SIDE, SIDE))
            face.save(folder / "faces" / f"P{person}" / f"P{person}_{shot:04d}.jpg", quality=95)
    lines = ["2\t3"]
    for fold in (0, 6):
        lines += [f"P{fold + i}\t1\t2" for i in range(3)]
        lines += [f"P{fold + i}\t1\tP{fold + i + 3}\t2" for i in range(3)]
    (folder / "faces" / "pairs.txt").write_text("\n".join(lines) + "\n")
    write_network(folder / "net.onnx", [helper.make_node("Identity", ["m"], ["y"])])
    write_network(folder / "odd.onnx", [helper.make_node("CumSum", ["m", "axis"], ["y"], name="sums")])
    return folder


def run(inputs: Path, network: str, out: Path, *settings: str) -> Result:
    options = [part for setting in settings for part in ("--set", setting)]
    where = ("--faces", inputs / "faces", "--pairs", inputs / "faces" / "pairs.txt", "--out", out)
    return CliRunner().invoke(app, ["run", str(inputs / network), *FED, *map(str, where), *options])


@pytest.fixture(scope="module")
def finished(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    result = run(inputs, "net.onnx", out, *QUICK, *PRUNED)
    assert result.exit_code == 0, (result.output, result.exception)
    return out


def test_an_onnx_file_goes_through_every_stage_without_a_recipe(finished: Path) -> None:
    (name,) = [path.name for path in (finished / "checkpoints").iterdir() if path.name.startswith("net-pruned")]
    source, pruned = (load_checkpoint(finished / "checkpoints" / one) for one in ("net", name))
    # layers of 448, 16, 160, 408 and 192 numbers, and a scale per channel of three batch norms that were folded
    assert parameters(source.backbone) == 1224 + 16 + 16 + 24
    assert parameters(pruned.backbone) <= 0.7 * 1280 + 1
    assert pruned.pruned_from == "net"
    rows = json.loads((finished / "measurements.json").read_text())
    parity = {row["artifact"]: row["value"] for row in rows if row["metric"] == "largest_difference"}
    files = {f"artifacts/{name}/{name}{suffix}" for suffix in (".onnx", ".tflite")}
    assert set(parity) == files | {"artifacts/net/net.onnx"}
    assert all(value < 1e-5 for value in parity.values())
    verified = {row["artifact"] for row in rows if row["metric"] == "verification_accuracy" and row["valid"]}
    assert verified == {*parity, "checkpoints/net", f"checkpoints/{name}"}
    assert (finished / "report.html").is_file()
    assert not (finished / "ship").exists()  # noise is recognised at chance: nothing to ship


def test_the_files_of_an_onnx_source_can_be_traced(finished: Path, inputs: Path) -> None:
    (name,) = [path.name for path in (finished / "checkpoints").iterdir() if path.name.startswith("net-pruned")]
    checkpoint, file = finished / "checkpoints" / name, finished / "artifacts" / name / f"{name}.tflite"
    result = CliRunner().invoke(app, ["trace", str(checkpoint), str(file), "--faces", str(inputs / "faces")])
    assert "no layer differs from the source" in result.output, result.output


def test_what_cannot_be_trained_is_converted_and_measured(inputs: Path, tmp_path: Path) -> None:
    result = run(inputs, "odd.onnx", tmp_path / "out", *QUICK, "export.targets=['onnx']", "compare=[]")
    assert result.exit_code == 0, (result.output, result.exception)
    assert "embedder odd: odd.onnx is converted and measured as it is" in result.output
    rows = json.loads((tmp_path / "out" / "measurements.json").read_text())
    verified = {row["artifact"] for row in rows if row["metric"] == "verification_accuracy" and row["valid"]}
    assert verified == {"odd.onnx", "artifacts/odd/odd.onnx"}


def test_what_cannot_be_trained_is_not_pruned(inputs: Path, tmp_path: Path) -> None:
    result = run(inputs, "odd.onnx", tmp_path / "out", *QUICK, *PRUNED)
    assert str(result.exception) == (
        "odd.onnx cannot be trained, as CumSum 'sums' has no form in PyTorch here; "
        "it can be exported and measured as it is"
    )


@pytest.mark.parametrize("command", ["prune", "sensitivity", "recover"])
def test_other_commands_take_an_onnx_file(command: str, inputs: Path, finished: Path, tmp_path: Path) -> None:
    quick = {
        "prune": ("--criterion", "l1", "--by", "macs", "--epochs", "0"),
        "sensitivity": ("--criterion", "fpgm"),
        "recover": ("--teacher", str(finished / "checkpoints" / "net"), "--epochs", "1"),
    }
    given = [command, str(inputs / "net.onnx"), *FED, "--faces", str(inputs / "faces"), "--out", str(tmp_path)]
    result = CliRunner().invoke(app, [*given, *quick[command]])
    assert result.exit_code == 0, (result.output, result.exception)
    if command == "sensitivity":
        assert {row["group"] for row in json.loads((tmp_path / "sensitivity.json").read_text())} == {"stem", "widen"}
    else:
        assert load_checkpoint(tmp_path / "checkpoint").architecture == "onnx"


def test_a_network_and_options_are_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = RunOptions("127.5", "0.01", "32", "bgr", faces=[Path("f")], pairs="p.txt", name="mine", licence="MIT")
    recipe = options.run_recipe("net.onnx", {"prune": {"target": 5}})
    assert recipe.embedder == str(tmp_path / "net.onnx")
    assert (recipe.train, recipe.pairs) == (str(tmp_path / "f"), str(tmp_path / "p.txt"))
    assert (recipe.name, recipe.licence, recipe.prune and recipe.prune.target) == ("mine", "MIT", 5)
    assert recipe.contract is not None
    assert InputContract.from_dict(recipe.contract) == InputContract(32, 32, "bgr", (127.5,) * 3, (0.01,) * 3)
    plain = RunOptions(weights=Path("w.safetensors")).run_recipe("mobilefacenet", {})
    assert (plain.embedder, plain.train, plain.pairs) == ("mobilefacenet", "synthetic", "synthetic")
    assert (plain.weights, plain.prune) == (tmp_path / "w.safetensors", None)


def test_options_win_over_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("train = 'here'\npairs = 'old.txt'\nname = 'old'\n")
    options = RunOptions(pairs=str(tmp_path / "new.txt"), name="new", faces=[tmp_path / "root"])
    recipe = options.run_recipe(str(tmp_path / "own.toml"), {})
    assert (recipe.train, recipe.pairs, recipe.name) == (str(tmp_path / "root/here"), str(tmp_path / "new.txt"), "new")


def test_several_folders_of_faces_are_for_a_network(tmp_path: Path) -> None:
    options = RunOptions(faces=[tmp_path / "a", tmp_path / "b"])
    assert options.run_recipe("embedded-default", {}).train == (str(tmp_path / "a"), str(tmp_path / "b"))
    (tmp_path / "r.toml").write_text("")
    with pytest.raises(ValueError, match=r"name several folders in it: train = "):
        options.run_recipe(str(tmp_path / "r.toml"), {})


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("net.pt", b"\x80\x02", "is weights without their network; name the network too"),
        ("net.engine", b"ftrt", "is a file for one runtime"),
        ("net.toml", b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
    ],
)
def test_what_is_neither_recipe_nor_network_says_what_it_is(
    name: str, content: bytes, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        RunOptions().run_recipe(str(tmp_path / name), {})
