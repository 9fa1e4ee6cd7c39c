"""The table of targets: names, aliases, what each is made from, and which packages a card names."""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from pocketface.export import artifact as artifact_module
from pocketface.export.exporter import Exported, export
from pocketface.export.formats import FORMATS, read_artifact
from pocketface.export.recipe import ExportRecipe
from pocketface.export.targets import ALIASES, TARGETS, known_target
from pocketface.faces.contract import InputContract
from pocketface.models.embedder import Embedder


def made(folder: Path, *targets: str, progress: list[str] | None = None) -> dict[str, Exported]:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(196, 4))
    embedder = Embedder("tiny", backbone.eval(), InputContract(16, 16), "none.py:tiny")
    faces = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
    said = [] if progress is None else progress
    return {one.target: one for one in export(embedder, faces, ExportRecipe(targets=targets), folder, said.append)}


def tools(folder: Path, file: str) -> list[str]:
    return [tool.split()[0] for tool in read_artifact(folder / file).card.tools]


def test_a_target_is_of_a_known_format_and_ends_as_it_does() -> None:
    for name, target in TARGETS.items():
        assert target.suffix.endswith(FORMATS[target.format].suffix), name
        assert name.startswith(target.format), name


def test_an_alias_means_its_target() -> None:
    assert ExportRecipe(targets=("coreml-float16", "coreml-fp16", "onnx-int8")).targets == ("coreml-fp16", "onnx-w8a8")
    assert all(target in TARGETS and alias not in TARGETS for alias, target in ALIASES.items())


@pytest.mark.parametrize(("typed", "meant"), [("tflite-w8a88", "tflite-w8a8"), ("coreml_fp16", "coreml-fp16")])
def test_an_unknown_target_names_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(
        ValueError, match=rf"no target '{typed}'; known: onnx, onnx-dynamic, .*; did you mean '{meant}'\?"
    ):
        known_target(typed)
    with pytest.raises(ValidationError, match="did you mean"):
        ExportRecipe(targets=(typed,))


def test_a_target_like_no_other_has_no_hint() -> None:
    with pytest.raises(ValueError, match="no target 'zzz'; known: onnx, "):
        known_target("zzz")


def test_a_card_names_the_packages_that_made_the_file_and_no_others(tmp_path: Path) -> None:
    made(tmp_path, "onnx", "tflite-fp16", "ort")
    graph = ["torch", "onnxscript", "onnx", "onnxsim"]
    assert tools(tmp_path, "tiny.onnx") == graph
    assert tools(tmp_path, "tiny.tflite") == [*graph, "ai-edge-litert"]
    assert tools(tmp_path, "tiny.fp16.tflite") == [*graph, "ai-edge-litert", "ai-edge-quantizer"]


def test_a_file_is_made_anew_when_a_package_that_made_it_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, "onnx", "tflite-fp32")
    installed = artifact_module.version
    monkeypatch.setattr(artifact_module, "version", lambda name: "9" if name == "ai-edge-litert" else installed(name))
    said: list[str] = []
    made(tmp_path, "onnx", "tflite-fp32", progress=said)
    assert [line.endswith("(kept)") for line in said if "cosine to the source" in line] == [True, False]
    assert "ai-edge-litert 9" in read_artifact(tmp_path / "tiny.tflite").card.tools


def test_nothing_asks_for_a_package_that_the_target_does_not_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed, asked = artifact_module.version, set[str]()
    monkeypatch.setattr(artifact_module, "version", lambda name: asked.add(name) or installed(name))
    assert made(tmp_path, "onnx")["onnx"].reason == ""
    assert asked == {"torch", "onnxscript", "onnx", "onnxsim"}


def test_a_package_that_is_not_installed_fails_its_target_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As coremltools on Windows."""
    installed = artifact_module.version

    def version(package: str) -> str:
        if package == "coremltools":
            raise PackageNotFoundError(package)
        return installed(package)

    monkeypatch.setattr(artifact_module, "version", version)
    reasons = {name: one.reason for name, one in made(tmp_path, "coreml-fp32", "onnx-dynamic").items()}
    failed = "coremltools is not installed: pip install coremltools"
    assert reasons == {"onnx": "", "coreml-fp32": failed, "onnx-dynamic": ""}


def test_a_recipe_loads_no_converter() -> None:
    code = "import sys, pocketface.export.recipe; print(*({'torch', 'onnx', 'onnxruntime'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"
