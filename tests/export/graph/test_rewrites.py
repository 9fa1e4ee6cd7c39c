"""A trained PReLU network in the forms that its targets name: integers throughout, and for onnxruntime."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pocketface.export.exporter import Exported, export
from pocketface.export.recipe import ExportRecipe
from pocketface.faces.contract import Faces, InputContract
from pocketface.models.factories import load_embedder
from pocketface.models.tflite.tables import unpack
from pocketface.models.zoo import create

CONTRACT = InputContract(scale=(1 / 128, 1 / 128, 1 / 128))


def operators(path: Path) -> Counter[str]:
    from ai_edge_litert import schema_py_generated as schema

    names = {number: name for name, number in vars(schema.BuiltinOperator).items()}
    model = unpack(path.read_bytes())
    return Counter(names[model.operatorCodes[row.opcodeIndex].builtinCode] for row in model.subgraphs[0].operators)


def made(results: list[Exported]) -> Mapping[str, Exported]:
    return {result.target: result for result in results}


@pytest.fixture(scope="module")
def crops(shared: Path) -> Faces:
    photos = sorted((shared / "faces" / "train112" / "lfw").rglob("*.jpg"))[::16]
    return np.stack([np.asarray(Image.open(photo).convert("RGB")) for photo in photos[:24]])


def test_a_trained_prelu_net_in_every_form(shared: Path, crops: Faces, tmp_path: Path) -> None:
    architecture = f"{Path(__file__).parents[3] / 'examples' / 'published_mobilefacenets.py'}:insightface_y1"
    weights = shared / "models" / "mobilefacenet_prelu.safetensors"
    embedder = load_embedder(architecture, weights, contract=CONTRACT, name="y1")
    targets = ("onnx-ort", "tflite-fp16-arithmetic", "tflite-w8a8", "tflite-w8a8-skip")
    results = made(export(embedder, crops, ExportRecipe(targets=targets, calibration_faces=24), tmp_path))
    parities = {}
    for target in targets:
        artifact, parity = results[target].artifact, results[target].parity
        assert artifact is not None and parity is not None, results[target].reason
        if artifact.format == "tflite":
            assert artifact.notes[0].text == "1 XNNPACK partition"
        parities[target] = parity
    assert parities["onnx-ort"].largest_difference <= 1e-5
    assert parities["tflite-w8a8"].cosine_mean >= 0.985 <= parities["tflite-w8a8-skip"].cosine_mean
    skip = results["tflite-w8a8-skip"].artifact
    assert skip is not None and "PReLU as x + relu((a - 1) x) at 33 sites" in map(str, skip.card.rewrites)
    assert operators(skip.path) == {  # nothing between two conversions: all of it is int8
        "CONV_2D": 33,
        "DEPTHWISE_CONV_2D": 17 + 33,
        "ADD": 12 + 33,
        "PAD": 4,
        "RESHAPE": 1,
    }


def test_a_net_without_prelus_has_no_such_form(tmp_path: Path) -> None:
    embedder = create("squeezefacenet")
    faces = np.random.default_rng(0).integers(0, 256, (2, 113, 113, 3)).astype(np.uint8)
    results = made(export(embedder, faces, ExportRecipe(targets=("onnx-ort", "tflite-w8a8-skip")), tmp_path))
    assert results["onnx-ort"].reason == "squeezefacenet has no PReLU with a slope per channel; take onnx"
    assert results["tflite-w8a8-skip"].reason == (
        "squeezefacenet has no PReLU with a slope per channel; take tflite-w8a8"
    )
    assert not list(tmp_path.glob("*.tflite"))
