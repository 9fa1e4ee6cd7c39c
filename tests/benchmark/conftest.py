"""A small network in several formats."""

from pathlib import Path

import pytest

from pocketface.benchmark.speed.layer_measuring import tflite_of
from pocketface.models.checkpoint import save_checkpoint
from pocketface.models.zoo import create


@pytest.fixture(scope="package")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A MobileFaceNet of half the width: "pytorch", "onnx" and "tflite"."""
    folder = tmp_path_factory.mktemp("files")
    embedder = create("mobilefacenet", width=0.5)
    tflite = tflite_of(embedder, folder)
    return {
        "pytorch": save_checkpoint(embedder, folder / "checkpoint"),
        "onnx": tflite.with_suffix(".onnx"),
        "tflite": tflite,
    }
