"""Dynamic range, but for the layer that an outlier ruins: only as many layers leave it as the bound asks for."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from pocketface.export.artifact import Artifact, Card, ConversionError
from pocketface.export.calibration import PartedFaces
from pocketface.export.tflite.litert import LiteRTSession, read_tflite_card
from pocketface.export.tflite.mixed_dynamic import mixed_dynamic
from pocketface.export.tflite.quantise import quantise_tflite
from pocketface.export.tflite.rounding import weighted_in_int8
from pocketface.export.tflite.to_tflite import to_tflite
from pocketface.faces.contract import InputContract
from pocketface.models.embedder import unit
from pocketface.models.graph.rewrite import Rewrite

RNG = np.random.default_rng(0)
FACES = RNG.normal(0, 1, (24, 3, 8, 8)).astype(np.float32)
JUDGED = RNG.normal(0, 1, (8, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Two dense layers; the first reads 192 numbers, of which one is 1,000 times as large and hardly counts."""
    folder = tmp_path_factory.mktemp("dense")
    loud = np.ones((1, 192), np.float32)
    loud[0, 7] = 1000
    first = RNG.normal(0, 0.1, (192, 64)).astype(np.float32)
    first[7] = 1e-5
    constants = {"loud": loud, "w1": first, "w2": RNG.normal(0, 0.1, (64, 32)).astype(np.float32)}
    nodes = [
        helper.make_node("Flatten", ["input"], ["flat"], name="flat"),
        helper.make_node("Mul", ["flat", "loud"], ["scaled"], name="scaled"),
        helper.make_node("MatMul", ["scaled", "w1"], ["first"], name="first"),
        helper.make_node("Relu", ["first"], ["relu"], name="relu"),
        helper.make_node("MatMul", ["relu", "w2"], ["embedding"], name="embedding"),
    ]
    graph = helper.make_graph(
        nodes,
        "dense",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, [1, 32])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    path = folder / "dense.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return to_tflite(path, Card("dense", InputContract(8, 8), 32), folder / "dense.tflite")


def parted(fp32: Artifact) -> PartedFaces:
    return PartedFaces(FACES, JUDGED, unit(LiteRTSession(fp32.path).run(JUDGED)))


def cosine(fp32: Artifact, artifact: Artifact) -> float:
    return float((parted(fp32).exact * unit(LiteRTSession(artifact.path).run(JUDGED))).sum(axis=1).mean())


def test_the_layer_that_reads_the_outlier_leaves_dynamic_range(fp32: Artifact, tmp_path: Path) -> None:
    whole = quantise_tflite(fp32, "w8-dynamic", tmp_path / "whole.tflite")
    assert len(weighted_in_int8(whole.path.read_bytes())) == 2
    assert cosine(fp32, whole) < 0.9  # a step of 8 blurs numbers of 1
    artifact = mixed_dynamic(fp32, tmp_path / "net.tflite", parted(fp32), 0.995)
    assert cosine(fp32, artifact) >= 0.995
    assert weighted_in_int8(artifact.path.read_bytes()) == ["embedding"]
    assert "1 of 2 layers of dynamic range stay in float arithmetic: relu" in [str(note) for note in artifact.notes]


def test_the_card_says_it(fp32: Artifact, tmp_path: Path) -> None:
    artifact = mixed_dynamic(fp32, tmp_path / "net.tflite", parted(fp32), 0.995)
    assert read_tflite_card(artifact.path) == artifact.card and artifact.card.precision == "w8-dynamic"
    assert artifact.card.rewrites[-1] == Rewrite("float-layers", 1)


def test_a_bound_beyond_int8_weights_is_refused(fp32: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"with all 2 layers in float the cosine is 0\.9"):
        mixed_dynamic(fp32, tmp_path / "net.tflite", parted(fp32), 1.0)
    assert not (tmp_path / "net.tflite").exists()
