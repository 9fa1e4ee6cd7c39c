"""The command line: quick help, and for every mistake one sentence and exit code 2."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import pytest
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

from pocketface.__main__ import app, main
from pocketface.benchmark.measurement import read_measurements, write_measurements
from pocketface.export.recipe import ExportRecipe
from pocketface.faces.rendering.synthetic import render_face
from pocketface.models.checkpoint import load_checkpoint, save_checkpoint
from pocketface.models.zoo import create
from pocketface.prune.recipe import Budget, CriterionName, PruneRecipe, ScheduleName, SignalName
from pocketface.run_recipe import RunRecipe

CONTRACT = ("--mean", "127.5", "--scale", "0.00784313725")

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


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("run", "no recipe at nobody"),
        ("benchmark", "no file at nobody"),
        ("diagnose --golden golden-0 --vector 1,2", "no file at nobody"),
        *((command, "no embedder 'nobody'; known: ") for command in ("prune", "recover", "sensitivity", "export")),
    ],
)
def test_a_name_that_is_refused_loads_no_torch(command: str, sentence: str) -> None:
    code = (
        "import sys; from pocketface.__main__ import main\n"
        f"sys.argv = ['pocketface', *'{command}'.split(), 'nobody']\n"
        "try:\n    main()\n"
        "except SystemExit as ended:\n    print(ended.code, {'torch', 'scipy', 'onnx'} & set(sys.modules))"
    )
    refused = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert refused.stdout == "2 set()\n" and refused.stderr.startswith(f"pocketface: {sentence}")


Done = Callable[..., str]


@pytest.fixture
def done(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Done:
    """Runs the command line in this process; gives all that it says."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["pocketface", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        printed = capsys.readouterr()
        assert exit_.value.code == 0, printed.err
        return printed.out

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
    quick = [part for one in ("rounds=1", "minimum_runs=5", "minimum_seconds=0") for part in ("--set", one)]
    files = (out / "checkpoint", out / "artifacts")
    done("benchmark", *files, "--pairs", pairs, "--threads", 1, *quick, "--out", out)
    rows = [row for row in read_measurements(out / "measurements.json") if row.metric == "embedding_cosine_min"]
    assert [row.format for row in rows] == ["pytorch", "onnx", "tflite"]
    assert all(row.value is not None and row.value > 0.99999 for row in rows)
    said = done("report", out, "--quiet")
    assert said.startswith("file ") and said.endswith(f"report: {out / 'report.html'}\n")


def test_a_student_learns_from_a_teacher_of_another_size(
    checkpoint: Path, faces: Path, tmp_path: Path, done: Done
) -> None:
    shards = tmp_path / "train-000.tar"
    with tarfile.open(shards, "w") as tar:  # as WebDataset writes them; without labels
        for image in sorted(faces.rglob("*.jpg")):
            tar.add(image, f"{image.stem}.jpg")
    out = tmp_path / "out"
    student = ("squeezefacenet", "--size", 112, *CONTRACT, "--teacher", checkpoint, "--faces", shards)
    quick = ("--epochs", 2, "--set", "batch_size=4", "--set", "variants=1")
    assert f"is in {out / 'checkpoint'}" in done("recover", *student, *quick, "--out", out).replace("\n", " ")
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


def test_a_typo_in_an_embedders_name(said: Said, tmp_path: Path) -> None:
    message = said("export", "embeded-default", "--out", tmp_path / "out")
    assert "no embedder 'embeded-default'; known: embedded-default, " in message
    assert message.endswith("; did you mean 'embedded-default'?\n")


def test_a_file_that_is_not_there(said: Said, tmp_path: Path) -> None:
    for command in ("prune", "recover", "sensitivity", "export"):
        assert "there is no file or folder nosuch.onnx" in said(command, "nosuch.onnx", "--out", tmp_path / "out")
    assert "there is no file or folder runs/nosuch" in said("export", "runs/nosuch", "--out", tmp_path / "out")


def test_an_onnx_file_wants_a_contract_in_every_command(said: Said, tmp_path: Path) -> None:
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Flatten", ["x"], ["y"])],
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 192])],
    )
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), tmp_path / "net.onnx")
    assert "does not say what it must be fed; give --mean and --scale" in said("export", tmp_path / "net.onnx")
    assert "does not say what it must be fed; give --mean and --scale" in said("prune", tmp_path / "net.onnx")
    assert "--mean takes one number or three with commas, not 'a,b'" in said(
        "export", tmp_path / "net.onnx", "--mean", "a,b"
    )
    assert "is stated in part (mean); scale must be too" in said("export", tmp_path / "net.onnx", "--mean", "127.5")
    (tmp_path / "net.py").write_text("import torch\ndef make():\n    return torch.nn.Flatten()\n")
    network = f"{tmp_path / 'net.py'}:make"
    sentence = said("export", network, "--out", tmp_path / "out")
    assert f"{network} does not say what it must be fed; give --mean and --scale" in sentence
    assert files_below(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("def make():\n    return {}['x']\n", "net.py:make failed: 'x' (KeyError in net.py, line 2)"),
        ("def make():\n    pass\n", "net.py:make gave a NoneType; a factory gives a torch.nn.Module"),
        ("make = 1\n1 / 0\n", "net.py cannot be run: division by zero (ZeroDivisionError in net.py, line 2)"),
        ("def make(\n", "net.py cannot be run: '(' was never closed (net.py, line 1)"),
        (
            "import torch\nclass Net(torch.nn.Conv2d):\n    def forward(self, x):\n        return self.nothing\n"
            "def make():\n    return Net(3, 3, 1)\n",
            "make cannot embed a 112x112 face: 'Net' object has no attribute 'nothing' "
            "(AttributeError in net.py, line 4)",
        ),
        (
            "import torch\ndef make():\n    return Net(3, 3, 1)\nclass Net(torch.nn.Conv2d):\n"
            "    def forward(self, x):\n        return super().forward(x[:, :1])\n",
            "but got 1 channels instead (RuntimeError in net.py, line 6)",
        ),
    ],
)
def test_what_a_factory_raises_names_its_file_and_line(code: str, sentence: str, said: Said, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(code)
    assert sentence in said("export", f"{tmp_path / 'net.py'}:make", *CONTRACT, "--out", tmp_path / "out")
    assert files_below(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("threads", "sentence"),
    [
        ("0", "threads.0 = 0: it must be greater than or equal to 1"),
        ("-1", "threads.0 = -1: it must be greater than or equal to 1"),
        ("100000", "threads.0 = 100000: it must be less than or equal to 256"),
        ("2 1 2", "threads = [2, 1, 2]: 2 is named more than once"),
    ],
)
def test_numbers_of_threads_that_make_no_sense(threads: str, sentence: str, said: Said, tmp_path: Path) -> None:
    options = [part for count in threads.split() for part in ("--threads", count)]
    assert sentence in said("benchmark", tmp_path, *options)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("prune embedded-default --criterion gaus-newton", "did you mean 'gauss-newton'?"),
        ("prune embedded-default --schedule epok", "did you mean 'epoch'?"),
        ("prune embedded-default --by param", "known: parameters, macs, filters, "),
        ("recover embedded-default --signal arcfase", "did you mean 'arcface'?"),
        ("export embedded-default --target tflite-w8a", "did you mean 'tflite-w8a8'?"),
        ("benchmark . --set runtimes=['litrt']", "did you mean 'litert'?"),
        ("phone --set thread=[1]", "there is no 'thread'; did you mean 'threads'?"),
        ("run --set prune.remov=1", "there is no 'prune.remov'; did you mean 'remove'?"),
        ("run --set benchmark", "--set takes KEY=VALUE, such as round_to=16, not 'benchmark'"),
        ("run --set contract.channel_order=rbg", "no channel order 'rbg'; known: bgr, gray, rgb"),
    ],
)
def test_a_typo_says_what_was_meant(arguments: str, sentence: str, said: Said) -> None:
    assert sentence in said(*arguments.split())


def test_settings_of_a_run_are_part_of_its_recipe(
    faces: Path, tmp_path: Path, done: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[RunRecipe] = []

    def keep(recipe: RunRecipe, out: Path, progress: object) -> Path:
        runs.append(recipe)
        write_measurements([], out / "measurements.json")
        return out

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pocketface.chain.run", keep)
    settings = ("prune.target=700_000", "prune.criterion=l1", "benchmark.rounds=1", "export.targets=['onnx']")
    options = [part for setting in settings for part in ("--set", setting)]
    assert done("run", *options) == f"report: {Path('runs/default')}\n"
    recipe = tmp_path / "own.toml"
    recipe.write_text("train = 'here'\n[prune]\nremove = 0.5\n[benchmark]\nthreads = [1]\n")
    assert done("run", recipe, "--faces", faces, *options) == f"report: {Path('runs/own')}\n"
    for run in runs:
        text = tomllib.loads(run.to_toml())
        assert (text["prune"]["target"], text["prune"]["criterion"]) == (700_000, "l1")
        assert (text["benchmark"]["rounds"], text["export"]["targets"]) == (1, ["onnx"])
    own = runs[1]
    assert own.prune is not None and (own.prune.remove, own.benchmark.threads) == (0.5, (1,))
    assert own.train == str(faces / "here")


def help_of(*command: str) -> str:
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    return result.output


COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_terminal_and_shows_every_default(command: str) -> None:
    text = help_of(command)
    assert all(len(line) <= 80 for line in text.splitlines())
    flat = " ".join(text.split())
    for parameter in get_command(app).commands[command].params:  # type: ignore[attr-defined]
        if parameter.default not in (None, False, "", [], ()) and parameter.name != "help":
            several = isinstance(parameter.default, list | tuple)
            shown = ", ".join(map(str, parameter.default)) if several else str(parameter.default)
            assert re.search(rf"\[default: {re.escape(shown)}[\];]", flat), parameter.name


def test_help_lists_each_command_in_one_whole_line() -> None:
    lines = help_of().partition("Commands:")[2].splitlines()[1:]
    assert sorted(line.split()[0] for line in lines) == COMMANDS
    assert not [line for line in lines if line.endswith("...") or len(line) > 80]


def test_defaults_in_help_are_those_of_the_recipes() -> None:
    text, usual = " ".join(help_of("prune").split()).replace("gauss- newton", "gauss-newton"), PruneRecipe()
    for option in ("criterion", "schedule", "by", "remove", "steps", "signal"):
        assert f"[default: ({getattr(usual, option)})]" in text.partition(f"--{option} ")[2], option
    assert f"[default: ({usual.epochs:g})]" in text.partition("--epochs ")[2]
    kinds = (CriterionName, ScheduleName, Budget, SignalName)
    assert all(name in text for kind in kinds for name in get_args(kind))
    assert len(ExportRecipe().targets) == 9 and "[default: (nine usual ones)]" in " ".join(help_of("export").split())


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pocketface", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_exit_codes_of_the_real_process() -> None:
    version = process("--version")
    assert (version.returncode, version.stdout) == (0, f"pocketface {importlib.metadata.version('pocketface')}\n")
    typo = process("exprt")
    assert typo.returncode == 2 and "No such command 'exprt'. Did you mean 'export'" in typo.stderr
    missing = process("run", "nosuch.toml")
    assert (missing.returncode, missing.stdout, missing.stderr) == (2, "", "pocketface: no recipe at nosuch.toml\n")


def test_completion_can_be_installed() -> None:
    assert "--install-completion" in help_of() and "--show-completion" in help_of()


@pytest.mark.parametrize(("options", "said"), [((), ""), (("-W", "default"), "UserWarning: of a library")])
def test_warnings_of_libraries_are_silent_unless_asked_for(options: tuple[str, ...], said: str) -> None:
    code = (
        "import warnings; from pocketface.command_output import hush_libraries as h; h(); warnings.warn('of a library')"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}
    command = [sys.executable, *options, "-c", code]
    quiet = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert said in quiet.stderr and bool(said) == bool(quiet.stderr)


@pytest.mark.parametrize(("given", "wanted"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_threads_that_wait_sleep_unless_the_user_says_otherwise(given: dict[str, str], wanted: str) -> None:
    code = (
        "import os, sys; from pocketface import __main__ as m; m.app = lambda: None; m.main(); "
        "assert 'torch' not in sys.modules; print(os.environ['OMP_WAIT_POLICY'])"
    )
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"} | given
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.stdout, done.stderr) == (f"{wanted}\n", "")


@pytest.mark.parametrize("command", ["prune", "recover"])
def test_a_checkpoint_folder_of_somebody_else_is_refused_before_anything_begins(
    command: str, tmp_path: Path, said: Said
) -> None:
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "epoch1.ckpt").write_text("mine")
    sentence = said(command, "embedded-default", "--out", tmp_path)
    assert "checkpoint holds something that pocketface did not write" in sentence
    assert files_below(tmp_path) == ["checkpoint/epoch1.ckpt"]


@pytest.mark.parametrize("command", ["export", "sensitivity"])
def test_a_name_that_is_a_path_is_refused(command: str, tmp_path: Path, said: Said) -> None:
    out = tmp_path / "out"
    assert "the embedder's name '../x' has '/'" in said(command, "mobilefacenet", "--name", "../x", "--out", out)
    assert files_below(tmp_path) == []
