"""ONNX to Core ML: whole networks, what a package says, and what is refused."""

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper
from torch import nn

from pocketface.export.artifact import Card, ConversionError
from pocketface.export.coreml.evaluator import CoreMLEvaluator
from pocketface.export.coreml.package import import_coremltools, read_coreml_card, read_package
from pocketface.export.coreml.precisions import PRECISIONS
from pocketface.export.coreml.to_coreml import to_coreml
from pocketface.export.exporter import export
from pocketface.export.graph.to_onnx import adopt_onnx, to_onnx
from pocketface.export.recipe import ExportRecipe
from pocketface.faces.contract import IMAGENET, InputContract
from pocketface.models.batch_norm import reestimate_batch_norms
from pocketface.models.embedder import Embedder, unit
from pocketface.models.quiet import quiet
from pocketface.models.zoo import ZOO, create

from .conftest import SIDE, card, make, numbers


@pytest.mark.parametrize("name", ZOO)
def test_half_precision_package_of_a_zoo_network_embeds_as_torch_does(name: str, tmp_path: Path) -> None:
    embedder = create(name)
    contract = embedder.contract
    generator = np.random.default_rng(0)
    crops = generator.integers(0, 256, (6, 14, 14, 3), dtype=np.uint8)
    crops = crops.repeat(9, 1).repeat(9, 2)[:, : contract.height, : contract.width]
    faces = contract.preprocess(crops)
    reestimate_batch_norms(embedder.backbone, [torch.from_numpy(faces[:4])])
    expected = embedder.embed(crops[4:])
    about = Card(name, contract, expected.shape[1])
    source = to_onnx(embedder, about, tmp_path / "net.onnx").path
    package = to_coreml(source, about, tmp_path / "net.mlpackage", "fp16").path
    for mode in ("fp16", "fp16acc"):
        assert (unit(CoreMLEvaluator(package, mode).run(faces[4:])) * expected).sum(1).min() > 0.9999, mode  # type: ignore[arg-type]


def test_the_stage_makes_pictures_and_palettes_for_the_ios_that_it_is_told(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = nn.Sequential(
        nn.Conv2d(3, 96, 3, 2, 1), nn.PReLU(96), nn.Conv2d(96, 32, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    embedder = Embedder("tiny", backbone.eval(), InputContract(16, 16, "bgr"), "none.py:tiny", licence="MIT")
    faces = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    targets = ("coreml-fp16", "coreml-w6", "coreml-w4", "coreml-w8a8")
    recipe = ExportRecipe(targets=targets, minimum_ios=15, coreml_image=True)
    _, *made = export(embedder, faces, recipe, tmp_path)
    assert [(one.target, one.reason) for one in made] == [(target, "") for target in targets]
    for one, ios, least in zip(made, (15, 16, 16, 17), (0.9999, 0.99, 0.95, 0.99), strict=True):
        assert one.artifact is not None and one.parity is not None
        card = one.artifact.card
        assert read_coreml_card(one.artifact.path) == card and card.input == "image"
        assert one.parity.cosine_min > least, one.target
        assert read_package(one.artifact.path).model.specificationVersion == ios - 9
    assert [str(each) for each in card.rewrites] == ["equalise 1 sites", "correct 2 biases"] and len(
        card.calibration_sha256
    ) == 64


def test_the_package_says_in_words_what_it_wants_and_gives(tiny: Path, tmp_path: Path) -> None:
    about = Card("moby", InputContract(SIDE, SIDE, "bgr", IMAGENET.mean, IMAGENET.scale), 16, licence="Apache-2.0")
    description = read_package(to_coreml(tiny, about, tmp_path / "a.mlpackage").path).model.description
    (entry,), (result,) = description.input, description.output
    assert (entry.name, list(entry.type.multiArrayType.shape)) == ("input", [1, 3, SIDE, SIDE])
    assert result.name == "embedding"
    assert "blue, green, red" in entry.shortDescription and "123.675, 116.28, 103.53" in entry.shortDescription
    assert "arcface" in entry.shortDescription and "(pixel - mean) * scale" in entry.shortDescription
    assert "16 numbers" in result.shortDescription and "Divide it by its length" in result.shortDescription
    assert (description.metadata.license, description.metadata.author) == ("Apache-2.0", "pocketface")
    assert "moby" in description.metadata.shortDescription


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_card_comes_back_with_the_precision_that_was_made(precision: Any, tiny: Path, tmp_path: Path) -> None:
    artifact = to_coreml(tiny, card(16, licence="MIT"), tmp_path / "a.mlpackage", precision, ranges={"x": (-4, 4)})
    assert read_coreml_card(artifact.path) == artifact.card == card(16, licence="MIT").but(precision=precision)
    assert (artifact.format, artifact.batch) == ("coreml", 1)


@pytest.mark.parametrize("precision", ["w8", "w6", "w8a8"])
def test_two_conversions_give_the_same_bytes_and_everyone_may_read_them(
    save: Callable[..., Path], precision: Any, tiny: Path, tmp_path: Path
) -> None:
    def files(name: str) -> dict[str, bytes]:
        folder = make(tiny, tmp_path / name, precision, image=True)
        found = [file for file in folder.rglob("*") if file.is_file()]
        assert all(file.stat().st_mode & stat.S_IROTH for file in found)
        return {file.relative_to(folder).as_posix(): file.read_bytes() for file in found}

    first = files("a.mlpackage")
    to_coreml(
        save(tmp_path / "b.onnx", [helper.make_node("Relu", ["x"], ["y"])], {}, (1, 3, 8, 8)),
        card(192),
        tmp_path / "c.mlpackage",
    )
    assert first == files("b.mlpackage")
    assert sorted(first) == [
        "Data/com.apple.CoreML/model.mlmodel",
        "Data/com.apple.CoreML/weights/weight.bin",
        "Manifest.json",
    ]


IOS = {"fp32": 15, "fp16": 15, "w8": 16, "w6": 16, "w4": 16, "w8a8": 17}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("asked", [15, 18])
def test_coremltools_opens_the_package_as_the_ios_that_was_asked_or_is_needed(
    run_onnx: Callable[..., Any], precision: Any, asked: Any, tiny: Path, tmp_path: Path
) -> None:
    faces, path = numbers(4, 3, SIDE, SIDE, seed=4), tmp_path / "a.mlpackage"
    ranges = {"x": (-4.0, 4.0), "f": (-8.0, 8.0)}
    artifact = to_coreml(tiny, card(16), path, precision, minimum_ios=asked, ranges=ranges)
    with quiet():
        model = import_coremltools().models.MLModel(str(path), skip_model_load=True)
    made = max(asked, IOS[precision])
    assert model.get_spec().specificationVersion == made - 9  # 6 came with iOS 15
    later = f"{precision} needs iOS {made}, later than the {asked} that was asked for"
    assert (later in map(str, artifact.notes)) == (made > asked)
    assert (unit(CoreMLEvaluator(path).run(faces)) * unit(run_onnx(tiny, faces))).sum(1).min() > 0.98
    assert model.input_description["input"].startswith("One face")


def test_a_package_is_replaced_whole_and_survives_a_conversion_that_fails(tiny: Path, tmp_path: Path) -> None:
    package = to_coreml(tiny, card(16), tmp_path / "a.mlpackage").path
    (package / "stray").write_text("of an older tool")
    with pytest.raises(ConversionError):
        to_coreml(tiny, card(17), package)
    assert read_coreml_card(package) == card(16)
    to_coreml(tiny, card(16), package, "fp16")
    assert not (package / "stray").exists() and read_coreml_card(package) == card(16).but(precision="fp16")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.mlpackage", "tiny.onnx"]


def test_an_output_of_another_size_than_the_card_is_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"gives \(1, 16\); the card says \(1, 128\)"):
        to_coreml(tiny, card(128), tmp_path / "a.mlpackage")


def test_a_wrong_suffix_or_precision_is_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends in \.mlpackage"):
        to_coreml(tiny, card(16), tmp_path / "a.mlmodel")
    with pytest.raises(ValueError, match="no Core ML precision 'w2'; known: fp32, fp16, w8, w6, w4, w8a8"):
        to_coreml(tiny, card(16), tmp_path / "a.mlpackage", "w2")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no Core ML programs for iOS 14; there are for 15, 16, 17, 18"):
        to_coreml(tiny, card(16), tmp_path / "a.mlpackage", minimum_ios=14)


def test_nothing_is_printed(tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    to_coreml(tiny, card(16), tmp_path / "a.mlpackage", "w8")
    assert capfd.readouterr() == ("", "")


def test_a_foreign_graph_converts_and_embeds_faces_as_onnxruntime_does(
    run_onnx: Callable[..., Any], shared: Path, tmp_path: Path
) -> None:
    from PIL import Image

    about = Card("foreign", IMAGENET, 128)
    foreign = shared / "models" / "foreign_mobilefacenet_relu6.onnx"
    files = sorted((shared / "faces" / "train112" / "lfw").rglob("*.jpg"))[:4]
    faces = IMAGENET.preprocess(np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files]))
    expected = unit(run_onnx(foreign, faces))
    adopted = adopt_onnx(foreign, about, tmp_path / "ours.onnx").path
    for source in (foreign, adopted):
        exact = CoreMLEvaluator(to_coreml(source, about, tmp_path / "a.mlpackage").path)
        assert np.abs(unit(exact.run(faces)) - expected).max() < 1e-5
    half = CoreMLEvaluator(to_coreml(adopted, about, tmp_path / "b.mlpackage", "fp16").path)
    assert (unit(half.run(faces)) * expected).sum(1).min() > 0.9999
