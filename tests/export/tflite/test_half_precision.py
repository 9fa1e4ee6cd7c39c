"""Half-precision arithmetic: asked for in the file, used by the cores that have it, refused where it would overflow."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from pocketface.benchmark.arm64.emulated import EmulatedSession, instructions, profile
from pocketface.benchmark.arm64.emulator import installed
from pocketface.export.artifact import METADATA_KEY, Artifact, Card, ConversionError
from pocketface.export.tflite.half_precision import half_arithmetic
from pocketface.export.tflite.litert import LiteRTSession
from pocketface.export.tflite.quantise import quantise_tflite
from pocketface.export.tflite.to_tflite import to_tflite
from pocketface.faces.contract import InputContract
from pocketface.models.embedder import unit
from pocketface.models.tflite.tables import read_metadata

RNG = np.random.default_rng(0)
FACES = RNG.normal(0, 1, (4, 3, 16, 16)).astype(np.float32)
WIDTH = 64


def weights(*shape: int) -> NDArray[np.float32]:
    return (RNG.normal(0, 1, shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def network(folder: Path, loud: float = 1.0) -> Artifact:
    """Two 1x1 convolutions, what lies between them `loud` times as large, and a global depthwise one."""
    constants = {
        "w": loud * weights(WIDTH, 3, 1, 1),
        "v": weights(WIDTH, WIDTH, 1, 1) / loud,
        "g": weights(WIDTH, 1, 16, 16),
    }

    def node(operator: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(operator, inputs.split(), [output], name=output, **attributes)

    nodes = [
        node("Conv", "input w", "loud"),
        node("Conv", "loud v", "mixed"),
        node("Conv", "mixed g", "global", group=WIDTH),
        node("Flatten", "global", "embedding"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, [1, WIDTH])],
        [numpy_helper.from_array(np.float32(values), name) for name, values in constants.items()],
    )
    path = folder / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return to_tflite(path, Card("net", InputContract(16, 16), WIDTH), folder / "net.tflite")


def test_the_file_asks_for_it_and_is_otherwise_the_fp16_one(tmp_path: Path) -> None:
    fp32 = network(tmp_path)
    given = quantise_tflite(fp32, "fp16", tmp_path / "net.fp16.tflite")
    made = half_arithmetic(fp32, tmp_path / "half.tflite", FACES)
    content = made.path.read_bytes()
    assert read_metadata(content, "reduced_precision_support", 100) == b"fp16accfp16"
    assert read_metadata(given.path.read_bytes(), "reduced_precision_support", 100) is None
    assert read_metadata(content, METADATA_KEY, 10_000) == made.card.to_json().encode()
    assert (made.card.precision, [str(each) for each in made.card.rewrites]) == (
        "fp16",
        ["arithmetic in half precision where the core has it"],
    )
    assert made.notes[0].text == "1 XNNPACK partition"
    ours, theirs = (unit(LiteRTSession(artifact.path).run(FACES)) for artifact in (made, given))
    assert (ours * theirs).sum(axis=1).min() >= 0.9999  # equal, or made in half precision, if this machine has it


def test_values_that_half_precision_does_not_hold_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"'loud' reaches \d+, and half precision ends at 65504; use tflite-fp16"):
        half_arithmetic(network(tmp_path, loud=2e4), tmp_path / "half.tflite", FACES)
    assert not (tmp_path / "half.tflite").exists()


@pytest.mark.skipif(installed() is not None, reason=str(installed()))
def test_only_a_core_that_has_it_computes_in_half_precision(tmp_path: Path) -> None:
    fp32 = network(tmp_path)
    given = quantise_tflite(fp32, "fp16", tmp_path / "net.fp16.tflite")
    made = half_arithmetic(fp32, tmp_path / "half.tflite", FACES)
    mix = profile(made.path, "a76").mix
    assert mix.get("fmla16", 0) > 0.3 > mix.get("fmla32", 0)
    assert 0.4 <= instructions(made.path, "a76") / instructions(given.path, "a76") <= 0.6
    assert instructions(made.path, "a53") == instructions(given.path, "a53")
    exact = unit(LiteRTSession(given.path).run(FACES))
    halved = unit(EmulatedSession(made.path, "a76").run(FACES))
    assert 0.9999 <= (halved * exact).sum(axis=1).min()
    assert 1e-5 <= np.abs(halved - exact).max()  # rounded otherwise: it is half precision
