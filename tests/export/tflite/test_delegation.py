"""What XNNPACK leaves of a graph: known by counting, with the reason."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from pocketface.export.artifact import Artifact
from pocketface.export.tflite.delegation import Delegation, delegation
from pocketface.export.tflite.flatbuffer import pack
from pocketface.export.tflite.quantise import quantise_tflite, quantised_content
from pocketface.models.tflite.tables import unpack

RNG = np.random.default_rng(0)
FACES = RNG.normal(0, 1, (4, 3, 8, 8)).astype(np.float32)
WEIGHTS = {
    "w": RNG.normal(0, 1, (8, 3, 3, 3)).astype(np.float32),
    "d": RNG.normal(0, 1, (8, 1, 3, 3)).astype(np.float32),
    "v": RNG.normal(0, 1, (4, 8, 4, 4)).astype(np.float32),
    "slopes": RNG.uniform(-1, 1, (8, 1, 1)).astype(np.float32),
    "low": np.float32(-0.5),
}


def node(operator: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), [output], name=output, **attributes)


@pytest.fixture
def fp32(tmp_path: Path, written: Callable[..., Path], converted: Callable[..., Artifact]) -> Callable[..., Artifact]:
    """Conv to 8 channels `x` of 6x6, a depthwise one to `y` of 4x4, nodes from `y` to `z`, conv to 4 numbers."""

    def convert(*middle: onnx.NodeProto) -> Artifact:
        nodes = [
            node("Conv", "input w", "x"),
            node("Conv", "x d", "y", group=8),
            *middle,
            node("Conv", "z v", "c"),
            node("Flatten", "c", "embedding"),
        ]
        constants = {name: values for name, values in WEIGHTS.items() if any(name in row.input for row in nodes)}
        return converted(written(tmp_path, nodes, constants, 4), 4)

    return convert


PRELU = node("PRelu", "y slopes", "z")


def test_float_is_one_partition_and_the_artifact_says_so(fp32: Callable[..., Artifact]) -> None:
    artifact = fp32(PRELU)
    assert tuple(map(str, artifact.notes)) == ("1 XNNPACK partition",)
    taken = delegation(artifact.path)
    assert (taken.partitions, taken.leftovers) == (1, {})


def test_a_lower_bound_stays_float_for_an_int8_maximum_falls_off(fp32: Callable[..., Artifact], tmp_path: Path) -> None:
    middle = node("Clip", "y low", "z")
    artifact = quantise_tflite(fp32(middle), "w8a8", tmp_path / "q.tflite", FACES)
    assert tuple(map(str, artifact.notes)) == ("1 XNNPACK partition",)


def test_int16_falls_off_but_for_the_prelu_which_stays_float(fp32: Callable[..., Artifact], tmp_path: Path) -> None:
    artifact = quantise_tflite(fp32(PRELU), "w8a16", tmp_path / "q.tflite", FACES)
    assert tuple(map(str, artifact.notes)) == (
        "1 XNNPACK partition; fall off: 2 CONV_2D, 1 DEPTHWISE_CONV_2D, 1 DEQUANTIZE, 1 QUANTIZE, 1 RESHAPE "
        "(XNNPACK has no kernels for int16 activations)",
        "int16 activations are for processors that have them: LiteRT takes 100 times as long as for int8",
    )


def test_a_depthwise_convolution_with_dynamic_ranges_falls_off(fp32: Callable[..., Artifact], tmp_path: Path) -> None:
    from ai_edge_quantizer import recipe

    path = tmp_path / "q.tflite"
    path.write_bytes(quantised_content(fp32(PRELU).path, recipe.dynamic_wi8_afp32()))
    assert delegation(path).note().text == (
        "2 XNNPACK partitions; fall off: 1 DEPTHWISE_CONV_2D "
        "(XNNPACK has no depthwise convolution of float activations with int8 weights)"
    )


def test_an_int8_prelu_falls_off(fp32: Callable[..., Artifact], tmp_path: Path) -> None:
    path = quantise_tflite(fp32(PRELU), "w8a8", tmp_path / "q.tflite", FACES).path
    model = unpack(path.read_bytes())
    graph = model.subgraphs[0]
    before, prelu, after = graph.operators[2:5]  # DEQUANTIZE, PRELU, QUANTIZE: made one here
    image, slopes = graph.tensors[before.inputs[0]], graph.tensors[prelu.inputs[1]]
    scale = float(np.abs(WEIGHTS["slopes"]).max() / 127)
    steps = np.round(WEIGHTS["slopes"].reshape(-1) / scale).astype(np.int8)
    slopes.type, slopes.quantization = image.type, type(image.quantization)(scale=[scale], zeroPoint=[0])
    model.buffers[slopes.buffer].data = steps.view(np.uint8)
    prelu.inputs, prelu.outputs = [before.inputs[0], prelu.inputs[1]], after.outputs
    graph.operators = [row for row in graph.operators if row is not before and row is not after]
    path.write_bytes(pack(model))
    assert delegation(path).note().text == "2 XNNPACK partitions; fall off: 1 PRELU (XNNPACK's PRELU is float)"


def test_a_length_falls_off(fp32: Callable[..., Artifact]) -> None:
    artifact = fp32(node("LpNormalization", "y", "z", axis=1))
    assert tuple(map(str, artifact.notes)) == (
        "2 XNNPACK partitions; fall off: 1 L2_NORMALIZATION (XNNPACK does not know it)",
    )


def test_what_falls_off_for_the_same_reason_is_told_together() -> None:
    told = Delegation(0, {"one": {"A": 2, "B": 1}, "two": {"C": 1}}).note().text
    assert told == "0 XNNPACK partitions; fall off: 2 A, 1 B (one); 1 C (two)"
