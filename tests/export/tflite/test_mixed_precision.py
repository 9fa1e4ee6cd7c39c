"""Mixed precision: the layer that costs most stays float, and only as many as the bound asks for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocketface.export.artifact import Artifact, ConversionError
from pocketface.export.calibration import PartedFaces
from pocketface.export.tflite.litert import LiteRTSession, read_tflite_card
from pocketface.export.tflite.mixed_precision import mixed_precision
from pocketface.models.embedder import unit
from pocketface.models.tflite.tables import unpack

RNG = np.random.default_rng(0)
FACES = RNG.normal(0, 1, (24, 3, 8, 8)).astype(np.float32)
JUDGED = RNG.normal(0, 1, (8, 3, 8, 8)).astype(np.float32)


def made(fp32: Artifact, least: float, **settings: Any) -> Artifact:
    exact = unit(LiteRTSession(fp32.path).run(JUDGED))
    faces = PartedFaces(FACES, JUDGED, exact)
    return mixed_precision(fp32, fp32.path.with_name("mixed.tflite"), faces, least, **settings)


def cosine(fp32: Artifact, artifact: Artifact) -> float:
    exact, ours = (unit(LiteRTSession(path).run(JUDGED)) for path in (fp32.path, artifact.path))
    return float((exact * ours).sum(axis=1).mean())


def kinds(path: Path) -> dict[str, int]:
    return {tensor.name.decode(): tensor.type for tensor in unpack(path.read_bytes()).subgraphs[0].tensors}


def test_a_bound_that_int8_meets_leaves_no_layer_float(net: Callable[..., Artifact], tmp_path: Path) -> None:
    artifact = made(net(tmp_path), 0.9)
    assert "no layer stays float" in artifact.notes[-1].text
    assert not [line for line in map(str, artifact.card.rewrites) if "float" in line]


def test_the_layers_around_a_loud_channel_stay_float(net: Callable[..., Artifact], tmp_path: Path) -> None:
    from ai_edge_litert.schema_py_generated import TensorType

    fp32 = net(tmp_path, loud=200)  # an int8 step of c1 and p1 fits channel 0 and blurs the seven others
    lines: list[str] = []
    artifact = made(fp32, 0.995, progress=lines.append)
    assert cosine(fp32, artifact) >= 0.995
    tensors = kinds(artifact.path)
    assert {tensors["c1"], tensors["p1"]} == {TensorType.FLOAT32}
    assert {tensors["c3"], tensors["s"], tensors["embedding"], tensors["input"]} == {TensorType.INT8}
    assert "2 of 5 int8 layers stay in float arithmetic: c1, c2" in map(str, artifact.notes)
    assert float(lines[0].split()[-1]) < 0.9 and float(lines[-1].split()[-1]) >= 0.995


def test_the_notes_give_the_share_of_macs_by_hand(net: Callable[..., Artifact], tmp_path: Path) -> None:
    artifact = made(net(tmp_path, loud=200), 0.995)
    assert [note for note in artifact.notes if note.text.startswith("int8 computes 50.0% of the MACs")]
    # c1 1536 and c2 4608 of c1, c2, c3 4096 and the dense layer's 2048: 6144 of 12,288


def test_the_file_says_what_it_is(net: Callable[..., Artifact], tmp_path: Path) -> None:
    artifact = made(net(tmp_path, loud=200), 0.995)
    assert read_tflite_card(artifact.path) == artifact.card
    assert artifact.card.precision == "w8a8"
    assert str(artifact.card.rewrites[-1]) == "2 layers in float arithmetic"
    assert artifact.card.calibration_sha256


def test_the_same_faces_give_the_same_bytes(net: Callable[..., Artifact], tmp_path: Path) -> None:
    fp32 = net(tmp_path, loud=200)
    assert made(fp32, 0.995).path.read_bytes() == made(fp32, 0.995).path.read_bytes()


def test_a_bound_that_nothing_meets_is_told_with_what_does(net: Callable[..., Artifact], tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"no choice of layers reaches cosine 1\.0; .* take tflite-w8"):
        made(net(tmp_path, loud=200), 1.0)
    assert not (tmp_path / "mixed.tflite").exists()
