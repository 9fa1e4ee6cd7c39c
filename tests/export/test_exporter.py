"""The stage: every zoo net in every format, refused files leave nothing, what is there is kept."""

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from pocketface.export.artifact import ConversionError
from pocketface.export.exporter import export
from pocketface.export.formats import open_session, read_artifact
from pocketface.export.graph.to_onnx import to_onnx
from pocketface.export.recipe import ExportRecipe
from pocketface.export.session import unit_embeddings
from pocketface.export.targets import TARGETS, ForeignOnnx, with_bases
from pocketface.faces.contract import Faces, InputContract
from pocketface.models.batch_norm import reestimate_batch_norms
from pocketface.models.embedder import Embedder
from pocketface.models.zoo import ZOO, create

FP32 = ("onnx", "onnx-dynamic", "tflite-fp32", "coreml-fp32")


def smooth_faces(count: int, size: int) -> Faces:
    """Smooth coloured blobs: enough for parity, and free of what random pixels do to a fresh net."""
    rng = np.random.default_rng(0)
    small = torch.from_numpy(rng.uniform(0, 255, (count, 3, 7, 7)).astype(np.float32))
    large = nn.functional.interpolate(small, (size, size), mode="bicubic", align_corners=False)
    return large.clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8).numpy()


@pytest.fixture(scope="module")
def tiny() -> Embedder:
    torch.manual_seed(0)
    backbone = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.PReLU(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )
    return Embedder("tiny", backbone.eval(), InputContract(16, 16), "none.py:tiny", licence="MIT")


@pytest.mark.parametrize("name", sorted(ZOO))
def test_every_zoo_net_is_the_same_in_onnx_tflite_and_core_ml(name: str, tmp_path: Path) -> None:
    embedder = create(name)
    faces = smooth_faces(8, embedder.contract.height)
    reestimate_batch_norms(embedder.backbone, [torch.from_numpy(embedder.contract.preprocess(faces))])
    made = export(embedder, faces, ExportRecipe(targets=FP32), tmp_path)
    assert [(result.target, result.reason) for result in made] == [(target, "") for target in FP32]
    for result in made:
        assert result.parity is not None and result.parity.largest_difference <= 1e-5
        assert result.artifact is not None and result.artifact.card.embedding_size == embedder.embedding_size


def test_the_recipe_knows_every_target() -> None:
    assert ExportRecipe(targets=tuple(TARGETS)).targets == tuple(TARGETS)


def test_a_quantised_file_brings_what_it_is_made_from() -> None:
    assert with_bases(("coreml-w8", "tflite-fp16")) == ["onnx", "coreml-w8", "tflite-fp32", "tflite-fp16"]


def test_every_file_says_what_it_must_be_fed(tiny: Embedder, tmp_path: Path) -> None:
    made = export(tiny, smooth_faces(20, 16), ExportRecipe(), tmp_path)
    assert [result.reason for result in made] == [""] * 9
    for result in made:
        assert result.artifact is not None
        card = read_artifact(result.artifact.path).card
        assert (card.model, card.licence, card.embedding_size) == ("tiny", "MIT", 4)
        assert card.contract == tiny.contract
        assert card.source_sha256 == tiny.sha256
        assert not card.normalised
        assert card.precision == (result.target.partition("-")[2].replace("dynamic", "") or "fp32")
        assert bool(card.calibration_sha256) == (result.target == "tflite-w8a8")


def test_the_channels_of_a_prelu_net_are_equalised_before_int8(tmp_path: Path) -> None:
    embedder = create("mobilefacenet", width=0.25)
    faces = smooth_faces(8, 112)
    reestimate_batch_norms(embedder.backbone, [torch.from_numpy(embedder.contract.preprocess(faces))])
    *_, made = export(embedder, faces, ExportRecipe(targets=("tflite-w8a8",), allow_drift=True), tmp_path)
    assert made.artifact is not None
    assert [str(each) for each in made.artifact.card.rewrites] == ["equalise 34 sites", "correct 50 biases"]


def test_a_dynamic_file_takes_any_number_of_faces(tiny: Embedder, tmp_path: Path) -> None:
    faces = smooth_faces(7, 16)
    (_, dynamic) = export(tiny, faces, ExportRecipe(targets=("onnx", "onnx-dynamic")), tmp_path)
    assert dynamic.artifact is not None
    session = open_session(dynamic.artifact.path)
    for count in (1, 2, 7):
        expected = tiny.embed(faces[:count])
        assert np.abs(unit_embeddings(session, tiny.contract, faces[:count]) - expected).max() < 1e-5


def test_a_file_that_differs_is_refused_and_removed(tiny: Embedder, tmp_path: Path) -> None:
    recipe = ExportRecipe(targets=("tflite-fp32",), largest_difference=1e-12)
    onnx_result, tflite_result = export(tiny, smooth_faces(8, 16), recipe, tmp_path)
    assert "differs from its source by" in onnx_result.reason and "at most 1e-12 is allowed" in onnx_result.reason
    assert tflite_result.reason.startswith("tflite-fp32 is made from onnx, which failed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exported.json"]


def test_two_exports_give_the_same_bytes(tiny: Embedder, tmp_path: Path) -> None:
    faces = smooth_faces(8, 16)
    for folder in ("a", "b"):
        export(tiny, faces, ExportRecipe(targets=("onnx", "tflite-w8a8", "tflite-fp16")), tmp_path / folder)
    for path in sorted((tmp_path / "a").iterdir()):
        if path.suffix != ".json":
            assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_what_is_there_is_kept_until_its_bytes_change(tiny: Embedder, tmp_path: Path) -> None:
    recipe, faces, said = ExportRecipe(targets=("onnx", "tflite-fp32")), smooth_faces(8, 16), list[str]()
    export(tiny, faces, recipe, tmp_path)
    export(tiny, faces, recipe, tmp_path, said.append)
    assert kept(said) == {"tiny.onnx": True, "tiny.tflite": True}
    (tmp_path / "tiny.tflite").write_bytes(b"damaged")
    said.clear()
    made = export(tiny, faces, recipe, tmp_path, said.append)
    assert kept(said) == {"tiny.onnx": True, "tiny.tflite": False}
    assert made[1].parity is not None and made[1].parity.largest_difference <= 1e-5


def kept(said: list[str]) -> dict[str, bool]:
    """Tells of each file that was spoken of whether it was kept."""
    return {line.partition(":")[0]: line.endswith("(kept)") for line in said if "cosine to the source" in line}


def test_a_foreign_onnx_file_is_adopted_with_our_names(tiny: Embedder, tmp_path: Path) -> None:
    torch.onnx.export(
        tiny.backbone, (tiny.example(),), tmp_path / "theirs.onnx", dynamo=False,
        input_names=["input.1"], output_names=["out.683"], dynamic_axes={"input.1": {0: "N"}, "out.683": {0: "N"}},
        opset_version=11,
    )  # fmt: skip
    faces = smooth_faces(8, 16)
    source = ForeignOnnx(tmp_path / "theirs.onnx", "theirs", tiny.contract, "MIT")
    made = export(source, faces, ExportRecipe(targets=("onnx", "tflite-fp32", "coreml-fp32")), tmp_path / "out")
    assert [result.reason for result in made] == ["", "", ""]
    assert made[1].artifact is not None
    assert (
        np.abs(unit_embeddings(open_session(made[1].artifact.path), tiny.contract, faces) - tiny.embed(faces)).max()
        < 1e-5
    )


def test_the_published_foreign_file_is_adopted(shared: Path, tmp_path: Path) -> None:
    contract = InputContract(mean=(123.675, 116.28, 103.53), scale=(1 / 58.395, 1 / 57.12, 1 / 57.375))
    source = ForeignOnnx(shared / "models" / "foreign_mobilefacenet_relu6.onnx", "foreign", contract)
    made = export(source, smooth_faces(8, 112), ExportRecipe(targets=FP32[:1] + FP32[2:]), tmp_path)
    assert [result.reason for result in made] == ["", "", ""]


def test_weights_outside_the_file_are_refused(tiny: Embedder, tmp_path: Path) -> None:
    card = read_artifact(_exported(tiny, tmp_path)).card
    model = onnx.load(tmp_path / "tiny.onnx")
    onnx.save(model, tmp_path / "split.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(ConversionError, match=r"split\.onnx keeps weights in other files"):
        export(
            ForeignOnnx(tmp_path / "split.onnx", "split", card.contract), smooth_faces(2, 16), ExportRecipe(), tmp_path
        )


def _exported(tiny: Embedder, folder: Path) -> Path:
    from pocketface.export.artifact import Card

    return to_onnx(tiny, Card("tiny", tiny.contract, 4), folder / "tiny.onnx").path


def test_an_onnx_file_without_a_card_wants_a_contract(tiny: Embedder, tmp_path: Path) -> None:
    model = onnx.load(_exported(tiny, tmp_path))
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    with pytest.raises(ValueError, match=r"bare\.onnx does not say what it must be fed; give --mean and --scale"):
        read_artifact(tmp_path / "bare.onnx")
    assert read_artifact(tmp_path / "bare.onnx", tiny.contract).card.contract == tiny.contract


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "exported.json is damaged, and made again: "),
        ('{"key": "', "exported.json is damaged, and made again: "),
        (None, "onnx of {folder} is damaged, and made again: the file's name '../tiny.onnx' has '/'"),
    ],
)
def test_a_damaged_record_of_the_export_is_made_again_and_said(
    tiny: Embedder, tmp_path: Path, text: str | None, said: str
) -> None:
    recipe, faces, lines = ExportRecipe(targets=("onnx",)), smooth_faces(8, 16), []
    export(tiny, faces, recipe, tmp_path)
    record, before = tmp_path / "exported.json", (tmp_path / "tiny.onnx").read_bytes()
    whole = record.read_text()
    record.write_text(whole.replace('"tiny.onnx"', '"../tiny.onnx"') if text is None else text)
    export(tiny, faces, recipe, tmp_path, lines.append)
    assert [line for line in lines if said.format(folder=tmp_path) in line] == [lines[0]]
    assert (tmp_path / "tiny.onnx").read_bytes() == before
    lines.clear()
    export(tiny, faces, recipe, tmp_path, lines.append)
    assert lines[0].endswith("(kept)")


def test_a_full_disk_is_not_a_reason_against_a_target(
    tiny: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise ConversionError("the exporter failed") from error

    monkeypatch.setitem(TARGETS, "onnx", dataclasses.replace(TARGETS["onnx"], make=fails))
    fails.base = None  # type: ignore[attr-defined]
    with pytest.raises(OSError, match="No space left on device"):
        export(tiny, smooth_faces(8, 16), ExportRecipe(targets=("onnx",)), tmp_path)
