"""Damaged files through the real command line: one sentence and exit code 2, or no harm; never a traceback or a crash.

A few hundred inputs of the campaign in evidence/fuzz.py, each in a fork of this process under its limits.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

EVIDENCE = Path(__file__).parents[1] / "evidence"
DAMAGED = Path(os.environ.get("POCKETFACE_SHARED", Path(__file__).parents[2] / "shared")) / "cases" / "damaged"
SEED = 12
INPUTS = {
    "onnx": 20, "tflite": 20, "ort": 15, "checkpoint": 25, "image": 10, "pairs": 15, "bin": 20, "tar": 15,
    "recipe": 40, "vector": 20, "pth": 5,
}  # fmt: skip

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked and limited as Linux does")


@pytest.fixture(scope="module")
def fuzz() -> Iterator[ModuleType]:
    """The campaign, with children that are forked, which saves their imports."""
    patch, here = pytest.MonkeyPatch(), Path.cwd()
    patch.syspath_prepend(str(EVIDENCE))
    import fuzz

    fuzz.import_all()
    fuzz.fork_children(lambda module: patch.setattr(module, "run_child", fuzz.run_forked))
    yield fuzz
    os.chdir(here)
    patch.undo()


@pytest.fixture(scope="module")
def seeds(fuzz: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz") / "seeds"
    fuzz.make_seeds(folder, ("onnx", "tflite-fp32", "ort"), run=False)
    return folder


@pytest.mark.parametrize("kind", INPUTS)
def test_damaged_files_end_in_a_sentence(kind: str, fuzz: ModuleType, seeds: Path, tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    for number in range(INPUTS[kind]):
        outcome, arguments, ended = fuzz.attempt(kind, number, SEED, seeds, tmp_path / "work")
        assert outcome in ("ok", "refused"), (outcome, number, arguments, ended)
        outcomes[outcome] += 1
    assert outcomes["refused"] >= INPUTS[kind] // 5, outcomes  # else nothing was damaged


FED = "--mean 127.5 --scale 0.0078 --size 112"
QUICK = "--threads 1 --set minimum_runs=5 --set minimum_seconds=0 --set rounds=1 --set arm64=[]"
COMMANDS = {
    "align-detector-plain.onnx": ("align faces --detector {x} --out {o}", "is no YuNet detector"),
    "benchmark-index-error.mlpackage": ("benchmark {x} {quick} --out {o}", "it describes no output"),
    "bomb3.yaml": ("run {x} --out {o}", "an alias is not read; write its value out"),
    "deep.toml": ("run {x} --out {o}", "tables and lists are nested too deeply"),
    "esc.tar": ("export embedded-default --faces {x} --out {o}", r"a/\x1b]0;PWN\x07\x1b[2Jx.jpg is 50x50"),
    "recipe-traceback-0-9.toml": ("run {x} --out {o}", "mean needs three numbers, not [[127.5, 127.5, 127.5]]"),
    "recipe-traceback-1-27.toml": ("run {x} --out {o}", "height and width need whole numbers, not [112] and 112"),
    "tflite-crash-2-198.tflite": ("benchmark {x} {quick} --out {o}", "tflite-crash-2-198.tflite"),
    "tflite-traceback-1-103.tflite": ("benchmark {x} {quick} --out {o}", "tflite-traceback-1-103.tflite"),
    "tfliterun-crash-1-129.tflite": ("benchmark {x} {quick} --out {o}", "tfliterun-crash-1-129.tflite"),
    "vector-traceback-1-10.npy": ("diagnose net.tflite --golden golden-0 --vector {x}", "no vector in"),
}
"""Files that did harm -> the command that reads them, and what its sentence says."""


@pytest.mark.parametrize("name", COMMANDS)
def test_what_did_harm_is_one_sentence(name: str, fuzz: ModuleType, seeds: Path, tmp_path: Path) -> None:
    if not (DAMAGED / name).exists():
        pytest.skip(f"there is no {DAMAGED / name}")
    command, sentence = COMMANDS[name]
    words = command.replace("{quick}", f"{QUICK} --pairs {tmp_path / 'crops' / 'pairs.txt'}").split()
    crops(tmp_path / "crops")
    arguments = [word.replace("{x}", str(DAMAGED / name)).replace("{o}", str(tmp_path / "out")) for word in words]
    os.chdir(seeds)
    ended = fuzz.forked(lambda: fuzz.command_line(arguments), fuzz.SECONDS)  # 10 seconds of processor
    assert (ended.code, ended.error.count("\n")) == (2, 1), ended
    assert ended.error.startswith("pocketface: ") and sentence in ended.error
    assert ended.memory < 1 << 30


def test_every_file_that_did_harm_is_tried() -> None:
    if not DAMAGED.is_dir():
        pytest.skip(f"there is no {DAMAGED}")
    assert {path.name for path in DAMAGED.iterdir()} == set(COMMANDS)


def crops(folder: Path) -> None:
    """Writes four rendered crops and a list of pairs of them."""
    from PIL import Image

    from pocketface.faces.rendering.synthetic import render_face

    for number, person in enumerate(("Ann", "Bob")):
        (folder / person).mkdir(parents=True)
        for shot in (1, 2):
            Image.fromarray(render_face(number, shot)).save(folder / person / f"{person}_000{shot}.png")
    (folder / "pairs.txt").write_text("Ann\t1\t2\nBob\t1\t2\nAnn\t1\tBob\t1\nAnn\t2\tBob\t2\n")
