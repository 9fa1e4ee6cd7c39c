"""Every `pocketface` command of README.md, CONTRIBUTING.md, docs/ and examples/ runs: tiny networks, few faces."""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from safetensors.torch import save_file

from pocketface.__main__ import app, main
from pocketface.faces.rendering.synthetic import render_face
from pocketface.models.checkpoint import save_checkpoint
from pocketface.models.zoo import create

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.toml"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")), *EXAMPLES]
TABLE = re.compile(r"^\|.*$", re.MULTILINE)  # of names and what they do; the commands themselves are elsewhere
COMMAND = r"(?:accelerate launch -m )?pocketface(?: [^`\n]+)?"
CONTINUED = re.compile(r" \\\n +")  # a line that a backslash continues
LINE = re.compile(rf"^(?: {{4}}|#   )(?:.*&& )?({COMMAND})$", re.MULTILINE)
INLINE = re.compile(rf"`({COMMAND})`")

NOT_RUN = {
    "pocketface sensitivity EMBEDDER": "takes minutes on a busy machine; tests/prune/ has tests of it",
    "pocketface benchmark source.onnx small.tflite --mean 127.5 --scale 0.0078125 --faces FOLDER": "minutes, too; "
    "tests/benchmark/test_unlabelled_runner.py",
    "pocketface probe FILE.onnx --faces FOLDER": "wants 20 faces: tests/benchmark/probing/test_prober.py",
    "pocketface probe my_net.onnx --faces FOLDER": "the same",
    "pocketface probe my_net.py:build --weights my_net.safetensors --pairs pairs.txt": "the same",
    "pocketface run": ".ci/run gives this very command",
    "pocketface --install-completion": "it writes into the start-up file of the user's shell",
    "pocketface align PHOTOS --detector yunet.onnx --out crops": "needs a detector: tests/faces/test_alignment.py",
    "pocketface align PHOTOS --detector FILE --out crops": "the same",
    "pocketface phone": "needs a phone: tests/benchmark/adb/test_command.py gives it to a stand-in",
    "pocketface phone FILES --benchmark-model PATH --out RUN": "the same",
    "pocketface export EMBEDDER --target toy": "wants the format of that page: tests/export/test_formats.py has it",
    "pocketface prune EMBEDDER --criterion largest-weight": "wants that page's criterion, which the page scores by",
    """pocketface benchmark mean.onnx --set 'runtimes=["onnx-reference"]'""": "wants that page's runtime, as above",
    "pocketface doctor": "imports every package there is: tests/benchmark/test_doctor.py",
    "pocketface run --set prune.target=700_000 --set benchmark.rounds=1": "tests/test_main.py gives these settings",
    "pocketface sweep SWEPT --faces FOLDER --weights FOLDER --dry-run": "tests/test_sweeper.py sweeps a tiny network",
    "pocketface sweep SWEPT --faces FOLDER --weights FOLDER --out runs/sweep": "the same",
    "pocketface sweep SWEPT --faces FOLDER --weights FOLDER --max-drop 0.3 --max-mb 1 --max-ms 3": "the same",
    "pocketface report SWEEP_A SWEEP_B RUN --out FOLDER": "tests/benchmark/report/test_sweep_folders.py",
    "pocketface sweep SWEPT --track tensorboard --track mlflow": "wants the extra `track`: tests/test_tracking.py",
    "pocketface sweep examples/squeezerfacenet.toml --faces FOLDER --weights FOLDER": "trains for hours",
    "pocketface sweep examples/comparative_study.toml --faces FOLDER --weights FOLDER": "trains for hours",
    "pocketface sweep examples/diba_khosravi_vgg16.toml --faces FOLDER --weights FOLDER": "trains for hours",
    "pocketface sweep examples/diba_khosravi_resnet50v2.toml --faces FOLDER --weights FOLDER": "trains for hours",
    "accelerate launch -m pocketface prune ...": "tests/prune/training/test_accelerate.py launches two processes",
    "pocketface run examples/lfw_prelu.toml --faces FOLDER --weights FOLDER": "needs weights that may not be passed on",
    "pocketface run examples/lfw_relu6.toml --faces FOLDER --weights FOLDER": "the same",
}
"""What is not run here, and why."""

FEW_RUNS = {"rounds": 1, "threads": [1], "minimum_runs": 5, "minimum_seconds": 0, "warm_up_seconds": 0, "arm64": []}
LITTLE_TRAINING = {"epochs": 0.5, "variants": 1, "batch_size": 8}
ONE_CUT = {"epochs": 0, "steps": 1, "variants": 1, "images": 8}
TWO_KINDS = {"targets": ["onnx", "tflite-fp16"], "calibration_faces": 8, "parity_faces": 2}
WORK = {  # what is appended, so that a command takes seconds
    "prune": ONE_CUT,
    "recover": LITTLE_TRAINING,
    "sensitivity": {"images": 8},
    "export": TWO_KINDS,
    "benchmark": FEW_RUNS,
    "run": {
        **{f"prune.{key}": value for key, value in {**ONE_CUT, "criterion": "l1", "by": "macs", "remove": 0.1}.items()},
        **{f"export.{key}": value for key, value in TWO_KINDS.items()},
        **{f"benchmark.{key}": value for key, value in FEW_RUNS.items()},
        "compare": ["onnx"],
    },
}
MY_NET = """
from torch import nn


def build():
    stem = nn.Conv2d(3, 32, 3, 4, 1), nn.BatchNorm2d(32), nn.PReLU(32)
    body = nn.Conv2d(32, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.PReLU(32)
    return nn.Sequential(*stem, *body, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 128))
"""


def commands_of(page: Path) -> list[str]:
    """Gives what can be given as it stands; `pocketface compare --gate`, without the runs, is a name and no command."""
    text = TABLE.sub("", CONTINUED.sub(" ", page.read_text(encoding="utf-8")))
    found = [(match.start(), match[1].strip()) for match in LINE.finditer(text)]
    found += [(match.start(), match[1]) for match in INLINE.finditer(text) if is_whole(match[1])]
    return [line for _, line in sorted(found)]


def is_whole(line: str) -> bool:
    words = shlex.split(line.removeprefix("accelerate launch -m "))[1:]
    if not words or "FIELD=VALUE" in words or "KEY=VALUE" in words:
        return False
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    try:
        if words[0] in known:
            known[words[0]].make_context(words[0], words[1:])
    except Exception as error:  # Typer brings a Click of its own, or not, by its version
        return "Missing parameter" not in str(error)
    return True


def test_what_is_not_run_is_in_the_pages() -> None:
    assert set(NOT_RUN) <= {line for page in PAGES for line in commands_of(page)}
    assert "\npocketface run " in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def people(folder: Path, first: int) -> Path:
    """Writes two crops of each of eight people, and the pairs of the two and of one with the next, in two folds."""
    lines = ["2\t4"]
    for fold in ((0, 1, 2, 3), (4, 5, 6, 7)):
        names = [f"P{first + number}" for number in fold]
        for number, name in zip(fold, names, strict=True):
            (folder / name).mkdir(parents=True)
            for shot in (1, 2):
                Image.fromarray(render_face(first + number, shot)).save(folder / name / f"{name}_{shot:04d}.jpg")
        lines += [f"{name}\t1\t2" for name in names]
        lines += [f"{name}\t1\t{other}\t2" for name, other in zip(names, names[1:] + names[:1], strict=True)]
    (folder / "pairs.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages name, by the names that they use."""
    home = tmp_path_factory.mktemp("home")
    (home / "my_net.py").write_text(MY_NET, encoding="utf-8")
    factory: dict[str, object] = {}
    exec(MY_NET, factory)
    torch.manual_seed(0)
    network = factory["build"]().eval()  # type: ignore[operator]
    save_file(network.state_dict(), home / "my_net.safetensors")
    torch.onnx.export(network, (torch.zeros(1, 3, 112, 112),), home / "my_net.onnx", dynamo=False, opset_version=17)
    shutil.copy(home / "my_net.onnx", home / "source.onnx")
    save_checkpoint(create("mobilefacenet", width=0.25), home / "CHECKPOINT")
    people(home / "FOLDER", 0)
    shutil.copy(home / "FOLDER" / "pairs.txt", home / "pairs.txt")
    (home / "runs").mkdir()
    for name in ("before", "after"):
        (home / "runs" / name).symlink_to("mine")
    return home


@pytest.fixture(scope="module")
def recipe_home(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one for recipes: there, FOLDER holds the folders of faces and the weights."""
    place = tmp_path_factory.mktemp("recipe_home")
    (toml,) = re.findall(r"^```toml\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)
    (place / "recipe.toml").write_text(toml, encoding="utf-8")
    shutil.copy(home / "my_net.py", place)
    people(place / "FOLDER" / "lfw112", 100)
    shutil.copytree(home / "FOLDER", place / "FOLDER" / "train112")
    shutil.copy(home / "my_net.safetensors", place / "FOLDER")
    return place


Run = Callable[[Path, str], None]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Gives a page's command in this process, with little work."""

    def one(place: Path, line: str) -> None:
        command, *words = (meant(place, word) for word in shlex.split(line)[1:])
        work = [f"{key}={json.dumps(value)}" for key, value in WORK.get(command, {}).items()]
        settings = [word for setting in work for word in ("--set", setting)] * ("--help" not in words)
        monkeypatch.chdir(place)
        monkeypatch.setattr(sys, "argv", ["pocketface", command, *words, *settings])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert ended.value.code == 0, f"{line}\n{printed.out}{printed.err}"

    return one


def meant(place: Path, word: str) -> str:
    """Gives what stands for a page's placeholder."""
    small = "my_net.fp16.tflite"
    if word == "0.01 -0.2 ...":
        golden = place / "handoff" / "golden" / f"golden-0.{small}.bin"
        raw = np.fromfile(golden, np.float32)
        return " ".join(map(str, raw / np.linalg.norm(raw)))
    return {
        "COMMAND": "run",
        "EMBEDDER": "CHECKPOINT",
        "STUDENT": "CHECKPOINT",
        "FILE.onnx": "my_net.onnx",
        "SOURCE": "my_net.onnx",
        "FILE": f"runs/mine/artifacts/{small}",
        "FILE...": f"runs/mine/artifacts/{small}",
        "small.tflite": f"runs/mine/artifacts/{small}",
        "FILE.tflite": f"runs/mine/artifacts/{small}",
        "handoff/models/FILE": f"handoff/models/{small}",
        "PAIRS": "FOLDER/pairs.txt",
        "RUN": "runs/mine",
    }.get(word, word)


RUN_PAGES = [page for page in PAGES if set(commands_of(page)) - set(NOT_RUN)]


@pytest.mark.parametrize("page", RUN_PAGES, ids=lambda page: page.name)
def test_commands_of_a_page_run(page: Path, home: Path, recipe_home: Path, run: Run) -> None:
    lines = [line for line in commands_of(page) if line not in NOT_RUN]
    if page.name != "README.md" and not (home / "runs" / "mine").is_dir():  # the files that other pages measure
        run(home, next(line for line in commands_of(PAGES[0]) if line.startswith("pocketface export ")))
    for line in lines:
        run(recipe_home if line.startswith("pocketface run ") and ".onnx" not in line else home, line)
