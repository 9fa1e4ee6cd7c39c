"""Packages that are damaged, incomplete, moved, or made by somebody else."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pocketface.export.artifact import Card
from pocketface.export.coreml.evaluator import CoreMLEvaluator
from pocketface.export.coreml.package import import_coremltools, read_coreml_card, read_package, write_package
from pocketface.faces.contract import InputContract

from .conftest import numbers, two_layers

WEIGHTS = Path("Data/com.apple.CoreML/weights/weight.bin")


@pytest.fixture
def saved(package: Callable[..., Path], tmp_path: Path) -> Path:
    return package(tmp_path / "net.mlpackage", two_layers)


def test_the_embedding_depends_on_every_kilobyte_of_the_weights(saved: Path) -> None:
    face = numbers(1, 3, 4, 4, seed=3)
    before = CoreMLEvaluator(saved).run(face)
    whole = (saved / WEIGHTS).read_bytes()
    for start in range(1024, len(whole) - 1024, 4096):
        (saved / WEIGHTS).write_bytes(whole[:start] + bytes(4) + whole[start + 4 :])
        assert not np.array_equal(CoreMLEvaluator(saved).run(face), before), start


@pytest.mark.parametrize("size", [0, 30, 100, 5000, -1])
def test_weights_that_are_cut_off_are_one_sentence(size: int, saved: Path) -> None:
    (saved / WEIGHTS).write_bytes((saved / WEIGHTS).read_bytes()[:size])
    with pytest.raises(ValueError, match=r"net\.mlpackage is damaged: weights/weight\.bin is (missing or )?cut off"):
        CoreMLEvaluator(saved)


def test_missing_weights_are_one_sentence(saved: Path) -> None:
    (saved / WEIGHTS).unlink()
    with pytest.raises(ValueError, match=r"weights/weight\.bin is missing"):
        CoreMLEvaluator(saved)


def test_weights_of_another_file_are_one_sentence(saved: Path) -> None:
    (saved / WEIGHTS).write_bytes(bytes(1 << 16))
    with pytest.raises(ValueError, match="has no weights at byte"):
        CoreMLEvaluator(saved)


def test_a_model_that_is_cut_off_is_one_sentence(saved: Path) -> None:
    model = saved / "Data/com.apple.CoreML/model.mlmodel"
    model.chmod(0o644)
    model.write_bytes(model.read_bytes()[:-7])
    with pytest.raises(ValueError, match=r"net\.mlpackage is damaged: model\.mlmodel cannot be read"):
        CoreMLEvaluator(saved)


def test_no_package_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no Core ML package at"):
        read_coreml_card(tmp_path / "none.mlpackage")


def test_a_manifest_without_a_model_is_one_sentence(saved: Path) -> None:
    (saved / "Manifest.json").write_text("{}")
    with pytest.raises(ValueError, match=r"Manifest\.json names no model"):
        CoreMLEvaluator(saved)


@pytest.mark.parametrize("path", ["../../../secret", "/etc/hostname"])
def test_a_manifest_that_points_outside_is_refused(path: str, saved: Path) -> None:
    manifest = json.loads((saved / "Manifest.json").read_text())
    manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = path
    (saved / "Manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="points outside the package"):
        CoreMLEvaluator(saved)


def test_a_model_of_an_older_kind_is_refused(tmp_path: Path) -> None:
    proto = import_coremltools().proto
    model = proto.Model_pb2.Model(specificationVersion=4, neuralNetwork=proto.NeuralNetwork_pb2.NeuralNetwork())
    model.description.input.add(name="input").type.multiArrayType.shape.extend([1, 3, 4, 4])
    write_package(tmp_path / "old.mlpackage", model, b"")
    with pytest.raises(ValueError, match=r"old\.mlpackage holds no ML program"):
        CoreMLEvaluator(tmp_path / "old.mlpackage")


def test_a_package_of_somebody_else_has_no_card(saved: Path) -> None:
    assert read_coreml_card(saved) is None


def test_a_damaged_card_is_refused(saved: Path, tmp_path: Path) -> None:
    model = import_coremltools().proto.Model_pb2.Model()
    model.ParseFromString((saved / "Data/com.apple.CoreML/model.mlmodel").read_bytes())
    model.description.metadata.userDefined["pocketface"] = Card("a", InputContract(), 8).to_json()[:-9]
    write_package(tmp_path / "card.mlpackage", model, (saved / WEIGHTS).read_bytes())
    with pytest.raises(ValueError, match="is no card"):
        read_coreml_card(tmp_path / "card.mlpackage")


def test_a_package_may_be_moved(saved: Path, tmp_path: Path) -> None:
    face = numbers(1, 3, 4, 4)
    before = CoreMLEvaluator(saved).run(face)
    shutil.move(saved, tmp_path / "elsewhere.mlpackage")
    assert np.array_equal(CoreMLEvaluator(tmp_path / "elsewhere.mlpackage").run(face), before)


def test_without_coremltools_the_error_says_what_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "coremltools", None)
    with pytest.raises(ValueError, match="Core ML needs coremltools, which is not installed"):
        import_coremltools()


def test_tensorflow_can_still_be_imported_afterwards() -> None:
    loaded = sys.modules.get("tensorflow")
    import_coremltools()
    assert sys.modules.get("tensorflow", loaded) is loaded and sys.modules.get("tensorflow", ...) is not None


def test_a_package_is_read_without_loading_coremltools_whose_classes_its_messages_have(
    package: Callable[..., Path], tmp_path: Path
) -> None:
    path = package(tmp_path / "a.mlpackage", two_layers)
    read = (
        "import sys; from pathlib import Path; from pocketface.export.coreml.evaluator import CoreMLEvaluator; "
        "CoreMLEvaluator(Path(sys.argv[1])); print('coremltools' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", read, path], capture_output=True, text=True).stdout == "False\n"
    assert type(read_package(path).model) is import_coremltools().proto.Model_pb2.Model


def test_coremltools_is_loaded_without_what_it_would_load_for_others() -> None:
    load = (
        "import sys; from pocketface.export.coreml.package import UNUSED, import_coremltools; import_coremltools(); "
        "print([name for name in UNUSED if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", load], capture_output=True, text=True).stdout == "[]\n"
